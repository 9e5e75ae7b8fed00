//! What is to be simulated.

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything else.
    pub seed: u64,
    /// How much goes wrong.
    pub faults: Faults,
    /// The fail points that are on.
    pub left_out: Vec<String>,
    /// Whether what the programs log is kept.
    pub log: bool,
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// What the pool is to bear without losing anything.
    Within,
    /// No more at once than within the tolerance, but before values are whole again.
    Often,
    /// Anything.
    Beyond,
}

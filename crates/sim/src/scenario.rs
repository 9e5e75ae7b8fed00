//! What is to be simulated.

use crate::history::Millis;

/// How long clients ask and things go wrong.
pub(crate) const TROUBLE: Millis = 25_000;

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides everything else.
    pub seed: u64,
    /// How much goes wrong.
    pub faults: Faults,
    /// The fail points that are on.
    pub left_out: Vec<String>,
    /// Whether what the programs log is kept.
    pub log: bool,
}

impl Scenario {
    /// How many nodes the pool has, and how many of them it can lose at once.
    pub(crate) fn shape(&self) -> (usize, usize) {
        [(3, 1), (4, 1), (5, 2), (6, 2)][(self.seed % 4) as usize]
    }
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

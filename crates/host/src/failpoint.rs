//! Fail points: steps of a protocol that a simulation leaves out, to see that they are missed.
//!
//! A check that cannot tell a broken protocol from a sound one shows nothing. So each rule that
//! the protocol rests on has a fail point where the program follows it.

/// Whether a simulation leaves out the rule of this name. Never, in a program that is built
/// without the feature `simulation`.
#[inline]
#[must_use]
pub fn fail_point(rule: &'static str) -> bool {
    #[cfg(feature = "simulation")]
    return crate::simulation::is_left_out(rule);
    #[cfg(not(feature = "simulation"))]
    {
        let _ = rule;
        false
    }
}

/// A step before which it matters that the process may be held up: a simulation holds it up here
/// more often than elsewhere. Nothing, in a program that is built without the feature.
#[inline]
pub async fn stall_point() {
    #[cfg(feature = "simulation")]
    crate::simulation::stall().await;
}

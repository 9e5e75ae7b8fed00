//! Exponential back-off: how long to wait between attempts that fail.
//!
//! A wait is twice as long as the one before, up to a longest one. With *jitter* it ends somewhere
//! in its second half: so those that failed together do not return together, and half of a wait
//! is certain.
//!
//! ```text
//! failures   |1st|  2nd  |      3rd      |      4th      |     the longest is that of the third
//! with jitter  |~|    |~~|        |~~~~~~|        |~~~~~~|
//! ```
//!
//! Nothing here reads a clock or a source of randomness. The caller counts its failures and brings
//! random bits, so state machines that use it stay functions of their arguments.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Between which bounds waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// The wait after a first failure is `first`, and none is longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The wait after a first failure.
    pub const fn first(&self) -> Duration {
        self.first
    }

    /// The longest wait.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// How long to wait after a failure that so many came before, all in a row.
    pub fn wait(&self, before: u32) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(before));
        doubled.min(self.longest)
    }

    /// The same with jitter: `random` is uniform among all numbers; at `u32::MAX`, all of it is
    /// waited for.
    pub fn jittered(&self, before: u32, random: u32) -> Duration {
        let half = self.wait(before) / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = (0..6).map(|before| BACKOFF.wait(before).as_millis());
        assert_eq!(waits.collect::<Vec<_>>(), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(BACKOFF.wait(u32::MAX), BACKOFF.longest());
        let endless = Backoff::new(Duration::from_secs(1), Duration::MAX);
        assert!(endless.wait(u32::MAX) > endless.wait(31));
    }

    #[test]
    fn jitter_spans_the_second_half_of_a_wait() {
        assert_eq!(BACKOFF.jittered(1, 0), BACKOFF.first());
        assert_eq!(BACKOFF.jittered(1, u32::MAX), BACKOFF.wait(1));
    }

    proptest! {
        #[test]
        fn a_wait_with_jitter_is_between_half_and_all_of_it(before: u32, random: u32) {
            let (wait, jittered) = (BACKOFF.wait(before), BACKOFF.jittered(before, random));
            prop_assert!(wait / 2 <= jittered && jittered <= wait);
        }
    }
}

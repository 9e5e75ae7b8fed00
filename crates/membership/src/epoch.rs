//! Which run of the proxy this is.
//!
//! ```text
//!   63            16 15         0
//!   +---------------+-----------+
//!   | milliseconds  |  random   |
//!   +---------------+-----------+
//! ```
//!
//! Later runs have higher epochs. Two that begin at once, or that both go one
//! above what they hear of, differ in their lowest bits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The number of a run: the one with the highest leads. Clones are the same.
#[derive(Clone, Debug)]
pub struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// A run that begins now.
    pub fn beginning(now_ms: u64, random: u16) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms << 16 | u64::from(random))))
    }

    /// Its number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Makes it higher than one that was heard of; whether it was not.
    ///
    /// Only before anything has been decided in its name.
    pub fn raise_above(&self, heard: u64) -> bool {
        let random = self.get() & 0xffff;
        let above = ((heard >> 16) + 1) << 16 | random;
        heard >= self.get() && self.0.fetch_max(above, Relaxed) < above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_exceeds_every_epoch_that_was_heard_of() {
        let epoch = Epoch::beginning(10, 7);
        let before = epoch.get();
        assert!(!epoch.raise_above(before - 1));
        assert_eq!(epoch.get(), before);
        for heard in [before, before + 0x20_0000] {
            assert!(epoch.raise_above(heard));
            assert!(epoch.get() > heard);
        }
    }

    #[test]
    fn two_runs_that_exceed_the_same_epoch_differ() {
        let [one, other] = [1, 2].map(|random| Epoch::beginning(10, random));
        let heard = Epoch::beginning(99, 3).get();
        assert!(one.raise_above(heard) && other.raise_above(heard));
        assert_ne!(one.get(), other.get());
    }
}

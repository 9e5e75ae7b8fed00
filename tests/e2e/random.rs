//! Numbers that look random and are the same each time.

use std::env;

/// What everything follows from, unless `INFINICACHE_E2E_SEED` says otherwise.
pub(crate) const SEED: u64 = 20;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of a test, which prints what it was seeded with.
    pub(crate) fn new(test: &str) -> Self {
        let seed = env::var("INFINICACHE_E2E_SEED").map_or(SEED, |seed| seed.parse().unwrap());
        println!("{test}: INFINICACHE_E2E_SEED={seed}");
        let name = test
            .bytes()
            .fold(seed, |state, byte| mix(state ^ u64::from(byte)));
        Self(name)
    }

    /// Numbers of their own, for a part of the test whose share is not known beforehand.
    pub(crate) fn fork(&mut self) -> Self {
        Self(mix(self.below(u64::MAX)))
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// So many of several, each of them once.
    pub(crate) fn choose<T: Clone>(&mut self, count: usize, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let take = |_| left.swap_remove(self.below(left.len() as u64) as usize);
        (0..count).map(take).collect()
    }
}

/// Scatters the bits of a number; different numbers stay different.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

//! Numbers that look random and follow from a seed, a few cycles each.

/// A stream of numbers (SplitMix64): the same seed gives the same stream.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed: streams of one seed have nothing in common.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed) ^ mix(stream ^ 0x5bd1_e995))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of the product; its bias is at most end / 2^64.
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }

    /// A number of at least 0 and less than 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a double holds.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Scatters numbers, so that those of neighbours have nothing in common.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_follows_from_its_seed_and_number() {
        let stream = |seed, number| {
            let mut random = Random::new(seed, number);
            [(); 8].map(|()| random.number())
        };
        assert_eq!(stream(1, 2), stream(1, 2));
        assert_ne!(stream(1, 2), stream(1, 3));
        assert_ne!(stream(1, 2), stream(2, 2));
        assert_ne!(stream(1, 2), stream(2, 1));
    }

    #[test]
    fn numbers_fill_their_range_evenly() {
        let mut random = Random::new(7, 0);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[random.below(10) as usize] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        // Ten standard deviations are 950.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 950));
    }
}

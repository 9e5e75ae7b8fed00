//! Values whose every byte can be checked, and that cost nothing to make.
//!
//! All values are parts of one endless pattern: a prime number of words that
//! look random, again and again. Where in the pattern a value begins follows
//! from its key and version.
//!
//! ```text
//! pattern   | w0 w1 w2 ... w131070 | w0 w1 w2 ... w131070 | w0 w1 ...
//! value                ^ begins at word (mix(key) + version) mod 131071
//! ```
//!
//! So a value is a slice of memory that is there, and checking one is comparing
//! memory. Bytes at a wrong place of a value are found wherever they are: the
//! pattern repeats after a length that no two places of a value differ by which
//! lie a whole number of units apart, up to values of 128 GiB. A value of
//! another key passes for one of this key in one case of 512.

use bytes::Bytes;

use crate::random::mix;

const WORD: usize = 8;

/// Words until the pattern repeats: a prime (2^17 - 1).
const WORDS: u64 = 131_071;

const PERIOD: usize = WORDS as usize * WORD;

/// Versions of a key that can be told from each other; later ones begin anew.
pub const VERSIONS: u64 = 256;

/// The pattern that values are parts of.
#[derive(Clone, Debug)]
pub struct Pattern(Bytes);

impl Pattern {
    /// A pattern for values of at most `largest` bytes. It takes as much memory, and 1 MiB.
    pub fn up_to(largest: u64) -> Self {
        let length = PERIOD + largest as usize;
        let mut bytes = Vec::with_capacity(length);
        for word in 0..WORDS {
            bytes.extend_from_slice(&mix(word + 1).to_le_bytes());
        }
        while bytes.len() < length {
            let more = (length - bytes.len()).min(PERIOD);
            bytes.extend_from_within(..more);
        }
        Self(bytes.into())
    }

    /// The value of a key's version.
    ///
    /// # Panics
    ///
    /// If it is larger than the pattern is for.
    pub fn value(&self, key: u64, version: u64, size: u64) -> Bytes {
        let start = start(key, version);
        self.0.slice(start..start + size as usize)
    }

    /// Begins to check a value of a key, of which any version will do.
    pub fn check(&self, key: u64, size: u64) -> Check<'_> {
        Check {
            pattern: &self.0,
            key,
            size,
            seen: 0,
            head: [0; WORD],
            start: None,
            is_sound: size as usize + PERIOD <= self.0.len(),
        }
    }
}

/// Where in the pattern a value begins.
fn start(key: u64, version: u64) -> usize {
    let place = mix(key) % WORDS + version % VERSIONS;
    (place % WORDS) as usize * WORD
}

/// A value that is checked while it arrives.
#[derive(Debug)]
pub struct Check<'a> {
    pattern: &'a [u8],
    key: u64,
    size: u64,
    seen: u64,
    /// The first bytes, until they tell which version it is.
    head: [u8; WORD],
    start: Option<usize>,
    is_sound: bool,
}

impl Check<'_> {
    /// Checks the next bytes of it.
    pub fn feed(&mut self, mut piece: &[u8]) {
        if self.seen + piece.len() as u64 > self.size {
            self.is_sound = false;
        }
        if !self.is_sound {
            return;
        }
        if self.start.is_none() {
            let enough = (WORD as u64).min(self.size) as usize;
            let (had, more) = (self.seen as usize, enough - self.seen as usize);
            let (head, rest) = piece.split_at(more.min(piece.len()));
            self.head[had..had + head.len()].copy_from_slice(head);
            self.seen += head.len() as u64;
            piece = rest;
            if (self.seen as usize) < enough {
                return;
            }
            self.start = self.version_of(&self.head[..enough]);
        }
        let Some(start) = self.start else {
            self.is_sound = false;
            return;
        };
        let place = start + self.seen as usize;
        self.is_sound = self.pattern[place..place + piece.len()] == *piece;
        self.seen += piece.len() as u64;
    }

    /// Whether it was a value of its key, all of it.
    pub fn is_whole(&self) -> bool {
        self.is_sound && self.seen == self.size
    }

    fn version_of(&self, head: &[u8]) -> Option<usize> {
        (0..VERSIONS)
            .map(|version| start(self.key, version))
            .find(|start| self.pattern[*start..].starts_with(head))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_value(pattern: &Pattern, key: u64, value: &[u8], pieces: usize) -> bool {
        let mut check = pattern.check(key, value.len() as u64);
        value.chunks(pieces).for_each(|piece| check.feed(piece));
        check.is_whole()
    }

    proptest! {
        #[test]
        fn a_value_is_known_in_whatever_pieces_it_comes(
            key: u64, version: u64, size in 0_u64..3_000_000, pieces in 1_usize..100_000,
        ) {
            let pattern = Pattern::up_to(3_000_000);
            let pieces = if size > 10_000 { pieces.max(1000) } else { pieces };
            prop_assert!(is_value(&pattern, key, &pattern.value(key, version, size), pieces));
        }

        #[test]
        fn a_wrong_byte_is_found_wherever_it_is(
            key: u64, version: u64, size in 16_usize..100_000, place: prop::sample::Index, flip in 1_u8..,
        ) {
            let pattern = Pattern::up_to(100_000);
            let mut value = pattern.value(key, version, size as u64).to_vec();
            let place = place.index(size);
            value[place] ^= flip;
            prop_assert!(!is_value(&pattern, key, &value, 4096));
        }
    }

    #[test]
    fn units_in_the_wrong_order_are_found() {
        let pattern = Pattern::up_to(16 << 20);
        let mut value = pattern.value(3, 5, 16 << 20).to_vec();
        let unit = 256 << 10;
        for other in [1, 2, 7, 8, 10, 32, 63] {
            let (first, rest) = value.split_at_mut(other * unit);
            first[..unit].swap_with_slice(&mut rest[..unit]);
            assert!(!is_value(&pattern, 3, &value, 1 << 20), "{other}");
            let (first, rest) = value.split_at_mut(other * unit);
            first[..unit].swap_with_slice(&mut rest[..unit]);
        }
        assert!(is_value(&pattern, 3, &value, 1 << 20));
    }

    #[test]
    fn a_mix_of_two_versions_is_found() {
        let pattern = Pattern::up_to(1000);
        let (old, new) = (pattern.value(1, 1, 1000), pattern.value(1, 2, 1000));
        let mixed = [&new[..500], &old[500..]].concat();
        assert!(!is_value(&pattern, 1, &mixed, 100));
    }

    #[test]
    fn what_is_short_long_or_of_another_key_is_no_value() {
        let pattern = Pattern::up_to(1000);
        let value = pattern.value(1, 0, 1000);
        for length in [0, 7, 999] {
            let mut check = pattern.check(1, 1000);
            check.feed(&value[..length]);
            assert!(!check.is_whole(), "{length}");
        }
        let mut check = pattern.check(1, 999);
        check.feed(&value);
        assert!(!check.is_whole());
        assert!(!is_value(&pattern, 2, &value, 1000));
        // Larger than anything that was ever stored.
        assert!(!is_value(&pattern, 1, &vec![0; 2000], 1000));
    }
}

//! What a cache holds, as far as its user can tell: what was set, and neither
//! deleted nor found missing since.

use std::{collections::HashMap, time::Duration};

/// What a cache holds.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    sizes: HashMap<u32, u64>,
    bytes: u64,
    most: u64,
    /// Bytes held, times the seconds for which they were.
    byte_seconds: f64,
    changed: Duration,
}

impl Holdings {
    /// A key has a value of so many bytes.
    pub fn set(&mut self, key: u32, bytes: u64, now: Duration) {
        self.pass(now);
        let before = self.sizes.insert(key, bytes).unwrap_or(0);
        self.bytes = self.bytes - before + bytes;
        self.most = self.most.max(self.bytes);
    }

    /// A key has none.
    pub fn unset(&mut self, key: u32, now: Duration) {
        self.pass(now);
        self.bytes -= self.sizes.remove(&key).unwrap_or(0);
    }

    /// The most bytes that were held at once.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// The bytes that were held, times the seconds for which they were, until now.
    pub fn byte_seconds(&mut self, now: Duration) -> f64 {
        self.pass(now);
        self.byte_seconds
    }

    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.changed);
        self.byte_seconds += self.bytes as f64 * passed.as_secs_f64();
        self.changed = self.changed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_what_was_set_and_not_taken_away() {
        let second = Duration::from_secs;
        let mut holdings = Holdings::default();
        holdings.set(1, 100, second(0));
        holdings.set(2, 50, second(1));
        holdings.set(1, 20, second(2));
        holdings.unset(2, second(4));
        holdings.unset(2, second(4));
        holdings.unset(3, second(3));
        assert_eq!(holdings.most(), 150);
        // 100 for a second, 150 for one, 70 for two, and 20 for six.
        assert_eq!(
            holdings.byte_seconds(second(10)),
            100.0 + 150.0 + 140.0 + 120.0
        );
    }
}

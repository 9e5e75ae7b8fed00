//! Hot cache: copies of small values in the proxy's own memory, besides those on the nodes.
//!
//! A small value costs a node as much trouble as a unit of a large one, so those that are asked for
//! often are answered from here. Nothing depends on it. A value is kept under the id of its write,
//! and a caller has just looked up which write is current: so a copy is of the value that it is
//! taken for, or is not found. Which ones are kept is left to `quick_cache` (S3-FIFO, whose ghosts
//! tell what is asked for again from what is only passing through).

use bytes::Bytes;
use infinicache_wire::WriteId;
use prometheus_client::metrics::counter::Counter;
use quick_cache::{Weighter, sync::Cache};

/// Bytes that an entry takes besides its value.
const OVERHEAD: u64 = 128;

/// Small values, in bounded memory.
#[derive(Debug)]
pub(crate) struct HotCache {
    values: Cache<WriteId, Bytes, Weight>,
    longest: u64,
    lookups: Lookups,
}

/// How often a small value was here, and how often it was not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookups {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<WriteId, Bytes> for Weight {
    fn weight(&self, _: &WriteId, value: &Bytes) -> u64 {
        OVERHEAD + value.len() as u64
    }
}

impl HotCache {
    /// A hot cache for values of up to `longest` bytes each and `capacity` together; 0 of either is
    /// none.
    pub(crate) fn new(longest: u64, capacity: u64, lookups: Lookups) -> Self {
        let (longest, capacity) = match longest.min(capacity) {
            0 => (0, 0),
            _ => (longest, capacity),
        };
        let likely = capacity / (OVERHEAD + longest.min(1024));
        Self {
            values: Cache::with_weighter(
                usize::try_from(likely).unwrap_or(usize::MAX),
                capacity,
                Weight,
            ),
            longest,
            lookups,
        }
    }

    /// Whether values of this length belong here.
    pub(crate) fn takes(&self, length: u64) -> bool {
        (1..=self.longest).contains(&length)
    }

    /// Keeps a value that was written by `write`.
    ///
    /// `value` should not be a part of something larger, which would be kept with it.
    pub(crate) fn keep(&self, write: WriteId, value: Bytes) {
        if self.takes(value.len() as u64) {
            self.values.insert(write, value);
        }
    }

    /// The value that was written by `write`, of `length` bytes, if it is here.
    pub(crate) fn get(&self, write: WriteId, length: u64) -> Option<Bytes> {
        if !self.takes(length) {
            return None;
        }
        let value = self.values.get(&write);
        match value {
            Some(_) => self.lookups.hits.inc(),
            None => self.lookups.misses.inc(),
        };
        value
    }

    /// Drops a value that was deleted.
    pub(crate) fn drop_value(&self, write: WriteId) {
        self.values.remove(&write);
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.values.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot_cache(longest: u64, capacity: u64) -> HotCache {
        HotCache::new(longest, capacity, Lookups::default())
    }

    impl HotCache {
        fn counts(&self) -> (u64, u64) {
            (self.lookups.hits.get(), self.lookups.misses.get())
        }
    }

    fn write(sequence: u64) -> WriteId {
        WriteId { epoch: 1, sequence }
    }

    #[test]
    fn a_value_is_found_by_its_write_until_it_is_dropped() {
        let hot_cache = hot_cache(16, 4096);
        hot_cache.keep(write(1), Bytes::from_static(b"value"));
        assert_eq!(hot_cache.get(write(1), 5).as_deref(), Some(&b"value"[..]));
        assert_eq!(hot_cache.get(write(2), 5), None);
        hot_cache.drop_value(write(1));
        assert_eq!(hot_cache.get(write(1), 5), None);
        assert_eq!(hot_cache.counts(), (1, 2));
        assert_eq!(hot_cache.bytes(), 0);
    }

    #[test]
    fn what_is_too_long_or_empty_is_not_kept_nor_counted() {
        let hot_cache = hot_cache(4, 4096);
        for value in [&b"12345"[..], b""] {
            hot_cache.keep(write(1), Bytes::copy_from_slice(value));
            assert_eq!(hot_cache.get(write(1), value.len() as u64), None);
        }
        assert_eq!((hot_cache.bytes(), hot_cache.counts()), (0, (0, 0)));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let (hot_cache, room) = (hot_cache(1000, 100_000), 100_000);
        for sequence in 0..1000 {
            hot_cache.keep(write(sequence), vec![0; 1000].into());
            assert!(hot_cache.bytes() <= room);
        }
        let kept = (0..1000).filter(|&it| hot_cache.get(write(it), 1000).is_some());
        assert!(kept.count() > 50);
    }

    #[test]
    fn a_shelf_of_no_bytes_keeps_nothing() {
        for hot_cache in [hot_cache(0, 4096), hot_cache(16, 0)] {
            hot_cache.keep(write(1), Bytes::from_static(b"value"));
            assert_eq!(hot_cache.get(write(1), 5), None);
        }
    }
}

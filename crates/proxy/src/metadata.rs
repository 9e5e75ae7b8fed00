//! Metadata: which objects there are, and what keeps changes of them in order.
//!
//! - [`catalog`]: the objects, by key and in CLOCK order;
//! - [`key_locks`]: one change of a key at a time;
//! - [`tombstones`]: deleted values that a later run could still find;
//! - [`read_leases`]: remote reads that keep an object from being freed.

pub(crate) mod catalog;
pub(crate) mod key_locks;
pub(crate) mod read_leases;
pub(crate) mod tombstones;

use std::sync::Arc;

use self::{
    catalog::{Catalog, ObjectRef},
    key_locks::KeyLocks,
    read_leases::ReadLeases,
    tombstones::Tombstones,
};
use crate::pool_clock::PoolClock;

/// What a run of the proxy knows of the objects.
pub(crate) struct Metadata {
    clock: PoolClock,
    pub(crate) catalog: Catalog,
    pub(crate) key_locks: KeyLocks,
    pub(crate) tombstones: Arc<Tombstones>,
    pub(crate) read_leases: ReadLeases,
}

impl Metadata {
    /// No objects; they expire by `clock`.
    pub(crate) fn new(clock: PoolClock, tombstones: Arc<Tombstones>) -> Self {
        Self {
            clock,
            catalog: Catalog::default(),
            key_locks: KeyLocks::default(),
            tombstones,
            read_leases: ReadLeases::default(),
        }
    }

    /// Milliseconds since 1970, by the pool's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// The value of a key: it can be read for as long as the answer is held.
    pub(crate) fn find(&self, key: &[u8]) -> Option<ObjectRef> {
        self.catalog.get(key, || self.now_ms()).map(ObjectRef)
    }
}

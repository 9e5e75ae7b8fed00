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

//! Read leases: remote reads that have begun, so that an overwrite does not take
//! their bytes away.
//!
//! A remote reader cannot hold an object as a local one does. The proxy holds it
//! in its place, until the reader says that it is done, its connection ends, it has
//! had time enough, or memory is short.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use infinicache_host::hash::DashMap;
use infinicache_wire::WriteId;

use crate::metadata::catalog::ObjectRef;

/// How long a remote read may take before its bytes may go.
pub(crate) const READ_LEASE_TIME: Duration = Duration::from_secs(300);

/// Leases that may be out at once; further reads go without.
const MOST: usize = 100_000;

/// The leases that are out, by number.
#[derive(Debug, Default)]
pub(crate) struct ReadLeases {
    out: DashMap<u64, ReadLease>,
    by_write: DashMap<WriteId, Vec<u64>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct ReadLease {
    /// Held so that its chunks are not freed.
    found: ObjectRef,
    until: Instant,
}

impl ReadLeases {
    /// A remote read of `found` has begun; the number of its lease, unless too many are out.
    pub(crate) fn grant(&self, found: &ObjectRef, now: Instant) -> Option<u64> {
        if self.out.len() >= MOST {
            return None;
        }
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let lease = ReadLease {
            found: found.clone(),
            until: now + READ_LEASE_TIME,
        };
        self.out.insert(number, lease);
        let write = found.0.write();
        self.by_write.entry(write).or_default().push(number);
        Some(number)
    }

    /// A remote read has ended.
    pub(crate) fn release(&self, lease: u64) {
        let Some((_, ended)) = self.out.remove(&lease) else {
            return;
        };
        let write = ended.found.0.write();
        let is_last = |_: &WriteId, leases: &mut Vec<u64>| {
            leases.retain(|it| *it != lease);
            leases.is_empty()
        };
        self.by_write.remove_if_mut(&write, is_last);
        // Letting go of an object can free its chunks: not under a map's lock.
        drop(ended);
    }

    /// Whether a remote read has not ended.
    pub(crate) fn is_out(&self, lease: u64) -> bool {
        self.out.contains_key(&lease)
    }

    /// How many leases of what `write` stored are out.
    pub(crate) fn count(&self, write: WriteId) -> usize {
        self.by_write.get(&write).map_or(0, |leases| leases.len())
    }

    /// Ends the leases of what `write` stored, because its memory is needed.
    pub(crate) fn revoke(&self, write: WriteId) {
        let leases = self.by_write.remove(&write);
        let leases = leases.into_iter().flat_map(|(_, leases)| leases);
        leases.for_each(|lease| drop(self.out.remove(&lease)));
    }

    /// Ends the leases of deleted objects, because memory is short;
    /// whether there were any.
    pub(crate) fn relieve(&self) -> bool {
        self.end(|lease| lease.found.0.is_dead())
    }

    /// Ends what has had time enough.
    pub(crate) fn sweep(&self, now: Instant) {
        self.end(|lease| lease.until <= now);
    }

    /// Ends those that are `over`; whether there were any.
    fn end(&self, over: impl Fn(&ReadLease) -> bool) -> bool {
        let out = self.out.iter();
        let over: Vec<u64> = out
            .filter(|lease| over(lease))
            .map(|lease| *lease.key())
            .collect();
        over.iter().for_each(|lease| self.release(*lease));
        !over.is_empty()
    }
}

//! Leases: remote reads that have begun, so that an overwrite does not take
//! their bytes away.
//!
//! A remote reader cannot hold an object as a local one does. The proxy holds it
//! in its place, until the reader says that it is done, its connection ends, it has
//! had time enough, or memory is short.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use dashmap::DashMap;

use crate::catalog::Found;

/// How long a remote read may take before its bytes may go.
pub(crate) const TERM: Duration = Duration::from_secs(300);

/// Leases that may be out at once; further reads go without.
const MOST: usize = 100_000;

/// The leases that are out, by number.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    out: DashMap<u64, Lease>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Lease {
    /// Held so that its chunks are not freed.
    found: Found,
    until: Instant,
}

impl Leases {
    /// A remote read of `found` has begun; the number of its lease, unless too many are out.
    pub(crate) fn grant(&self, found: &Found, now: Instant) -> Option<u64> {
        if self.out.len() >= MOST {
            return None;
        }
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let lease = Lease {
            found: found.clone(),
            until: now + TERM,
        };
        self.out.insert(number, lease);
        Some(number)
    }

    /// A remote read has ended.
    pub(crate) fn release(&self, lease: u64) {
        // Letting go of an object can free its chunks: not under the map's lock.
        drop(self.out.remove(&lease));
    }

    /// Whether a remote read has not ended.
    pub(crate) fn is_out(&self, lease: u64) -> bool {
        self.out.contains_key(&lease)
    }

    /// Whether a lease of what `write` stored is out.
    pub(crate) fn is_out(&self, write: WriteId) -> bool {
        self.0.contains_key(&write)
    }

    /// Ends the lease of what `write` stored, because its memory is needed.
    pub(crate) fn revoke(&self, write: WriteId) {
        drop(self.0.remove(&write));
    }

    /// Ends the leases of objects that are nobody's value any more, because memory is short;
    /// whether there were any.
    pub(crate) fn relieve(&self) -> bool {
        self.end(|lease| lease.found.0.is_dead())
    }

    /// Ends what has had time enough.
    pub(crate) fn sweep(&self, now: Instant) {
        self.end(|lease| lease.until <= now);
    }

    /// Ends those that are `over`; whether there were any.
    fn end(&self, over: impl Fn(&Lease) -> bool) -> bool {
        let out = self.out.iter();
        let over: Vec<u64> = out
            .filter(|lease| over(lease))
            .map(|lease| *lease.key())
            .collect();
        over.iter().for_each(|lease| self.release(*lease));
        !over.is_empty()
    }
}

//! Leases: remote reads that have begun, so that an overwrite does not take
//! their bytes away.
//!
//! A remote reader cannot hold an object as a local one does. The proxy holds it
//! in its place, until the reader says that it is done, has had time enough, or
//! memory is short.

use std::time::{Duration, Instant};

use dashmap::DashMap;
use infinicache_client::Holders;
use infinicache_wire::WriteId;

use crate::catalog::Found;

/// How long a remote read may take before its bytes may go.
pub(crate) const TERM: Duration = Duration::from_secs(300);

/// Leases that may be out at once; further reads go without.
const MOST: usize = 100_000;

/// The leases that are out.
#[derive(Debug, Default)]
pub(crate) struct Leases(DashMap<WriteId, Lease>);

#[derive(Debug)]
struct Lease {
    /// Held so that its chunks are not freed.
    found: Found,
    readers: usize,
    until: Instant,
}

impl Leases {
    /// A remote read of `found` has begun.
    pub(crate) fn grant(&self, found: &Found, now: Instant) {
        if self.0.len() >= MOST {
            return;
        }
        let lease = || Lease {
            found: found.clone(),
            readers: 0,
            until: now,
        };
        let mut lease = self.0.entry(found.write()).or_insert_with(lease);
        lease.readers += 1;
        lease.until = now + TERM;
    }

    /// A remote read has ended.
    pub(crate) fn release(&self, write: WriteId) {
        let ended = self.0.remove_if_mut(&write, |_, lease| {
            lease.readers = lease.readers.saturating_sub(1);
            lease.readers == 0
        });
        // Letting go of an object can free its chunks: not under the map's lock.
        drop(ended);
    }

    /// Ends the leases of objects that are nobody's value any more, because memory is short;
    /// whether there were any.
    pub(crate) fn relieve(&self) -> bool {
        let is_dead = |lease: &Lease| lease.found.0.is_dead();
        let dead: Vec<WriteId> = self
            .0
            .iter()
            .filter(|lease| is_dead(lease))
            .map(|lease| *lease.key())
            .collect();
        for write in &dead {
            drop(self.0.remove_if(write, |_, lease| is_dead(lease)));
        }
        !dead.is_empty()
    }

    /// Ends what has had time enough.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_over = |lease: &Lease| lease.until <= now;
        let over: Vec<WriteId> = self
            .0
            .iter()
            .filter(|lease| is_over(lease))
            .map(|lease| *lease.key())
            .collect();
        for write in over {
            drop(self.0.remove_if(&write, |_, lease| is_over(lease)));
        }
    }
}

//! Reservations: room on members, for which other values may have to go.

use std::{pin::pin, sync::Arc, time::Duration};

use infinicache_engine::Error;
use infinicache_host::{clock, fail_point};
use tokio::time;
use tracing::info;

use super::delete::Deletes;
use crate::{
    capacity::{CapacityPlanner, InsufficientCapacity, Outlook, Share},
    metadata::{
        Metadata,
        catalog::{Catalog, Object, victims::EvictionClass},
    },
    pool::member::Member,
};

/// How long a write waits for room that removed values are about to give, or that is held for a
/// while by what may not go.
const CAPACITY_DEADLINE: Duration = Duration::from_secs(1);

/// How long a write waits before it looks again whether something may go by now, at first; twice
/// as long each time.
const FIRST_CAPACITY_PAUSE: Duration = Duration::from_millis(5);

/// Takes room on members, and evicts what must go.
pub(crate) struct Reservations {
    planner: CapacityPlanner,
    metadata: Arc<Metadata>,
    deletes: Deletes,
}

impl Reservations {
    pub(super) fn new(metadata: Arc<Metadata>, deletes: Deletes) -> Self {
        Self {
            planner: CapacityPlanner::default(),
            metadata,
            deletes,
        }
    }

    /// Takes `bytes` on a member if they are free; whether they were.
    pub(crate) fn reserve_free(&self, member: &Member, bytes: u64) -> bool {
        self.planner.reserve_free(member, bytes)
    }

    /// Takes each share, evicting what must go: the value of `key` itself only for a `blind` write.
    ///
    /// # Errors
    ///
    /// [`InsufficientCapacity`], for the moment or for good. It is not waited for.
    pub(super) fn reserve_shares(
        &self,
        shares: &[Share],
        key: &[u8],
        blind: bool,
        mut evicted: impl FnMut(&Object),
    ) -> Result<(), InsufficientCapacity> {
        let retire = |victim: Arc<Object>| {
            evicted(&victim);
            self.metadata.read_leases.revoke(victim.write());
            self.deletes.delete_in_background(&victim, "evicted");
        };
        let eviction_class = |object: &Arc<Object>| self.eviction_class(object, key, blind);
        let catalog = &self.metadata.catalog;
        let taken = self
            .planner
            .reserve(catalog, shares, eviction_class, retire);
        taken.map_err(|mut insufficient| {
            if let Some(own) = catalog.peek(key).filter(|_| !blind) {
                insufficient.kept = own.bytes_on(insufficient.member.id);
            }
            insufficient
        })
    }

    /// Whether `object` may be evicted for a write of `key`.
    fn eviction_class(&self, object: &Arc<Object>, key: &[u8], blind: bool) -> EvictionClass {
        let is_own = object.key() == key;
        if is_own && !blind {
            return EvictionClass::Never;
        }
        // A value covers earlier ones of its key, which would be found in its place, until they
        // are gone.
        let covers = self.metadata.key_locks.is_locked(object.key())
            || self.metadata.tombstones.has(object.key());
        if covers && !fail_point("tombstones_stay_covered") {
            return EvictionClass::Later;
        }
        let is_unread = Catalog::would_free(object, 0);
        let leases = self.metadata.read_leases.count(object.write());
        let would_free = is_unread || Catalog::would_free(object, leases);
        if !would_free {
            EvictionClass::Later
        } else if is_own {
            EvictionClass::Replaced
        } else if is_unread {
            EvictionClass::Now
        } else {
            // Remote reads give way, if nothing else does.
            EvictionClass::Last
        }
    }

    /// Takes room for chunks of an object that is there, evicting what must go.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; nothing is taken then.
    pub(crate) async fn reserve_beside(
        &self,
        object: &Object,
        shares: &[Share],
    ) -> Result<(), Error> {
        let attempt = || Ok(self.reserve_shares(shares, object.key(), false, |_| ()));
        self.until_capacity(attempt).await
    }

    /// Tries until there is room, or none to be expected soon.
    ///
    /// What is being freed is waited for rather than that something else goes; what has not been
    /// freed by the deadline is pinned. Only where nothing else may go, remote reads of deleted
    /// values give way.
    pub(super) async fn until_capacity<T>(
        &self,
        attempt: impl Fn() -> Result<Result<T, InsufficientCapacity>, Error>,
    ) -> Result<T, Error> {
        let deadline = clock::now() + CAPACITY_DEADLINE;
        let mut pause = FIRST_CAPACITY_PAUSE;
        loop {
            let insufficient = match attempt()? {
                Ok(done) => return Ok(done),
                Err(insufficient) => insufficient,
            };
            let is_late = clock::now() >= deadline;
            match insufficient.outlook {
                Outlook::BeingFreed => {
                    let member = &insufficient.member;
                    let mut freed = pin!(member.memory.freed());
                    freed.as_mut().enable();
                    // It may have been freed just before.
                    match attempt()? {
                        Ok(done) => return Ok(done),
                        Err(again) if !again.is_being_freed_on(member) => continue,
                        Err(_) => {}
                    }
                    let _claim = member.memory.claim(insufficient.lacking());
                    if time::timeout_at(deadline.into(), freed).await.is_err() {
                        member.memory.count_as_pinned();
                    }
                }
                _ if self.metadata.read_leases.relieve() => {}
                Outlook::Uncertain if !is_late => {
                    time::sleep(pause).await;
                    pause *= 2;
                }
                Outlook::Uncertain | Outlook::None => {
                    info!(%insufficient, outlook = ?insufficient.outlook, "no room for a value");
                    return Err(Error::OutOfMemory(insufficient.to_string()));
                }
            }
        }
    }
}

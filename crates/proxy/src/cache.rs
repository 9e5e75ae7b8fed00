//! The cache: what commands, relayed links and repair are built on.
//!
//! It owns the metadata, plans the nodes' memory and decides commits. The bytes
//! of values it leaves to the algorithms of the client crate, for which it is
//! the [`Pool`].
//!
//! It is made of parts, each of which owns what it decides:
//!
//! - `open`: a write gets members, and room on them; `placement`: which members; `reservation`:
//!   what goes for it;
//! - `small`: a small value is stored in one exchange; `placement_group`: on the members of a
//!   placement group;
//! - `commit`: members complete their chunks, then the metadata changes;
//! - `delete`: what was replaced or removed dies on the nodes; `metadata::tombstones`: until it
//!   has;
//! - `quorum_call`: how both ask members, and what becomes of those that do not answer;
//! - `reconcile`: a member that may have missed something fits the metadata again;
//! - `metered_source`, `object_reader`: a value on its way in, and on its way out;
//! - `reencode`: a value is written anew because the pool has become too small for it;
//! - `chunk_holders`: what becomes of objects when members come and go; `restore`: when a new run
//!   finds them.

mod chunk_holders;
mod commit;
mod delete;
#[cfg(test)]
pub(crate) mod fixture;
mod metered_source;
mod object_reader;
mod open;
mod placement;
mod placement_group;
mod quorum_call;
mod reconcile;
pub(crate) mod reencode;
mod reservation;
mod restore;
mod small;

use std::{
    ops::Range,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::{
    Budget, CommitOutcome, Error, Incident, LatencyTracker, MuxLink, Pool, ReadError, Reader,
    Source, Terms, Upload, overwrite, upload,
};
use infinicache_erasure::Code;
use infinicache_host::fail_point;
use infinicache_membership::Epoch;
use infinicache_wire::{
    MemberId, Request, WriteId,
    control::{Opened, Placed},
};
use tracing::warn;

pub(crate) use self::reconcile::page;
use self::{
    chunk_holders::ChunkHolders,
    commit::Commits,
    delete::{ChunkDisposal, Deletes},
    metered_source::MeteredSource,
    object_reader::MeteredReader,
    open::Writes,
    placement::{Placement, PlacementPolicy},
    quorum_call::QuorumCaller,
    reconcile::Reconciler,
    reservation::Reservations,
};
use crate::{
    capacity::open_writes::OpenWrites,
    gc_queue::GcQueue,
    hot_cache::HotCache,
    metadata::{Metadata, catalog::ObjectRef, tombstones::Tombstones},
    metrics::Metrics,
    pool::Nodes,
};

/// Objects that are removed in one go when there are many.
const BATCH: usize = 1_000;

/// How the cache is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) code: Code,
    pub(crate) max_object_bytes: u64,
    pub(crate) epoch: Epoch,
    /// What a node is thought to hold before one has told.
    pub(crate) presumed_capacity: u64,
    /// How long placing a write may take, wakes and all.
    pub(crate) place_deadline: Duration,
    /// The longest value that is stored in one exchange, and kept in the hot cache.
    pub(crate) small_value: u64,
    /// Bytes of the hot cache.
    pub(crate) shelf_bytes: u64,
}

/// The cache. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Cache(Arc<CacheParts>);

struct CacheParts {
    settings: Settings,
    nodes: Nodes,
    metadata: Arc<Metadata>,
    writes: Writes,
    commits: Commits,
    deletes: Deletes,
    holders: ChunkHolders,
    reconciler: Reconciler,
    hot_cache: Arc<HotCache>,
    quorum: QuorumCaller,
    budget: Budget,
    latencies: Arc<LatencyTracker>,
    metrics: Arc<Metrics>,
    reclaimer: Arc<GcQueue>,
}

impl Cache {
    pub(crate) fn new(
        settings: Settings,
        nodes: Nodes,
        budget: Budget,
        latencies: Arc<LatencyTracker>,
        metrics: Arc<Metrics>,
        reclaimer: Arc<GcQueue>,
        tombstones: Arc<Tombstones>,
    ) -> Self {
        let hot_cache = Arc::new(HotCache::new(
            settings.small_value,
            settings.shelf_bytes,
            metrics.served().hot_cache_lookups(),
        ));
        let metadata = Arc::new(Metadata::new(nodes.clock().clone(), tombstones.clone()));
        let (members, membership) = (nodes.members().clone(), nodes.membership().clone());
        let quorum = QuorumCaller {
            members: members.clone(),
            membership: membership.clone(),
            latencies: latencies.clone(),
        };
        let deletes = Deletes {
            membership: membership.clone(),
            quorum: quorum.clone(),
            tombstones,
            reclaimer: reclaimer.clone(),
            hot_cache: hot_cache.clone(),
            metrics: metrics.clone(),
            parity: settings.code.parity(),
        };
        let policy = PlacementPolicy {
            code: settings.code,
            presumed_capacity: settings.presumed_capacity,
            deadline: settings.place_deadline,
            seed: settings.epoch.get(),
        };
        let placement = Placement::new(policy, nodes.clone(), latencies.clone());
        let reservations = Reservations::new(metadata.clone(), deletes.clone());
        let writes = Writes {
            open: Arc::new(OpenWrites::new(settings.epoch.clone())),
            placement: Arc::new(placement),
            reservations: Arc::new(reservations),
            deletes: deletes.clone(),
            reclaimer: reclaimer.clone(),
            metrics: metrics.clone(),
            max_object_bytes: settings.max_object_bytes,
        };
        let holders = ChunkHolders {
            metadata: metadata.clone(),
            members: members.clone(),
            membership: membership.clone(),
            reclaimer: reclaimer.clone(),
            deletes: deletes.clone(),
        };
        let commits = Commits {
            metadata: metadata.clone(),
            members,
            membership: membership.clone(),
            writes: writes.clone(),
            deletes: deletes.clone(),
            holders: holders.clone(),
            quorum: quorum.clone(),
            reclaimer: reclaimer.clone(),
            epoch: settings.epoch.clone(),
            last: AtomicU64::new(0),
        };
        let reconciler = Reconciler {
            metadata: metadata.clone(),
            open: writes.open.clone(),
            membership,
            deletes: deletes.clone(),
        };
        Self(Arc::new(CacheParts {
            settings,
            nodes,
            metadata,
            writes,
            commits,
            deletes,
            holders,
            reconciler,
            hot_cache,
            quorum,
            budget,
            latencies,
            metrics,
            reclaimer,
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.0.nodes
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.0.writes
    }

    pub(crate) fn deletes(&self) -> &Deletes {
        &self.0.deletes
    }

    pub(crate) fn holders(&self) -> &ChunkHolders {
        &self.0.holders
    }

    pub(crate) fn reconciler(&self) -> &Reconciler {
        &self.0.reconciler
    }

    pub(crate) fn reclaimer(&self) -> &Arc<GcQueue> {
        &self.0.reclaimer
    }

    pub(crate) fn hot_cache(&self) -> &HotCache {
        &self.0.hot_cache
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// The value of a key: it can be read for as long as the answer is held.
    pub(crate) fn find(&self, key: &[u8]) -> Option<ObjectRef> {
        self.0.metadata.find(key)
    }

    /// A read found a value, or did not.
    pub(crate) fn count_read(&self, hit: bool) {
        self.0.metrics.served().read(hit);
    }

    /// Begins to read a range of a value; its first pieces are there when this returns.
    ///
    /// # Errors
    ///
    /// Whatever keeps the first pieces from coming, but not a loss: that is `None`, as a miss is.
    /// Members that cannot be reached are worth waiting for: they come back, or turn out to be
    /// lost, and only then is it known which of the two the value is.
    pub(crate) async fn read(
        &self,
        found: &ObjectRef,
        range: Range<u64>,
    ) -> Result<Option<ObjectReader>, ReadError> {
        let mut reader = Reader::new(self.clone(), found.clone(), range).eager();
        let length = reader.remaining();
        let (have, need) = match reader.next().await {
            Ok(first) => {
                if let Some(pieces) = &first {
                    self.keep_hot(&found.0, pieces);
                }
                return Ok(Some(MeteredReader {
                    reader,
                    length,
                    first,
                    metrics: self.0.metrics.clone(),
                }));
            }
            Err(Error::Lost { have, need }) => (have, need),
            Err(error) => return Err(error.into()),
        };
        if found.0.is_dead() {
            let text = "the value is replaced again and again";
            return Err(ReadError::Replaced(Error::Unreachable(text.into())));
        }
        // They have moved while they were asked for: the object has enough of them.
        if found.0.chunks_left() >= need {
            let text = "the value's chunks keep moving";
            return Err(ReadError::Unsettled(Error::Unreachable(text.into())));
        }
        warn!(?found, have, need, "read of a lost value");
        self.0.metrics.served().read_lost();
        self.0.holders.give_up_lost(&found.0);
        Ok(None)
    }

    /// Sends a value to the nodes; it becomes the one of its key at [`Upload::commit`]. The terms of
    /// that ask nothing of the value before if it is `blind`.
    pub(crate) async fn upload(
        &self,
        key: &[u8],
        size: u64,
        blind: bool,
        source: impl Source,
    ) -> Result<Upload<Self>, Error> {
        let metrics = self.0.metrics.clone();
        let source = MeteredSource { source, metrics };
        if blind {
            overwrite(self, key, Some(size), source).await
        } else {
            upload(self, key, Some(size), source).await
        }
    }

    /// Whether the cache may answer.
    ///
    /// # Errors
    ///
    /// [`Closed`] while it does not know what there is, or whether it is still leading.
    pub(crate) fn is_open(&self) -> Result<(), Closed> {
        if self.0.nodes.prepare_phase().is_recovering() {
            return Err(Closed::Loading);
        }
        if self.0.nodes.lease().may_answer() {
            Ok(())
        } else {
            Err(Closed::OutOfTouch)
        }
    }

    /// Removes the value of a key; whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether it is gone for good.
    pub(crate) async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        let _turn = self.0.metadata.key_locks.lock(key).await;
        // They would be found when this one is gone.
        if !fail_point("tombstones_stay_covered") {
            self.0.deletes.until_done(key).await?;
        }
        let found = self.find(key);
        let removed = match &found {
            Some(ObjectRef(object)) if self.0.metadata.catalog.remove(object) => {
                let disposal = ChunkDisposal::of(object);
                self.0.deletes.delete(object, "deleted", disposal).await?;
                true
            }
            _ => false,
        };
        self.0.quorum.confirm_lease().await?;
        Ok(removed)
    }

    /// Sets when the value of a key expires, in milliseconds since 1970, or that it never does.
    ///
    /// A time that has passed deletes it. Whether there was a value.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether members have it for good.
    pub(crate) async fn set_expiry(&self, key: &[u8], at_ms: Option<u64>) -> Result<bool, Error> {
        if at_ms.is_some_and(|at| at <= self.0.metadata.now_ms()) {
            return self.delete(key).await;
        }
        let _turn = self.0.metadata.key_locks.lock(key).await;
        let Some(ObjectRef(object)) = self.find(key) else {
            // A later run may know of one: it took a while until it was this command's turn.
            self.0.quorum.confirm_lease().await?;
            return Ok(false);
        };
        // They would be found when this one has expired.
        if !fail_point("tombstones_stay_covered") {
            self.0.deletes.until_done(key).await?;
        }
        self.0.metadata.catalog.set_expiry(&object, at_ms);
        let expiry = object.expiration().entry();
        let request = |index| Request::Expire {
            chunk: object.chunk(usize::from(index)),
            expiry,
        };
        if !fail_point("expiry_acknowledged") {
            self.0.deletes.change(&object, request).await?;
        }
        self.0.quorum.confirm_lease().await?;
        Ok(true)
    }

    /// Removes every value.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether all are gone for good.
    pub(crate) async fn clear(&self) -> Result<(), Error> {
        let mut from = Some(0);
        while let Some(slot) = from {
            let (objects, next) = self.0.metadata.catalog.walk(slot, BATCH);
            let mut keys = Vec::with_capacity(objects.len());
            for object in objects {
                let _turn = self.0.metadata.key_locks.lock(object.key()).await;
                self.0.deletes.until_done(object.key()).await?;
                if self.0.metadata.catalog.remove(&object) {
                    self.0.deletes.delete_in_background(&object, "flushed");
                    keys.push(Bytes::copy_from_slice(object.key()));
                }
            }
            for key in keys {
                self.0.deletes.until_done(&key).await?;
            }
            from = next;
        }
        self.0.quorum.confirm_lease().await
    }

    /// Removes what has expired; whether there may be more.
    pub(crate) fn expire(&self) -> bool {
        let expired = self
            .0
            .metadata
            .catalog
            .expire(self.0.metadata.now_ms(), BATCH);
        for object in &expired {
            self.0.deletes.delete_in_background(object, "expired");
        }
        expired.len() == BATCH
    }
}

/// An object on its way out.
pub(crate) type ObjectReader = MeteredReader<Cache>;

/// Why the cache does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It asks its nodes what they hold.
    Loading,
    /// Too few of its nodes answer: there may be another run of the proxy by now.
    OutOfTouch,
}

impl Pool for Cache {
    type Link = MuxLink;
    type Value = ObjectRef;

    fn link(&self, member: MemberId) -> Option<MuxLink> {
        self.0.nodes.availability().link(member)
    }

    fn budget(&self) -> &Budget {
        &self.0.budget
    }

    fn latencies(&self) -> &LatencyTracker {
        &self.0.latencies
    }

    fn note(&self, incident: Incident) {
        match incident {
            Incident::Missing(chunk) => warn!(%chunk, "unit missing"),
            Incident::Corrupt(chunk) => warn!(%chunk, "unit corrupt"),
            Incident::Degraded | Incident::Hedged => {}
        }
        self.0.metrics.incident(incident);
    }

    fn commits_in_order(&self) -> bool {
        true
    }

    fn full_stripe(&self) -> usize {
        self.0.settings.code.data() * infinicache_erasure::UNIT_MAX
    }

    async fn open(&self, key: &[u8], size: Option<u64>, blind: bool) -> Result<Opened, Error> {
        let key = Bytes::copy_from_slice(key);
        self.0.writes.open_on(key, size, blind, &[]).await
    }

    async fn reserve(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        self.0.writes.ensure_capacity(write, bytes).await
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        self.0.writes.substitute(write, index).await
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<CommitOutcome<ObjectRef>, Error> {
        self.0
            .commits
            .commit_in_turn(write, size, terms, None)
            .await
    }

    fn abort(&self, write: WriteId) {
        self.0.writes.give_up(write);
    }
}

//! The cache: what commands, relayed links and repair are built on.
//!
//! It owns the metadata, plans the nodes' memory and decides commits. The bytes
//! of values it leaves to the algorithms of the client crate, for which it is
//! the [`Pool`].
//!
//! - `open`: a write gets members, and room on them; `placing`: which members;
//! - `small`: a small value is stored in one exchange; `group`: on members that take turns;
//! - `commit`: members complete their chunks, then the metadata changes;
//! - `retire`: what was replaced or removed dies on the nodes; `partings`: until it has;
//! - `reconcile`: a member that may have missed something fits the metadata again;
//! - `arriving`, `reading`: a value on its way in, and on its way out;
//! - `recode`: a value is written anew because the pool has become too small for it;
//! - `fate`: what becomes of objects when members come and go.

mod adopt;
mod arriving;
mod commit;
mod fate;
#[cfg(test)]
pub(crate) mod fixture;
mod group;
mod open;
mod placing;
mod reading;
mod recode;
mod reconcile;
mod retire;
mod small;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_client::{
    Budget, Commit, Error, Health, Incident, MuxLink, PAUSES, Pool, Reader, Source, Terms, Upload,
    overwrite, upload,
};
use infinicache_erasure::Code;
use infinicache_host::{fail_point, task};
use infinicache_membership::{Epoch, farewell::Farewell, patience};
use infinicache_wire::{
    MemberId, Request, WriteId,
    control::{Opened, Placed},
};
use tokio::time;
use tracing::warn;

use self::{arriving::Arriving, group::Groups, retire::Ending};
pub(crate) use self::{reading::Reading, reconcile::page};
use crate::{
    catalog::{Catalog, Found},
    chores::{Chore, Housekeeper},
    leases::Leases,
    metrics::Metrics,
    nodes::Nodes,
    partings::Partings,
    room::Room,
    shelf::Shelf,
    turns::Turns,
    writes::Writes,
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
    /// The longest value that is stored in one exchange, and kept on the shelf.
    pub(crate) small_value: u64,
    /// Bytes of the shelf.
    pub(crate) shelf_bytes: u64,
}

/// The cache. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Inner>);

struct Inner {
    settings: Settings,
    nodes: Nodes,
    catalog: Catalog,
    writes: Writes,
    room: Room,
    turns: Turns,
    commits: AtomicU64,
    placements: AtomicU64,
    groups: Groups,
    shelf: Shelf,
    budget: Budget,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    keeper: Arc<Housekeeper>,
    partings: Arc<Partings>,
    leases: Leases,
}

impl Cache {
    pub(crate) fn new(
        settings: Settings,
        nodes: Nodes,
        budget: Budget,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        keeper: Arc<Housekeeper>,
        partings: Arc<Partings>,
    ) -> Self {
        Self(Arc::new(Inner {
            writes: Writes::new(settings.epoch.clone()),
            shelf: Shelf::new(
                settings.small_value,
                settings.shelf_bytes,
                metrics.served().shelf_lookups(),
            ),
            groups: Groups::default(),
            settings,
            nodes,
            catalog: Catalog::default(),
            room: Room::default(),
            turns: Turns::default(),
            commits: AtomicU64::new(0),
            placements: AtomicU64::new(0),
            budget,
            health,
            metrics,
            keeper,
            partings,
            leases: Leases::default(),
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.0.nodes
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.0.writes
    }

    pub(crate) fn keeper(&self) -> &Arc<Housekeeper> {
        &self.0.keeper
    }

    pub(crate) fn partings(&self) -> &Partings {
        &self.0.partings
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.0.leases
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Milliseconds since 1970, by the pool's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.nodes.clock().unix_ms()
    }

    /// The value of a key: it can be read for as long as the answer is held.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Found> {
        self.0.catalog.get(key, || self.now_ms()).map(Found)
    }

    /// A read found a value, or did not.
    pub(crate) fn count_read(&self, hit: bool) {
        self.0.metrics.served().read(hit);
    }

    /// Begins to read a range of a value; its first pieces are there when this returns.
    ///
    /// Members that cannot be reached are waited for a little: they come back, or turn out to be
    /// lost, and only then is it known which of the two the value is.
    ///
    /// # Errors
    ///
    /// Whatever keeps the first pieces from coming, but not a loss: that is `None`, as a miss is.
    /// [`Error::Lost`] is of a value that is not its key's any more: there may be another.
    pub(crate) async fn read(
        &self,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Option<Reading>, Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let mut reader = Reader::new(self.clone(), found.clone(), range.clone()).eager();
            let length = reader.remaining();
            match reader.next().await {
                Ok(first) => {
                    if let Some(pieces) = &first {
                        self.shelve(&found.0, pieces);
                    }
                    return Ok(Some(Reading {
                        reader,
                        length,
                        first,
                        metrics: self.0.metrics.clone(),
                    }));
                }
                Err(lost @ Error::Lost { .. }) if found.0.is_dead() => return Err(lost),
                // They have moved while they were asked for: the object has enough of them.
                Err(Error::Lost { need, .. }) if found.0.chunks_left() >= need => {
                    match pauses.next() {
                        Some(pause) => time::sleep(pause).await,
                        None => {
                            let text = "the value's chunks keep moving";
                            return Err(Error::Unreachable(text.into()));
                        }
                    }
                }
                Err(Error::Lost { have, need }) => {
                    warn!(?found, have, need, "read of a lost value");
                    self.0.metrics.served().read_lost();
                    self.give_up_lost(&found.0);
                    return Ok(None);
                }
                Err(Error::Unreachable(why)) => match pauses.next() {
                    Some(pause) => time::sleep(pause).await,
                    None => return Err(Error::Unreachable(why)),
                },
                Err(error) => return Err(error),
            }
        }
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
        let source = Arriving { source, metrics };
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
    /// [`Closed`] while it does not know what there is, or whether it is still in charge.
    pub(crate) fn is_open(&self) -> Result<(), Closed> {
        if self.0.nodes.is_recovering() {
            return Err(Closed::Loading);
        }
        match self.0.nodes.may_answer() {
            true => Ok(()),
            false => Err(Closed::OutOfTouch),
        }
    }

    /// Removes the value of a key; whether there was one.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether it is gone for good.
    pub(crate) async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        let _turn = self.0.turns.take(key).await;
        // They would be found when this one is gone.
        if !fail_point("earlier_stay_covered") {
            self.settle(key).await?;
        }
        let found = self.find(key);
        let removed = match &found {
            Some(Found(object)) if self.0.catalog.remove(object) => {
                self.retire(object, "deleted", Ending::of(object)).await?;
                true
            }
            _ => false,
        };
        self.still_in_charge().await?;
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
        if at_ms.is_some_and(|at| at <= self.now_ms()) {
            return self.delete(key).await;
        }
        let _turn = self.0.turns.take(key).await;
        let Some(Found(object)) = self.find(key) else {
            // A later run may know of one: it took a while until it was this command's turn.
            self.still_in_charge().await?;
            return Ok(false);
        };
        // They would be found when this one has expired.
        if !fail_point("earlier_stay_covered") {
            self.settle(key).await?;
        }
        self.0.catalog.set_expiry(&object, at_ms);
        object.set_expiry_sequence(object.expiry().sequence + 1);
        let expiry = object.expiry();
        let request = |index| Request::Expire {
            chunk: object.chunk(usize::from(index)),
            expiry,
        };
        let farewell = Farewell::new(object.data(), object.held_by());
        if !fail_point("expiry_acknowledged") {
            self.persuade(farewell, object.parity(), request, |_, _| ())
                .await?;
        }
        self.still_in_charge().await?;
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
            let (objects, next) = self.0.catalog.walk(slot, BATCH);
            let mut keys = Vec::with_capacity(objects.len());
            for object in objects {
                let _turn = self.0.turns.take(object.key()).await;
                self.settle(object.key()).await?;
                if self.0.catalog.remove(&object) {
                    self.retire_unasked(&object, "flushed");
                    keys.push(Bytes::copy_from_slice(object.key()));
                }
            }
            for key in keys {
                self.settle(&key).await?;
            }
            from = next;
        }
        self.still_in_charge().await
    }

    /// How many nodes the object of the widest code needs.
    pub(crate) fn widest(&self) -> usize {
        let mut widest = 0;
        self.0
            .catalog
            .for_each(|object| widest = widest.max(object.width()));
        widest
    }

    /// Removes what has expired; whether there may be more.
    pub(crate) fn expire(&self) -> bool {
        let expired = self.0.catalog.expire(self.now_ms(), BATCH);
        for object in &expired {
            self.retire_unasked(object, "expired");
        }
        expired.len() == BATCH
    }

    /// Expels members that keep what was removed from being gone for good, and asks them again:
    /// who was not linked when it was asked may answer by now, and hold nothing that anybody
    /// would find on it.
    pub(crate) fn give_up_overdue(&self, now: Instant) {
        for of_key in self.0.partings.overdue(now, patience::LONGEST) {
            for (chunk, member) in of_key.chunks_left() {
                self.0.keeper.leave(Chore::Delete(chunk, member));
            }
            let cache = self.clone();
            task::spawn(async move { cache.give_up_waiting(&of_key).await });
        }
    }
}

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
    type Found = Found;

    fn link(&self, member: MemberId) -> Option<MuxLink> {
        self.0.nodes.link(member)
    }

    fn budget(&self) -> &Budget {
        &self.0.budget
    }

    fn health(&self) -> &Health {
        &self.0.health
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
        self.open_on(key, size, blind, &[]).await
    }

    async fn reserve(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        self.make_room(write, bytes).await
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        self.substitute(write, index).await
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<Commit<Found>, Error> {
        self.decide(write, size, terms, None).await
    }

    fn abort(&self, write: WriteId) {
        self.give_up(write);
    }
}

impl Inner {
    /// The number of the next commit.
    fn next_commit(&self) -> u64 {
        self.commits.fetch_add(1, Relaxed) + 1
    }
}

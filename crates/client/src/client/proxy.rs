//! One proxy, and its pool as the cache's algorithms see it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use infinicache_erasure::{Code, Geometry, UNIT_MAX};
use infinicache_host::{clock, hash::HashMap, random, task};
use infinicache_wire::{
    MemberId, WriteId,
    control::{Command, Committed, Located, Opened, Placed, PoolView},
    pass::Right,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};
use tracing::debug;

use super::{
    address::Address,
    connection::Owner,
    control::Control,
    direct::{Direct, Routed},
    door::Door,
    options::Options,
    relay::{Relay, Relayed},
    view::{View, propose},
};
use crate::{Budget, Commit, Error, Health, Holders, Incident, Pool, Terms};

/// Messages under way that nobody waits for. Those beyond are not sent: the proxy
/// notices in its own time.
const MOST_MESSAGES: usize = 256;

/// Data chunks of the widest code, before the pool has told.
const PRESUMED_DATA: usize = 10;

/// A proxy. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(super) struct Proxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: String,
    control: Control,
    relay: Arc<Relay>,
    direct: Option<Arc<Direct>>,
    view: View,
    budget: Budget,
    health: Health,
    seed: AtomicU64,
    messages: Arc<Semaphore>,
    /// The connections to which the writes belong that are open.
    owners: Mutex<HashMap<WriteId, Owner>>,
    runtime: Handle,
}

impl Proxy {
    /// The proxy there; nothing is dialled yet. Must be called within a tokio runtime.
    pub(super) fn new(at: Address, options: &Options, budget: Budget) -> Self {
        let address = at.to_string();
        let login = at.login().or(options.login.as_ref());
        let door = Arc::new(Door::new(address.clone(), login.cloned()));
        Self(Arc::new(Inner {
            address,
            control: Control::new(door.clone(), options.connections, options.deadline),
            relay: Arc::new(Relay::new(door, options.links)),
            direct: options.direct.then(Direct::new),
            view: View::default(),
            budget,
            health: Health::default(),
            seed: AtomicU64::new(random::u64().unwrap_or(0)),
            messages: Arc::new(Semaphore::new(MOST_MESSAGES)),
            owners: Mutex::default(),
            runtime: Handle::current(),
        }))
    }

    pub(super) fn address(&self) -> &str {
        &self.0.address
    }

    pub(super) fn control(&self) -> &Control {
        &self.0.control
    }

    /// Asks for the view of the pool, and keeps it.
    pub(super) async fn fetch_view(&self) -> Result<Arc<PoolView>, Error> {
        let fetched = self.0.control.ask(&Command::Nodes).await.map(Arc::new);
        self.0
            .view
            .fetched(fetched.as_ref().ok().cloned(), clock::now());
        fetched
    }

    /// The view of the pool, as far as it is known; fetched again beside, if it is old.
    fn view(&self) -> Option<Arc<PoolView>> {
        let now = clock::now();
        if self.0.view.must_fetch(now) {
            let proxy = self.clone();
            self.0.runtime.spawn(task::scoped(async move {
                if let Err(error) = proxy.fetch_view().await {
                    debug!(proxy = proxy.address(), %error, "no view of the pool");
                }
            }));
        }
        self.0.view.current(now)
    }

    /// Tells the proxy something without waiting.
    fn tell(&self, message: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let Ok(permit) = self.0.messages.clone().try_acquire_owned() else {
            debug!(proxy = self.address(), "too many messages under way");
            return;
        };
        let proxy = self.clone();
        self.0.runtime.spawn(task::scoped(async move {
            if let Err(error) = message.await {
                debug!(proxy = proxy.address(), %error, "message not received");
            }
            drop(permit);
        }));
    }

    /// Waits until all that the proxy was told in the background has been received.
    pub(super) async fn told(&self) {
        let all = self.0.messages.acquire_many(MOST_MESSAGES as u32).await;
        drop(all);
    }

    /// Where a value is.
    pub(super) async fn locate(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        self.locate_by(key, self.0.direct.is_some()).await
    }

    /// The same without the ways to its members, which are not to be read.
    pub(super) async fn locate_only(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        self.locate_by(key, false).await
    }

    async fn locate_by(&self, key: &[u8], direct: bool) -> Result<Option<Found>, Error> {
        let key = Bytes::copy_from_slice(key);
        let locate = Command::Locate { key, direct };
        let located = self.0.control.ask_to_open(&locate).await?;
        let found = |(located, owner)| Found::new(self.clone(), located, owner);
        located.map(found).transpose()
    }

    /// Nothing more is put for a write.
    fn sent(&self, write: WriteId) {
        self.owners().remove(&write);
        if let Some(direct) = &self.0.direct {
            direct.forget(write, Right::Put);
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<WriteId, Owner>> {
        // A map is whole between any two statements.
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn propose_and_open(
        &self,
        key: &[u8],
        size: Option<u64>,
        blind: bool,
    ) -> Result<Opened, Error> {
        let seed = self.0.seed.fetch_add(1, Relaxed);
        let is_slow = |member| self.0.health.is_slow(member, clock::now());
        let view = self.view();
        let proposal = view.map_or(Vec::new(), |view| propose(&view, size, seed, is_slow));
        let open = Command::Open {
            key: Bytes::copy_from_slice(key),
            size,
            proposal: proposal.clone(),
            direct: self.0.direct.is_some(),
            blind,
        };
        let answer: Option<(Opened, Owner)> = self.0.control.ask_to_open(&open).await?;
        let no_write = || Error::Protocol("no write was opened".into());
        let (mut opened, owner) = answer.ok_or_else(no_write)?;
        self.owners().insert(opened.write, owner);
        if let Some(direct) = &self.0.direct {
            direct.learn(opened.write, Right::Put, std::mem::take(&mut opened.ways));
        }
        if opened.members != proposal {
            self.0.view.doubt();
        }
        Ok(opened)
    }
}

impl Pool for Proxy {
    type Link = Routed;
    type Found = Found;

    fn link(&self, member: MemberId) -> Option<Routed> {
        let relay = self.0.relay.clone();
        Some(Routed {
            direct: self.0.direct.clone(),
            relayed: Relayed { relay, member },
        })
    }

    fn budget(&self) -> &Budget {
        &self.0.budget
    }

    fn health(&self) -> &Health {
        &self.0.health
    }

    fn note(&self, incident: Incident) {
        debug!(
            proxy = self.address(),
            ?incident,
            "made up for while reading"
        );
    }

    fn full_stripe(&self) -> usize {
        let view = self.view();
        view.map_or(PRESUMED_DATA, |view| usize::from(view.data).max(1)) * UNIT_MAX
    }

    /// Runs to its end even if nobody waits for it any more, so that a write is not left open.
    async fn open(&self, key: &[u8], size: Option<u64>, blind: bool) -> Result<Opened, Error> {
        let (sender, receiver) = oneshot::channel();
        let (proxy, key) = (self.clone(), key.to_vec());
        self.0.runtime.spawn(task::scoped(async move {
            let opened = proxy.propose_and_open(&key, size, blind).await;
            let guarded = opened.map(|opened| Unclaimed {
                proxy,
                opened: Some(opened),
            });
            // A write that is not claimed is given up when it is dropped.
            let _ = sender.send(guarded);
        }));
        let stopped = || Error::Unreachable("the client's runtime stops".into());
        let mut unclaimed = receiver.await.map_err(|_| stopped())??;
        unclaimed.opened.take().ok_or_else(stopped)
    }

    async fn reserve(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        let reserve = Command::Reserve { write, bytes };
        let reserved = self.0.control.ask_number(&reserve).await?;
        Ok(reserved.max(bytes))
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        self.0.view.doubt();
        let replace = Command::Replace {
            write,
            index,
            direct: self.0.direct.is_some(),
        };
        let mut placed: Placed = self.0.control.ask(&replace).await?;
        if let (Some(direct), Some(way)) = (&self.0.direct, placed.way.take()) {
            direct.learn_more(write, Right::Put, way);
        }
        Ok(placed)
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<Commit<Found>, Error> {
        let terms = *terms;
        let commit = Command::Commit { write, size, terms };
        Ok(match self.0.control.ask(&commit).await? {
            Committed::Stored { version } => {
                self.sent(write);
                Commit::Stored {
                    version,
                    previous: None,
                }
            }
            Committed::ConditionFailed => {
                self.sent(write);
                Commit::ConditionFailed { current: None }
            }
            Committed::Incomplete { chunks } => Commit::Incomplete(chunks),
        })
    }

    fn abort(&self, write: WriteId) {
        self.sent(write);
        let proxy = self.clone();
        self.tell(async move { proxy.control().tell(&Command::Abort { write }).await });
    }
}

/// A write that was opened and not yet handed to whoever wanted it.
struct Unclaimed {
    proxy: Proxy,
    opened: Option<Opened>,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(opened) = &self.opened {
            self.proxy.abort(opened.write);
        }
    }
}

/// A value that was located. The lease on it, if there is one, ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Found(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    proxy: Proxy,
    located: Located,
    /// By the clock of this machine.
    expires_at: Option<SystemTime>,
    geometry: Geometry,
    /// Chunks that turned out not to be where they should.
    given_up: Vec<AtomicBool>,
    _lease: Option<Lease>,
}

/// A lease that the proxy has granted; released when this is dropped.
#[derive(Debug)]
struct Lease {
    proxy: Proxy,
    number: u64,
    /// The connection to which it belongs.
    _owner: Owner,
}

impl Found {
    /// What `proxy` says of a value, over the connection of `owner`.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if it makes no sense.
    fn new(proxy: Proxy, mut located: Located, owner: Owner) -> Result<Self, Error> {
        let lease = located.lease.take().map(|number| Lease {
            proxy: proxy.clone(),
            number,
            _owner: owner,
        });
        let code = Code::new(located.data.into(), located.parity.into())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        if located.members.len() != code.width() {
            return Err(Error::Protocol(
                "a value of another width than its code".into(),
            ));
        }
        let geometry = Geometry::new(located.size, code);
        let ways = std::mem::take(&mut located.ways);
        if let Some(direct) = &proxy.0.direct {
            direct.learn(located.write, Right::Get, ways);
        }
        let given_up = located
            .members
            .iter()
            .map(|_| AtomicBool::new(false))
            .collect();
        let ttl = located.ttl_ms.map(Duration::from_millis);
        let expires_at = ttl.and_then(|ttl| SystemTime::now().checked_add(ttl));
        Ok(Self(Arc::new(Inside {
            proxy,
            located,
            expires_at,
            geometry,
            given_up,
            _lease: lease,
        })))
    }

    /// What the proxy said, but for the lease and the ways.
    pub(super) fn located(&self) -> &Located {
        &self.0.located
    }

    /// When the value expires, if it does.
    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }
}

impl Holders for Found {
    fn write(&self) -> WriteId {
        self.0.located.write
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn holder(&self, index: usize) -> Option<MemberId> {
        let member = *self.0.located.members.get(index)?;
        member.filter(|_| !self.0.given_up[index].load(Relaxed))
    }

    fn give_up(&self, index: usize, _member: MemberId) {
        self.0.given_up[index].store(true, Relaxed);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(direct) = &self.proxy.0.direct {
            direct.forget(self.located.write, Right::Get);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (proxy, lease) = (self.proxy.clone(), self.number);
        self.proxy
            .tell(async move { proxy.control().tell(&Command::Release { lease }).await });
    }
}

//! One proxy, and its pool as the cache's algorithms see it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use infinicache_engine::{
    Budget, CommitOutcome, Error, Holders, Incident, LatencyTracker, Pool, Terms,
};
use infinicache_erasure::{Code, Geometry, UNIT_MAX};
use infinicache_host::{clock, hash::HashMap, random, task};
use infinicache_wire::{
    MemberId, WriteId,
    control::{CommitReply, ControlCommand, Located, Opened, Placed, PoolStatus},
    token::Permission,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};
use tracing::debug;

use crate::{
    address::Address,
    connection::Owner,
    connector::Connector,
    control::Control,
    direct::{Direct, Routed},
    options::Options,
    pool_status::{StatusCache, propose},
    relay::{Relay, Relayed},
};

/// Messages under way that no caller waits for. Those beyond are not sent: the proxy
/// notices in its own time.
const MOST_MESSAGES: usize = 256;

/// Data chunks of the widest code, before the pool has told.
const PRESUMED_DATA: usize = 10;

/// A proxy. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<ProxyInner>);

#[derive(Debug)]
struct ProxyInner {
    address: String,
    control: Control,
    relay: Arc<Relay>,
    direct: Option<Arc<Direct>>,
    view: StatusCache,
    budget: Budget,
    latencies: LatencyTracker,
    seed: AtomicU64,
    messages: Arc<Semaphore>,
    /// The connections to which the writes belong that are open.
    owners: Mutex<HashMap<WriteId, Owner>>,
    runtime: Handle,
}

impl Proxy {
    /// The proxy there; nothing is dialled yet. Must be called within a tokio runtime.
    pub(crate) fn new(at: Address, options: &Options, budget: Budget) -> Self {
        let address = at.to_string();
        let login = at.login().or(options.login.as_ref());
        let connector = Arc::new(Connector::new(address.clone(), login.cloned()));
        Self(Arc::new(ProxyInner {
            address,
            control: Control::new(connector.clone(), options.connections, options.deadline),
            relay: Arc::new(Relay::new(connector, options.links)),
            direct: options.direct.then(Direct::new),
            view: StatusCache::default(),
            budget,
            latencies: LatencyTracker::default(),
            seed: AtomicU64::new(random::u64().unwrap_or(0)),
            messages: Arc::new(Semaphore::new(MOST_MESSAGES)),
            owners: Mutex::default(),
            runtime: Handle::current(),
        }))
    }

    pub(crate) fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    /// Asks for the view of the pool, and keeps it.
    pub(crate) async fn fetch_status(&self) -> Result<Arc<PoolStatus>, Error> {
        let fetched = self
            .0
            .control
            .ask(&ControlCommand::Nodes)
            .await
            .map(Arc::new);
        self.0
            .view
            .fetched(fetched.as_ref().ok().cloned(), clock::now());
        fetched
    }

    /// The view of the pool, as far as it is known; fetched again beside, if it is old.
    fn view(&self) -> Option<Arc<PoolStatus>> {
        let now = clock::now();
        if self.0.view.must_fetch(now) {
            let proxy = self.clone();
            self.0.runtime.spawn(task::scoped(async move {
                if let Err(error) = proxy.fetch_status().await {
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
    pub(crate) async fn told(&self) {
        let all = self.0.messages.acquire_many(MOST_MESSAGES as u32).await;
        drop(all);
    }

    /// Where a value is.
    pub(crate) async fn locate(&self, key: &[u8]) -> Result<Option<LocatedValue>, Error> {
        self.locate_by(key, self.0.direct.is_some()).await
    }

    /// The same without the routes to its members, which are not to be read.
    pub(crate) async fn locate_only(&self, key: &[u8]) -> Result<Option<LocatedValue>, Error> {
        self.locate_by(key, false).await
    }

    async fn locate_by(&self, key: &[u8], direct: bool) -> Result<Option<LocatedValue>, Error> {
        let key = Bytes::copy_from_slice(key);
        let locate = ControlCommand::Locate { key, direct };
        let located = self.0.control.ask_to_open(&locate).await?;
        let found = |(located, owner)| LocatedValue::new(self.clone(), located, owner);
        located.map(found).transpose()
    }

    /// Nothing more is put for a write.
    fn sent(&self, write: WriteId) {
        self.owners().remove(&write);
        if let Some(direct) = &self.0.direct {
            direct.forget(write, Permission::Put);
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
        let is_slow = |member| self.0.latencies.is_slow(member, clock::now());
        let view = self.view();
        let proposal = view.map_or(Vec::new(), |view| propose(&view, size, seed, is_slow));
        let open = ControlCommand::Open {
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
            direct.learn(
                opened.write,
                Permission::Put,
                std::mem::take(&mut opened.routes),
            );
        }
        if opened.members != proposal {
            self.0.view.doubt();
        }
        Ok(opened)
    }
}

impl Pool for Proxy {
    type Link = Routed;
    type Value = LocatedValue;

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

    fn latencies(&self) -> &LatencyTracker {
        &self.0.latencies
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

    /// Runs to its end even if no caller waits for it any more, so that a write is not left open.
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
        let reserve = ControlCommand::Reserve { write, bytes };
        let reserved = self.0.control.ask_number(&reserve).await?;
        Ok(reserved.max(bytes))
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        self.0.view.doubt();
        let replace = ControlCommand::Replace {
            write,
            index,
            direct: self.0.direct.is_some(),
        };
        let mut placed: Placed = self.0.control.ask(&replace).await?;
        if let (Some(direct), Some(route)) = (&self.0.direct, placed.route.take()) {
            direct.learn_more(write, Permission::Put, route);
        }
        Ok(placed)
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<CommitOutcome<LocatedValue>, Error> {
        let terms = *terms;
        let commit = ControlCommand::Commit { write, size, terms };
        let reply: CommitReply = self.0.control.ask(&commit).await?;
        if !matches!(reply, CommitReply::Incomplete { .. }) {
            self.sent(write);
        }
        Ok(reply.into())
    }

    fn abort(&self, write: WriteId) {
        self.sent(write);
        let proxy = self.clone();
        self.tell(async move { proxy.control().tell(&ControlCommand::Abort { write }).await });
    }
}

/// A write that was opened and not yet handed to its caller.
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
pub(crate) struct LocatedValue(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    proxy: Proxy,
    located: Located,
    /// By the clock of this machine.
    expires_at: Option<SystemTime>,
    geometry: Geometry,
    /// Chunks that turned out not to be where they should.
    given_up: Vec<AtomicBool>,
    _lease: Option<ReadLease>,
}

/// A lease that the proxy has granted; released when this is dropped.
#[derive(Debug)]
struct ReadLease {
    proxy: Proxy,
    number: u64,
    /// The connection to which it belongs.
    _owner: Owner,
}

impl LocatedValue {
    /// What `proxy` says of a value, over the connection of `owner`.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if it makes no sense.
    fn new(proxy: Proxy, mut located: Located, owner: Owner) -> Result<Self, Error> {
        let lease = located.lease.take().map(|number| ReadLease {
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
        let routes = std::mem::take(&mut located.routes);
        if let Some(direct) = &proxy.0.direct {
            direct.learn(located.write, Permission::Get, routes);
        }
        let given_up = located
            .members
            .iter()
            .map(|_| AtomicBool::new(false))
            .collect();
        let ttl = located.ttl_ms.map(Duration::from_millis);
        let now = UNIX_EPOCH + Duration::from_millis(clock::unix_ms());
        let expires_at = ttl.and_then(|ttl| now.checked_add(ttl));
        Ok(Self(Arc::new(Inside {
            proxy,
            located,
            expires_at,
            geometry,
            given_up,
            _lease: lease,
        })))
    }

    /// What the proxy said, but for the lease and the routes.
    pub(crate) fn located(&self) -> &Located {
        &self.0.located
    }

    /// When the value expires, if it does.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }
}

impl Holders for LocatedValue {
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
            direct.forget(self.located.write, Permission::Get);
        }
    }
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        let (proxy, lease) = (self.proxy.clone(), self.number);
        self.proxy.tell(async move {
            proxy
                .control()
                .tell(&ControlCommand::Release { lease })
                .await
        });
    }
}

//! The nodes of the pool: who is awake, who is a member, and how to reach them.
//!
//! [`Life`](life::Life) decides, one for each node; this module carries its
//! decisions out: it posts wakes, sends pings, admits who dials in, and tells the
//! rest of the proxy when a member is lost.
//!
//! - [`life`]: the pure state machine;
//! - [`member`]: one instance while its chunks count;
//! - [`wake`]: the POST;
//! - [`door`]: the listener and the handshake.

pub(crate) mod door;
pub(crate) mod life;
pub(crate) mod member;
pub(crate) mod wake;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use hyper::Uri;
use infinicache_client::{Health, Mux, MuxLink, NodeLink};
use infinicache_wire::{
    MemberId, PROTOCOL_VERSION, Reply, Request, Secret,
    control::{NodeState, NodeView},
    handshake::{Hello, Welcome, is_compatible},
    wake::Wake,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time,
};
use tracing::{debug, info, warn};

use self::{
    life::{Action, Life, Timing},
    member::Member,
    wake::Waker,
};
use crate::metrics::Metrics;

/// How often time is told to the nodes' lives.
const TICK: Duration = Duration::from_millis(200);

/// Wakes that may be under way at once.
const PARALLEL_WAKES: usize = 32;

/// A node as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Where to POST its wakes.
    pub url: Uri,
}

/// How the pool deals with its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timing: Timing,
    pub(crate) secret: Secret,
    /// `host:port` that nodes dial.
    pub(crate) advertise: String,
    pub(crate) epoch: u64,
}

/// Why an instance is not admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Inadmissible {
    #[error("node speaks protocol {0}, this is {PROTOCOL_VERSION}")]
    Protocol(u16),
    #[error("there is no node {0:?} in the pool")]
    Unknown(String),
    #[error("node {0} answers no wake of this proxy, or without proof of the secret")]
    Unproven(String),
}

/// What happens to a member.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is gone, with all that it held.
    Lost(Arc<Member>),
    /// It is about to go.
    Leaving(Arc<Member>),
}

/// The nodes of the pool. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    nodes: Vec<Node>,
    members: DashMap<MemberId, Arc<Member>>,
    last_member: AtomicU32,
    waker: Waker,
    wakes: Semaphore,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    events: mpsc::UnboundedSender<Event>,
}

#[derive(Debug)]
struct Node {
    address: NodeAddress,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// Of the last wake, and of the one before it.
    sessions: [String; 2],
    /// What the last instance could hold: the best guess for the next.
    capacity: u64,
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes {
    /// The nodes at `addresses`, all asleep as far as is known.
    ///
    /// What happens to members is sent to `events`: no more than two for each that ever joined.
    pub(crate) fn new(
        settings: Settings,
        addresses: Vec<NodeAddress>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let node = |address| Node {
            address,
            state: Mutex::new(State {
                life: Life::new(settings.timing),
                sessions: Default::default(),
                capacity: 0,
            }),
            changed: watch::channel(()).0,
        };
        Self(Arc::new(Inner {
            waker: Waker::new(settings.timing.wake_deadline),
            nodes: addresses.into_iter().map(node).collect(),
            settings,
            members: DashMap::new(),
            last_member: AtomicU32::new(0),
            wakes: Semaphore::new(PARALLEL_WAKES),
            health,
            metrics,
            events,
        }))
    }

    /// Tells the time to every life, for ever.
    pub(crate) async fn live(self) {
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (index, node) in self.0.nodes.iter().enumerate() {
                let now = Instant::now();
                let member = node.state().life.member().and_then(|(id, _)| self.member(id));
                let holds_data = member.is_some_and(|member| member.used() > 0);
                let actions = node.state().life.tick(now, holds_data);
                if !actions.is_empty() {
                    node.changed.send_replace(());
                }
                actions.into_iter().for_each(|action| self.act(index, action));
            }
        }
    }

    /// A member, linked or not.
    pub(crate) fn member(&self, id: MemberId) -> Option<Arc<Member>> {
        self.0.members.get(&id).map(|member| member.value().clone())
    }

    /// The way to a member, if it is linked.
    pub(crate) fn link(&self, id: MemberId) -> Option<MuxLink> {
        self.0.members.get(&id)?.link()
    }

    /// All members.
    pub(crate) fn members(&self) -> Vec<Arc<Member>> {
        self.0.members.iter().map(|member| member.value().clone()).collect()
    }

    /// The name of a node.
    pub(crate) fn name(&self, node: usize) -> &str {
        &self.0.nodes[node].address.name
    }

    /// The nodes that chunks can be placed on, with the member behind each that is awake,
    /// and what it can hold as far as is known.
    pub(crate) fn usable(&self) -> Vec<(usize, Option<Arc<Member>>, u64)> {
        let now = Instant::now();
        let usable = |(index, node): (usize, &Node)| {
            let state = node.state();
            let active = state.life.active().and_then(|id| self.member(id));
            state.life.is_usable(now).then_some((index, active, state.capacity))
        };
        self.0.nodes.iter().enumerate().filter_map(usable).collect()
    }

    /// Gets a node to be awake, waiting until `deadline` at most.
    pub(crate) async fn ensure(&self, index: usize, deadline: Instant) -> Option<Arc<Member>> {
        let node = &self.0.nodes[index];
        let mut changed = node.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let action = {
                let mut state = node.state();
                if let Some(member) = state.life.active() {
                    return self.member(member);
                }
                let now = Instant::now();
                if !state.life.is_usable(now) {
                    return None;
                }
                state.life.wanted(now)
            };
            if let Some(action) = action {
                self.act(index, action);
            }
            time::timeout_at(deadline.into(), changed.changed()).await.ok()?.ok()?;
        }
    }

    /// Checks a hello and makes its instance a member, or finds that it is one.
    fn admit_member(&self, hello: &Hello) -> Result<(Arc<Member>, bool), Inadmissible> {
        if !is_compatible(hello.protocol) {
            return Err(Inadmissible::Protocol(hello.protocol));
        }
        let by_name = |node: &Node| node.address.name == hello.node;
        let index = self.0.nodes.iter().position(by_name);
        let index = index.ok_or_else(|| Inadmissible::Unknown(hello.node.clone()))?;
        let mut state = self.0.nodes[index].state();
        let same = state.life.member().filter(|(_, instance)| *instance == hello.instance);
        // Names are not locks: an instance of an older session that has been succeeded stays out.
        let sessions = &state.sessions[..if same.is_some() { 2 } else { 1 }];
        let is_known = !hello.session.is_empty() && sessions.contains(&hello.session);
        if !is_known || !hello.is_genuine(&self.0.settings.secret) {
            return Err(Inadmissible::Unproven(hello.node.clone()));
        }
        state.capacity = hello.capacity;
        if let Some(member) = same.and_then(|(id, _)| self.member(id)) {
            return Ok((member, false));
        }
        let id = MemberId(self.0.last_member.fetch_add(1, Relaxed) + 1);
        Ok((Arc::new(Member::new(id, index, hello)), true))
    }

    /// Admits an instance that said hello; what to answer it.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<(Arc<Member>, Welcome), Inadmissible> {
        let (member, fresh) = self.admit_member(hello)?;
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            member: member.id,
            epoch: self.0.settings.epoch,
            fresh,
            proof: String::new(),
        };
        Ok((member, welcome.signed(&self.0.settings.secret, hello)))
    }

    /// A member has been welcomed and is linked from now on.
    fn linked(&self, member: &Arc<Member>, mux: &Mux) {
        let replaced = member.set_link(mux.link(member.id));
        if let Some(replaced) = replaced {
            replaced.mux().close();
        }
        self.0.members.insert(member.id, member.clone());
        let node = &self.0.nodes[member.node];
        let action = node.state().life.joined(member.instance, member.id, Instant::now());
        info!(node = node.address.name, member = %member.id, instance = %member.instance, "node joined");
        self.0.metrics.node_joined();
        if let Some(action) = action {
            self.act(member.node, action);
        }
        node.changed.send_replace(());
    }

    /// A member's link has ended.
    fn unlinked(&self, member: &Arc<Member>) {
        if !member.drop_ended_link() {
            return;
        }
        let node = &self.0.nodes[member.node];
        info!(node = node.address.name, member = %member.id, "node's link ended");
        let (action, is_current) = {
            let mut state = node.state();
            let action = state.life.unlinked(member.id, Instant::now());
            (action, state.life.member().is_some_and(|(id, _)| id == member.id))
        };
        match action {
            Some(action) => self.act(member.node, action),
            None if !is_current => self.act(member.node, Action::Lost(member.id)),
            None => {}
        }
        node.changed.send_replace(());
    }

    /// A member says that it is about to go.
    fn leaving(&self, member: &Arc<Member>, reason: &str) {
        let node = &self.0.nodes[member.node];
        info!(node = node.address.name, member = %member.id, reason, "node is leaving");
        node.state().life.leaving(member.id);
        node.changed.send_replace(());
        self.vacate(member.id);
    }

    /// What a member holds is to be moved away.
    fn vacate(&self, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        member.drain();
        self.tell(Event::Leaving(member));
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more once the proxy stops.
        let _ = self.0.events.send(event);
    }

    fn act(&self, index: usize, action: Action) {
        match action {
            Action::Wake => self.wake(index, true),
            Action::KeepAwake => self.wake(index, false),
            Action::Ping(member) => self.ping(index, member),
            Action::Lost(member) => self.lose(index, member),
            Action::Vacate(member) => self.vacate(member),
        }
    }

    fn lose(&self, index: usize, id: MemberId) {
        let Some((_, member)) = self.0.members.remove(&id) else { return };
        match member.chunks() {
            0 => info!(node = self.name(index), member = %id, "member left"),
            chunks => warn!(node = self.name(index), member = %id, chunks, "member lost"),
        }
        member.cut();
        self.0.health.forget(id);
        self.0.metrics.node_lost();
        self.tell(Event::Lost(member));
    }

    /// Wakes a node: for a new session, or to keep the one it has from ending.
    fn wake(&self, index: usize, anew: bool) {
        let nodes = self.clone();
        tokio::spawn(async move {
            let node = &nodes.0.nodes[index];
            let _slot = nodes.0.wakes.acquire().await.expect("never closed");
            let session = match anew {
                true => {
                    let session = random_session();
                    let mut state = node.state();
                    state.sessions.swap(0, 1);
                    state.sessions[0].clone_from(&session);
                    session
                }
                false => node.state().sessions[0].clone(),
            };
            let wake = Wake {
                version: PROTOCOL_VERSION,
                node: node.address.name.clone(),
                proxy: nodes.0.settings.advertise.clone(),
                session,
                epoch: nodes.0.settings.epoch,
                proof: String::new(),
            };
            let started = Instant::now();
            let woken = nodes.0.waker.wake(&node.address.url, &wake.signed(&nodes.0.settings.secret)).await;
            nodes.0.metrics.wake(anew, woken.is_ok(), started.elapsed());
            let Err(error) = woken else { return };
            warn!(node = node.address.name, %error, "node cannot be woken");
            if anew {
                node.state().life.wake_failed(Instant::now());
                node.changed.send_replace(());
            }
        });
    }

    fn ping(&self, index: usize, id: MemberId) {
        let Some(member) = self.member(id) else { return };
        let Some(link) = member.link() else { return };
        let nodes = self.clone();
        tokio::spawn(async move {
            match link.call(Request::Ping).await {
                Reply::Done { bytes, .. } => {
                    nodes.0.nodes[index].state().life.heard_of(id, Instant::now());
                    match serde_json::from_slice(&bytes) {
                        Ok(report) => member.set_report(report),
                        Err(error) => debug!(%error, "unreadable report"),
                    }
                }
                reply => debug!(node = nodes.name(index), ?reply, "ping unanswered"),
            }
        });
    }

    /// How many nodes are in which state.
    pub(crate) fn states(&self) -> Vec<NodeState> {
        self.0.nodes.iter().map(|node| node.state().life.state()).collect()
    }

    /// Each node, as its user sees it.
    pub(crate) fn view(&self) -> Vec<NodeView> {
        let now = Instant::now();
        let view = |node: &Node| {
            let state = node.state();
            let member = state.life.member().and_then(|(id, _)| self.member(id));
            let member = member.as_deref();
            NodeView {
                name: node.address.name.clone(),
                state: state.life.state(),
                member: member.map(|member| member.id),
                instance: member.map(|member| member.instance),
                host: member.map_or_else(String::new, |member| member.host.clone()),
                zone: member.map_or_else(String::new, |member| member.zone.clone()),
                capacity: member.map_or(state.capacity, Member::capacity),
                used: member.map_or(0, Member::used),
                chunks: member.map_or(0, Member::chunks),
                heard_ms: state
                    .life
                    .heard()
                    .map(|heard| now.saturating_duration_since(heard).as_millis() as u64),
                slow: member.is_some_and(|member| self.0.health.is_slow(member.id, now)),
            }
        };
        self.0.nodes.iter().map(view).collect()
    }
}

fn random_session() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    format!("{:032x}", u128::from_le_bytes(bytes))
}

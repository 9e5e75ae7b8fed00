//! The nodes of the pool: who is awake, who is a member, and how to reach them.
//!
//! A `Life` decides, one for each node; this module carries its
//! decisions out: it posts wakes, sends pings, admits who dials in, and tells the
//! rest of the proxy when a member is lost.
//!
//! - `life`: the pure state machine;
//! - `member`: one instance while its chunks count;
//! - `door`: the listener and the handshake; `admit`: who may come in;
//! - `act`: what a life decided is done; `wake`: the POST.

mod act;
mod admit;
pub(crate) mod door;
pub(crate) mod life;
pub(crate) mod member;
pub(crate) mod wake;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
    time::{Duration, Instant},
};

use dashmap::DashMap;
use hyper::Uri;
use infinicache_client::{Health, MuxLink};
use infinicache_wire::{
    MemberId, Secret,
    control::{NodeState, NodeView},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time,
};

use self::{
    life::{Life, Timing},
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
                let member = node
                    .state()
                    .life
                    .member()
                    .and_then(|(id, _)| self.member(id));
                let holds_data = member.is_some_and(|member| member.used() > 0);
                let actions = node.state().life.tick(now, holds_data);
                if !actions.is_empty() {
                    node.changed.send_replace(());
                }
                actions
                    .into_iter()
                    .for_each(|action| self.act(index, action));
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
        self.0
            .members
            .iter()
            .map(|member| member.value().clone())
            .collect()
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
            state
                .life
                .is_usable(now)
                .then_some((index, active, state.capacity))
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
            time::timeout_at(deadline.into(), changed.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    /// How many nodes are in which state.
    pub(crate) fn states(&self) -> Vec<NodeState> {
        self.0
            .nodes
            .iter()
            .map(|node| node.state().life.state())
            .collect()
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
                resting: false,
                wake_failure: None,
            }
        };
        self.0.nodes.iter().map(view).collect()
    }
}

//! The pool of nodes: which are awake, which are members, and how to reach them.
//!
//! A `Lifecycle` decides, one for each node; this module carries its
//! decisions out: it posts wakes, sends pings, admits who dials in, and tells the
//! rest of the proxy when a member is lost.
//!
//! - `lifecycle`: the pure state machine; `node_list`: one for each name;
//! - `member`: one instance while its chunks count;
//! - `membership`: whose chunks count, and whether the proxy may answer;
//! - `listener`: the listener and the handshake; `admit`: who may come in; `wake_sessions`: with
//!   what;
//! - `actions`: what a life decided is done; `suspicion`: who is silent, and can be done without;
//! - `wake`: the POST; `wake_attempt`: what becomes of the life that wanted it;
//! - `observe`: what the platform tells of them is taken in;
//! - `shortage`: for how long there have been too few;
//! - `ping`: signs of life, asked for, and how long they are waited for.

mod actions;
mod admit;
mod events;
pub(crate) mod lifecycle;
pub(crate) mod listener;
pub(crate) mod member;
mod member_memory;
mod membership;
mod node_list;
mod observe;
mod ping;
mod predecessors;
mod routes;
mod shortage;
mod suspicion;
#[cfg(test)]
pub(crate) mod tests;
mod wake;
mod wake_attempt;
pub(crate) mod wake_sessions;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU32},
    time::{Duration, Instant},
};

use hyper::Uri;
use infinicache_discovery::Site;
use infinicache_engine::{AdaptiveTimeout, LatencyTracker, MuxLink, NodeLink};
use infinicache_host::{
    clock, fail_point,
    hash::{DashMap, dash_map},
    random,
};
use infinicache_membership::{Epoch, prepare::Prepare};
use infinicache_wire::{
    MemberId, Reply, Request, Secret,
    control::{NodeState, NodeStatus},
    wake::Lifetimes,
};
use tokio::{sync::Semaphore, time};
use tokio_util::sync::CancellationToken;

use tracing::warn;

pub(crate) use self::{events::PoolEvent, observe::Observed};
use self::{
    events::PoolEvents,
    lifecycle::LifecycleTimings,
    member::Member,
    membership::Membership,
    node_list::{NodeEntry, NodeEntryState, NodeList},
    observe::ObservedState,
    shortage::NodeShortage,
    wake::WakeClient,
};
use crate::{metrics::Metrics, pool_clock::PoolClock};

/// How often the lifecycles of nodes are ticked.
const TICK: Duration = Duration::from_millis(200);

/// How late a tick may be before it is this process that is late.
pub(crate) const HELD_UP: Duration = Duration::from_secs(1);

/// How often a node is looked for that would be a member, where there is none. A platform may
/// refuse the wake that makes it start one.
const SEEKING: Duration = Duration::from_secs(1);

/// How long to wait before looking whether a broken link has been dialled anew.
const REDIALLING: Duration = Duration::from_millis(50);

/// How long members that are asked at once may take before they are waited for one by one.
const AT_ONCE: Duration = Duration::from_millis(250);

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
    pub(crate) timing: LifecycleTimings,
    pub(crate) secret: Secret,
    /// `host:port` that nodes dial.
    pub(crate) advertise: String,
    pub(crate) epoch: Epoch,
    /// How many members may be lost at once.
    pub(crate) parity: usize,
    /// How long the proxy may rely on a member that answered.
    pub(crate) lease: Duration,
    /// Of the sessions that wakes begin.
    pub(crate) lifetimes: Lifetimes,
    pub(crate) clock: PoolClock,
}

/// Why a run of the proxy steps down before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepDown {
    /// No member can say whether it leads.
    #[error("paused for longer than the lease, with no member to renew it")]
    NoLease,
    /// Its members follow a later run.
    #[error("a later run of the proxy has fenced this one, which has no majority any more")]
    Fenced,
    /// Another run was there first.
    #[error("another proxy leads this pool, and there can be one only")]
    OtherLeader,
}

/// A node that chunks can be placed on.
#[derive(Debug)]
pub(crate) struct Usable {
    /// Its place in the list of nodes.
    pub(crate) node: usize,
    /// The member behind it, if it is awake, was heard of lately, and counts.
    pub(crate) member: Option<Arc<Member>>,
    /// What it can hold, as far as is known.
    pub(crate) capacity: u64,
    /// Where it runs, or ran when it was awake last.
    pub(crate) site: Site,
    /// Whether it is about to be awake.
    pub(crate) waking: bool,
    /// Whether it is better not waited for.
    pub(crate) doubtful: bool,
}

/// The nodes of the pool. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    settings: Settings,
    nodes: NodeList,
    /// What the platform told of the pods that it runs.
    observed_state: Mutex<ObservedState>,
    members: DashMap<MemberId, Arc<Member>>,
    last_member: AtomicU32,
    waker: WakeClient,
    wakes: Semaphore,
    membership: Membership,
    /// Why this run has to end, once it has to.
    over: OnceLock<StepDown>,
    ended: CancellationToken,
    /// Who has been heard by a run that does not serve yet.
    prepare: Mutex<Option<Prepare>>,
    ping_timeout: Mutex<AdaptiveTimeout>,
    shortage: Mutex<NodeShortage>,
    latencies: Arc<LatencyTracker>,
    metrics: Arc<Metrics>,
    events: PoolEvents,
}

impl Nodes {
    /// The nodes at `addresses`, all asleep as far as is known.
    pub(crate) fn new(
        settings: Settings,
        addresses: Vec<NodeAddress>,
        latencies: Arc<LatencyTracker>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (nodes, names) = (NodeList::default(), addresses.len());
        let observed_state =
            ObservedState::of(addresses.iter().map(|address| address.name.clone()));
        for address in addresses {
            nodes.add(address, settings.timing, seed(&settings));
        }
        Self(Arc::new(PoolInner {
            waker: WakeClient::new(settings.timing.wake_deadline, settings.secret.clone()),
            membership: Membership::new(settings.parity, settings.lease, settings.epoch.clone()),
            over: OnceLock::new(),
            ended: CancellationToken::new(),
            prepare: Mutex::new(None),
            shortage: Mutex::new(NodeShortage::new(names, clock::now())),
            nodes,
            observed_state: Mutex::new(observed_state),
            settings,
            members: dash_map(),
            last_member: AtomicU32::new(0),
            wakes: Semaphore::new(PARALLEL_WAKES),
            ping_timeout: Mutex::new(AdaptiveTimeout::new(ping::PATIENCE)),
            latencies,
            metrics,
            events: PoolEvents::default(),
        }))
    }

    /// What happens to members.
    pub(crate) fn events(&self) -> &PoolEvents {
        &self.0.events
    }

    /// The pool's clock.
    pub(crate) fn clock(&self) -> &PoolClock {
        &self.0.settings.clock
    }

    /// Tells the time to every life, for ever.
    pub(crate) async fn live(self) {
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut last = clock::now();
        let (mut since, mut attended) = (last, last);
        // For how long it has been superseded, and could not answer.
        let mut fenced = Duration::ZERO;
        let mut sought = last.checked_sub(SEEKING).unwrap_or(last);
        loop {
            ticks.tick().await;
            let gap = (clock::now() - last).saturating_sub(TICK);
            last = clock::now();
            if gap >= self.0.settings.lease && self.0.membership.needs_no_lease() {
                return self.end(StepDown::NoLease);
            }
            self.0.membership.beat();
            fenced = match self.fencing() {
                Some(limit) if fenced >= limit => return self.end(StepDown::Fenced),
                Some(_) => fenced + TICK,
                None => Duration::ZERO,
            };
            if gap >= HELD_UP && !fail_point("own_pauses") {
                warn!(
                    ?gap,
                    "this proxy was paused: its nodes' silence does not count"
                );
                for node in self.0.nodes.all().iter() {
                    node.state().lifecycle.held_up(gap);
                }
                since = last;
            }
            if clock::now() - attended >= self.0.settings.timing.ping_every {
                attended = last;
                self.attend_predecessors(since);
            }
            self.propagate_view();
            for (index, node) in self.0.nodes.all().iter().enumerate() {
                let now = clock::now();
                let actions = {
                    let mut state = node.state();
                    let member = self.listen(&mut state);
                    let holds_data = member.is_some_and(|member| member.memory.used() > 0);
                    state.lifecycle.tick(now, holds_data)
                };
                if !actions.is_empty() {
                    node.tell();
                }
                actions
                    .into_iter()
                    .for_each(|action| self.act(index, action));
                self.try_again(index);
            }
            if self.0.membership.is_isolated() && clock::now() - sought >= SEEKING {
                sought = last;
                self.wake_somebody();
            }
        }
    }

    /// For how long this run goes on though a node follows a later one; `None` if nothing is wrong
    /// with that: a run that a user started by mistake may get nodes that are not needed.
    fn fencing(&self) -> Option<Duration> {
        if !self.0.membership.is_fenced() {
            return None;
        }
        if !self.may_answer() {
            return Some(self.0.settings.lease);
        }
        // Members that have turned to a run which is no more follow only one that is later.
        let silent = self.silent();
        let is_split = self
            .members()
            .iter()
            .any(|it| silent.contains(&it.id) && self.counts(it));
        is_split.then_some(self.0.settings.timing.lost_after)
    }

    /// Wakes a node, unless one is on its way to be a member: without members it is not known which
    /// run leads.
    fn wake_somebody(&self) {
        let (nodes, now) = (self.0.nodes.all(), clock::now());
        let is_coming = |node: &Arc<NodeEntry>| {
            let lifecycle = &node.state().lifecycle;
            lifecycle.state() == NodeState::Waking || lifecycle.is_fresh(now)
        };
        if nodes.iter().any(is_coming) {
            return;
        }
        for (index, node) in nodes.iter().enumerate() {
            let action = {
                let mut state = node.state();
                let wanted = state.listed.then(|| state.lifecycle.wanted(clock::now()));
                wanted.flatten()
            };
            if let Some(action) = action {
                return self.act(index, action);
            }
        }
    }

    /// Wakes a node whose wakes have failed, while there is anything to be lost: a write shall not
    /// be the one to find out whether it works again.
    fn try_again(&self, index: usize) {
        if self.view().0 == 0 {
            return;
        }
        let action = {
            let node = self.0.nodes.at(index);
            let mut state = node.state();
            let is_failing = state.listed && state.lifecycle.state() == NodeState::Lost;
            is_failing
                .then(|| state.lifecycle.wanted(clock::now()))
                .flatten()
        };
        if let Some(action) = action {
            self.act(index, action);
        }
    }

    /// Why this run has to end; without end while it has not.
    pub(crate) async fn over(&self) -> StepDown {
        self.0.ended.cancelled().await;
        self.0.over.get().copied().unwrap_or(StepDown::NoLease)
    }

    /// This run has to end.
    pub(crate) fn end(&self, why: StepDown) {
        let _ = self.0.over.set(why);
        self.0.ended.cancel();
    }

    /// A node said that it hears from another run, of epoch `leader`, which leads.
    pub(super) fn other_leader(&self, leader: u64) {
        let is_deciding = {
            let mut prepare = self.prepare();
            let prepare = prepare.as_mut().filter(|prepare| !prepare.is_closed());
            prepare
                .map(|prepare| prepare.other_leader(clock::now()))
                .is_some()
        };
        if is_deciding {
            self.view_changed();
        } else if leader > self.0.settings.epoch.get() {
            self.fenced();
        }
    }

    /// Begins to listen to what instances tell of the run before; none of them counts while the
    /// prepare phase goes on.
    pub(crate) fn begin_prepare(&self, prepare: Prepare) {
        *self.prepare() = Some(prepare);
    }

    /// the prepare phase that was begun, while it goes on.
    pub(crate) fn prepare(&self) -> MutexGuard<'_, Option<Prepare>> {
        let prepare = self.0.prepare.lock();
        prepare.unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every instance dial and tell anew.
    pub(crate) fn restart_prepare(&self) {
        if let Some(prepare) = self.prepare().as_mut() {
            prepare.restart(clock::now());
        }
        self.members().iter().for_each(|member| member.cut());
    }

    /// Whether it is not known yet what there is.
    pub(crate) fn is_recovering(&self) -> bool {
        self.prepare().is_some()
    }

    /// Wakes every node that may hold something, to hear what it is: all but those that are known
    /// to have no pod.
    pub(crate) fn wake_all(&self) {
        let is_absent = |name: &str| {
            let prepare = self.prepare();
            prepare
                .as_ref()
                .is_some_and(|prepare| prepare.is_absent(name))
        };
        for (index, node) in self.0.nodes.all().iter().enumerate() {
            if is_absent(&node.name) {
                continue;
            }
            let action = {
                let mut state = node.state();
                let is_listed = state.listed;
                is_listed
                    .then(|| state.lifecycle.wanted(clock::now()))
                    .flatten()
            };
            if let Some(action) = action {
                self.act(index, action);
            }
        }
    }

    /// A member, linked or not.
    pub(crate) fn member(&self, id: MemberId) -> Option<Arc<Member>> {
        self.0.members.get(&id).map(|member| member.value().clone())
    }

    /// The route to a member, if it is linked.
    ///
    /// The caller relies on the member, so it is made sure of; the caller does not wait for that.
    pub(crate) fn link(&self, id: MemberId) -> Option<MuxLink> {
        let member = self.member(id)?;
        let link = member.link()?;
        let node = self.0.nodes.at(member.node);
        let action = {
            let mut state = node.state();
            let current = state.lifecycle.current_if(id);
            let is_current = current.map(|it| it.heard_of(link.mux().heard())).is_some();
            is_current.then(|| state.lifecycle.relied_on(clock::now()))
        };
        if let Some(action) = action.flatten() {
            self.act(member.node, action);
        }
        Some(link)
    }

    /// The member behind a name, whose lifecycle learns what its link has heard.
    fn listen(&self, state: &mut NodeEntryState) -> Option<Arc<Member>> {
        let id = state.lifecycle.current()?.id;
        let member = self.member(id)?;
        if let (Some(link), Some(it)) = (member.link(), state.lifecycle.current_if(id)) {
            it.heard_of(link.mux().heard());
        }
        Some(member)
    }

    /// Asks a member, again and again while its link is broken; `None` once it is gone for good.
    ///
    /// For requests that may be repeated, by callers who do not wait for ever.
    pub(crate) async fn ask(&self, id: MemberId, request: Request) -> Option<Reply> {
        loop {
            let member = self.member(id)?;
            if let Some(link) = member.link() {
                match link.call(request.clone()).await {
                    Reply::Unreachable | Reply::Late => {}
                    reply => return Some(reply),
                }
            }
            time::sleep(REDIALLING).await;
        }
    }

    /// Asks members at once, for as long as healthy ones take at most; `None` for each of whom
    /// nothing is known then, and nothing at all if one of them is not linked.
    ///
    /// A caller that has to know asks the others [again](Self::ask).
    pub(crate) async fn ask_at_once(
        &self,
        asked: impl Iterator<Item = (MemberId, Request)>,
    ) -> Vec<Option<Reply>> {
        let link = |id| self.member(id).and_then(|member| member.link());
        let asked: Option<Vec<(MuxLink, Request)>> = asked
            .map(|(id, request)| Some((link(id)?, request)))
            .collect();
        let Some(asked) = asked else {
            return Vec::new();
        };
        let replies = infinicache_engine::ask_at_once(asked, clock::now() + AT_ONCE).await;
        let known = |reply| match reply {
            Reply::Unreachable | Reply::Late => None,
            reply => Some(reply),
        };
        replies.into_iter().map(known).collect()
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
    pub(crate) fn name(&self, node: usize) -> Arc<str> {
        self.0.nodes.at(node).name.clone()
    }

    /// How many nodes are in the pool.
    pub(crate) fn listed(&self) -> usize {
        self.0.nodes.listed()
    }

    /// Counts the nodes that take chunks, or may come to.
    pub(crate) fn count_viable(&self, now: Instant) {
        let is_viable = |node: &&Arc<NodeEntry>| node.state().is_viable();
        let count = self.0.nodes.all().iter().filter(is_viable).count();
        self.shortage().observe(count, now);
    }

    /// For how long there have been fewer than `wanted` such nodes.
    pub(crate) fn fewer_for(&self, wanted: usize) -> Duration {
        self.shortage().fewer_for(wanted, clock::now())
    }

    fn shortage(&self) -> MutexGuard<'_, NodeShortage> {
        self.0
            .shortage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A member is one too many, and is to be emptied; or it is needed after all.
    pub(crate) fn set_surplus(&self, id: MemberId, surplus: bool) {
        let Some(member) = self.member(id) else {
            return;
        };
        member.set_surplus(surplus);
        if surplus {
            self.0.events.tell(PoolEvent::Draining, &member);
        }
    }

    /// The member that has taken the place of one that goes, if it takes chunks.
    pub(crate) fn successor(&self, of: &Member) -> Option<Arc<Member>> {
        let node = self.0.nodes.at(of.node);
        let mut state = node.state();
        let current = self.listen(&mut state)?;
        let takes_chunks = state.lifecycle.active() == Some(current.id)
            && state.lifecycle.is_fresh(clock::now())
            && self.counts(&current)
            && !current.must_evacuate();
        (takes_chunks && current.id != of.id).then_some(current)
    }

    /// The nodes that chunks can be placed on.
    pub(crate) fn usable(&self) -> Vec<Usable> {
        let now = clock::now();
        let usable = |(index, node): (usize, &Arc<NodeEntry>)| {
            let mut state = node.state();
            let member = self.listen(&mut state);
            let is_awake = state.lifecycle.active().is_some() && state.lifecycle.is_fresh(now);
            let active = member.filter(|member| is_awake && self.counts(member));
            state.is_usable(now).then_some(Usable {
                node: index,
                member: active,
                capacity: state.capacity,
                site: state.site.clone(),
                waking: state.lifecycle.state() == NodeState::Waking,
                doubtful: state.lifecycle.is_doubtful(now),
            })
        };
        let nodes = self.0.nodes.all();
        nodes.iter().enumerate().filter_map(usable).collect()
    }

    /// Gets a node to be awake, and to show that it is, waiting until `deadline` at most.
    pub(crate) async fn ensure(&self, index: usize, deadline: Instant) -> Option<Arc<Member>> {
        let node = self.0.nodes.at(index);
        let mut changed = node.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (ready, action) = {
                let mut state = node.state();
                let member = self.listen(&mut state);
                let now = clock::now();
                if state.lifecycle.active().is_some() {
                    let is_fresh = state.lifecycle.is_fresh(now);
                    let ready = member.filter(|member| is_fresh && self.counts(member));
                    (ready, state.lifecycle.relied_on(now))
                } else if state.is_usable(now) {
                    (None, state.lifecycle.wanted(now))
                } else {
                    return None;
                }
            };
            if let Some(action) = action {
                self.act(index, action);
            }
            if ready.is_some() {
                return ready;
            }
            time::timeout_at(deadline.into(), changed.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    /// How many nodes are in which state.
    pub(crate) fn states(&self) -> Vec<NodeState> {
        let state = |node: &Arc<NodeEntry>| {
            let state = node.state();
            state.is_shown().then(|| state.lifecycle.state())
        };
        self.0.nodes.all().iter().filter_map(state).collect()
    }

    /// Each node, as its user sees it.
    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let now = clock::now();
        let view = |node: &Arc<NodeEntry>| {
            let mut state = node.state();
            if !state.is_shown() {
                return None;
            }
            let member = self.listen(&mut state);
            let member = member.as_deref();
            let is_silent = state.lifecycle.active().is_some() && !state.lifecycle.is_fresh(now);
            let current = state.lifecycle.current();
            let site = member.map_or_else(Site::default, Member::site);
            Some(NodeStatus {
                name: node.name.to_string(),
                state: state.lifecycle.state(),
                member: member.map(|member| member.id),
                instance: member.map(|member| member.instance),
                host: site.host,
                zone: site.zone,
                capacity: member.map_or(state.capacity, |it| it.memory.capacity()),
                used: member.map_or(0, |it| it.memory.used()),
                chunks: member.map_or(0, |it| it.memory.chunks()),
                heard_ms: current
                    .map(|it| now.saturating_duration_since(it.heard).as_millis() as u64),
                slow: is_silent
                    || member.is_some_and(|member| self.0.latencies.is_slow(member.id, now)),
                resting: current.is_some_and(|it| it.resting),
                wake_failure: state.lifecycle.backoff().failure(),
            })
        };
        self.0.nodes.all().iter().filter_map(view).collect()
    }
}

/// What spreads the attempts of a node.
fn seed(settings: &Settings) -> u64 {
    random::u64().unwrap_or(settings.epoch.get())
}

//! Wake attempts, from the lifecycle that wants one to their result.
//!
//! A wake is under way once for each node, and for a bounded number of nodes at
//! once. Waiting for its turn is part of its time. No request that needs a node waits
//! here: they wait for the node to dial, each until a deadline of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use infinicache_daemon::chain;
use infinicache_host::{clock, random, task};
use infinicache_membership::Epoch;
use infinicache_wire::{
    InstanceId, PROTOCOL_VERSION,
    control::{NodeState, WakeFailure},
    wake::{Lifetimes, Wake},
    wake_answer::WakeAnswer,
};
use tokio::{sync::Semaphore, time};
use tracing::{debug, warn};

use super::{
    lifecycle::LifecycleAction,
    node_list::{NodeEntry, NodeList},
    prepare_phase::PreparePhase,
    settings::Settings,
    wake::{HeldWake, WakeClient, WakeError, Woken},
};
use crate::metrics::Metrics;

/// Wakes that may be under way at once.
const PARALLEL_WAKES: usize = 32;

/// How much less time a wake has than its node has to dial, so that it is known why it did not.
const MARGIN: Duration = Duration::from_millis(200);

/// What a wake is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakePurpose {
    /// A process is to dial.
    NewSession,
    /// The platform is to know that the member is needed.
    KeepAwake,
    /// The same, as the member's session is over.
    Resume,
}

impl WakePurpose {
    /// How it is counted once it is answered.
    fn as_str(self) -> &'static str {
        match self {
            Self::NewSession => "woken",
            Self::KeepAwake => "kept_awake",
            Self::Resume => "resumed",
        }
    }
}

/// What wakes nodes.
#[derive(Debug)]
pub(crate) struct Wakes {
    client: WakeClient,
    slots: Semaphore,
    /// `host:port` that nodes dial.
    advertise: String,
    epoch: Epoch,
    lifetimes: Lifetimes,
    /// How long a woken node may take to dial back.
    deadline: Duration,
    nodes: Arc<NodeList>,
    prepare: Arc<PreparePhase>,
    metrics: Arc<Metrics>,
}

impl Wakes {
    pub(super) fn new(
        settings: &Settings,
        nodes: &Arc<NodeList>,
        prepare: &Arc<PreparePhase>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let deadline = settings.timing.wake_deadline;
        Self {
            client: WakeClient::new(deadline, settings.secret.clone()),
            slots: Semaphore::new(PARALLEL_WAKES),
            advertise: settings.advertise.clone(),
            epoch: settings.epoch.clone(),
            lifetimes: settings.lifetimes,
            deadline,
            nodes: nodes.clone(),
            prepare: prepare.clone(),
            metrics: metrics.clone(),
        }
    }

    /// Wakes every node that may hold something, to hear what it is: all but those that are known
    /// to have no pod.
    pub(crate) fn wake_all(self: &Arc<Self>) {
        for (index, node) in self.nodes.all().iter().enumerate() {
            if !self.prepare.is_absent(&node.name) {
                self.want(index, node);
            }
        }
    }

    /// Wakes a node, unless one is on its way to be a member: without members it is not known which
    /// run leads.
    pub(super) fn wake_somebody(self: &Arc<Self>) {
        let (nodes, now) = (self.nodes.all(), clock::now());
        let is_coming = |node: &Arc<NodeEntry>| {
            let lifecycle = &node.state().lifecycle;
            lifecycle.state() == NodeState::Waking || lifecycle.is_fresh(now)
        };
        if !nodes.iter().any(is_coming) {
            let mut nodes = nodes.iter().enumerate();
            let _ = nodes.find(|(index, node)| self.want(*index, node));
        }
    }

    /// Wakes a node whose wakes have failed, while there is anything to be lost: a write shall not
    /// be the one to find out whether it works again.
    pub(super) fn try_again(self: &Arc<Self>, index: usize, node: &NodeEntry) {
        let is_failing = node.state().lifecycle.state() == NodeState::Lost;
        if is_failing {
            self.want(index, node);
        }
    }

    /// Wakes a node that is in the pool, if its lifecycle agrees; whether it is woken.
    fn want(self: &Arc<Self>, index: usize, node: &NodeEntry) -> bool {
        let action = {
            let mut state = node.state();
            let is_listed = state.listed;
            let wanted = is_listed.then(|| state.lifecycle.wanted(clock::now()));
            wanted.flatten()
        };
        if let Some(action) = action {
            self.follow(index, action);
        }
        action.is_some()
    }

    /// Wakes a node if its lifecycle decided on that.
    pub(super) fn follow(self: &Arc<Self>, index: usize, action: LifecycleAction) {
        match action {
            LifecycleAction::Wake => self.wake(index, WakePurpose::NewSession),
            LifecycleAction::KeepAwake => self.wake(index, WakePurpose::KeepAwake),
            LifecycleAction::Resume => self.wake(index, WakePurpose::Resume),
            LifecycleAction::NeverDialled => self.never_dialled(index),
            _ => {}
        }
    }

    /// Wakes a node, in the background.
    fn wake(self: &Arc<Self>, index: usize, purpose: WakePurpose) {
        let member = match purpose {
            WakePurpose::NewSession => None,
            WakePurpose::KeepAwake | WakePurpose::Resume => {
                let node = self.nodes.at(index);
                let state = node.state();
                state.lifecycle.current().map(|it| it.instance)
            }
        };
        let attempt = WakeAttempt {
            wakes: self.clone(),
            index,
            purpose,
            member,
        };
        task::spawn(attempt.run());
    }

    /// A node accepted a wake, and no instance dialled.
    fn never_dialled(&self, index: usize) {
        self.metrics.wake_failed(WakeFailure::NeverDialled);
        warn!(node = %self.nodes.name(index), "woken node did not dial back");
    }
}

/// One wake of one node.
struct WakeAttempt {
    wakes: Arc<Wakes>,
    index: usize,
    purpose: WakePurpose,
    /// Who is to answer, if it is anybody in particular.
    member: Option<InstanceId>,
}

impl WakeAttempt {
    async fn run(self) {
        let started = clock::now();
        let woken = self.post(started).await;
        let metrics = &self.wakes.metrics;
        metrics.wake_answered(clock::now() - started);
        let checked = match woken {
            Ok(Woken::Answered(answer)) => self.check(&answer),
            Ok(Woken::Held(held)) => return self.follow(held).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    async fn post(&self, started: Instant) -> Result<Woken, WakeError> {
        let wakes = &self.wakes;
        let node = wakes.nodes.at(self.index);
        let until = started
            + wakes
                .deadline
                .saturating_sub(MARGIN)
                .max(wakes.deadline / 2);
        let slot = time::timeout_at(until.into(), wakes.slots.acquire()).await;
        let _slot = slot
            .map_err(|_| WakeError::TimedOut)?
            .expect("never closed");
        let (session, url) = {
            let mut state = node.state();
            if !state.listed {
                return Err(WakeError::Unlisted);
            }
            if self.purpose == WakePurpose::NewSession {
                state.wake_sessions.begin(random_session);
            }
            (state.wake_sessions.last().to_owned(), state.url.clone())
        };
        let wake = Wake {
            version: PROTOCOL_VERSION,
            node: node.name.to_string(),
            proxy: wakes.advertise.clone(),
            session,
            epoch: wakes.epoch.get(),
            lifetimes: wakes.lifetimes,
            proof: String::new(),
        };
        wakes.client.wake(&url, wake, until).await
    }

    /// Whether the one answered that was meant, or one that is the member by now.
    fn check(&self, answer: &WakeAnswer) -> Result<(), WakeError> {
        let found = answer.instance;
        let Some(member) = self.member.filter(|&member| member != found) else {
            return Ok(());
        };
        let node = self.node();
        let state = node.state();
        let now = state.lifecycle.current();
        if now.is_some_and(|it| it.instance == found) {
            Ok(())
        } else {
            Err(WakeError::OtherInstance { member, found })
        }
    }

    /// Looks at the body of a response that stays open until the session is over.
    async fn follow(self, mut held: HeldWake) {
        self.node().state().lifecycle.held_open();
        self.succeeded();
        match held.answer().await.and_then(|answer| self.check(&answer)) {
            Ok(()) => {
                let ended = held.ended().await.map(|ended| ended.ended);
                debug!(node = %self.name(), ended, "wake held open has ended");
            }
            Err(error) => self.failed(&error),
        }
        let node = self.node();
        node.state().lifecycle.let_go(clock::now());
        node.tell();
    }

    fn succeeded(&self) {
        self.wakes.metrics.wake(self.purpose.as_str());
        if self.purpose != WakePurpose::NewSession {
            self.node().state().lifecycle.renewed();
        }
    }

    fn failed(&self, error: &WakeError) {
        let (failure, now) = (error.failure(), clock::now());
        match error {
            WakeError::Fenced(epoch) => {
                self.wakes.prepare.raise_epoch(*epoch);
            }
            WakeError::OtherLeader(epoch) => self.wakes.prepare.other_leader(*epoch),
            _ => {}
        }
        let node = self.node();
        let (matters, ready, action) = {
            let state = &mut *node.state();
            let lifecycle = &mut state.lifecycle;
            let (matters, action) = match self.purpose {
                WakePurpose::NewSession => (lifecycle.wake_failed(failure, now), None),
                WakePurpose::KeepAwake | WakePurpose::Resume => {
                    (true, lifecycle.renewal_failed(failure, now))
                }
            };
            (matters, state.ready, action)
        };
        if matches!(error, WakeError::Unlisted) {
            debug!(node = %self.name(), "a name that is gone is not woken");
            return node.tell();
        }
        if !matters {
            debug!(node = %self.name(), %error, "wake of a node that has dialled meanwhile failed");
            return;
        }
        self.wakes.metrics.wake_failed(failure);
        let (name, error, purpose) = (self.name(), chain(error), self.purpose);
        if ready {
            warn!(node = %name, error, ?purpose, "node cannot be woken");
        } else {
            debug!(node = %name, error, ?purpose, "node cannot be woken, as its platform says");
        }
        if let Some(action) = action {
            self.wakes.follow(self.index, action);
        }
        node.tell();
    }

    fn name(&self) -> Arc<str> {
        self.wakes.nodes.name(self.index)
    }

    fn node(&self) -> Arc<NodeEntry> {
        self.wakes.nodes.at(self.index)
    }
}

fn random_session() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).expect("the system has randomness");
    format!("{:032x}", u128::from_le_bytes(bytes))
}

//! Wake attempts, from the lifecycle that wants one to their result.
//!
//! A wake is under way once for each node, and for a bounded number of nodes at
//! once. Waiting for its turn is part of its time. No request that needs a node waits
//! here: they wait for the node to dial, each until a deadline of its own.

use std::{sync::Arc, time::Instant};

use infinicache_daemon::chain;
use infinicache_host::{clock, random, task};
use infinicache_wire::{
    InstanceId, PROTOCOL_VERSION, control::WakeFailure, wake::Wake, wake_answer::WakeAnswer,
};
use tokio::time;
use tracing::{debug, warn};

use super::{
    Nodes, TICK,
    node_list::NodeEntry,
    wake::{HeldWake, WakeError, Woken},
};

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

/// One wake of one node.
struct WakeAttempt {
    nodes: Nodes,
    index: usize,
    purpose: WakePurpose,
    /// Who is to answer, if it is anybody in particular.
    member: Option<InstanceId>,
}

impl Nodes {
    /// Wakes a node, in the background.
    pub(super) fn wake(&self, index: usize, purpose: WakePurpose) {
        let member = match purpose {
            WakePurpose::NewSession => None,
            WakePurpose::KeepAwake | WakePurpose::Resume => {
                let node = self.0.nodes.at(index);
                let state = node.state();
                state.lifecycle.current().map(|it| it.instance)
            }
        };
        let replacing = WakeAttempt {
            nodes: self.clone(),
            index,
            purpose,
            member,
        };
        task::spawn(replacing.run());
    }

    /// A node accepted a wake, and no instance dialled.
    pub(super) fn never_dialled(&self, index: usize) {
        self.0.metrics.wake_failed(WakeFailure::NeverDialled);
        warn!(node = %self.name(index), "woken node did not dial back");
    }
}

impl WakeAttempt {
    async fn run(self) {
        let started = clock::now();
        let woken = self.post(started).await;
        let metrics = &self.nodes.0.metrics;
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
        let inner = &self.nodes.0;
        let node = inner.nodes.at(self.index);
        // A little less than the life waits for the node to dial, so that it is known
        // why it did not.
        let deadline = inner.settings.timing.wake_deadline;
        let until = started + deadline.saturating_sub(TICK).max(deadline / 2);
        let slot = time::timeout_at(until.into(), inner.wakes.acquire()).await;
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
            proxy: inner.settings.advertise.clone(),
            session,
            epoch: inner.settings.epoch.get(),
            lifetimes: inner.settings.lifetimes,
            proof: String::new(),
        };
        inner.waker.wake(&url, wake, until).await
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
        self.nodes.0.metrics.wake(self.purpose.as_str());
        if self.purpose != WakePurpose::NewSession {
            self.node().state().lifecycle.renewed();
        }
    }

    fn failed(&self, error: &WakeError) {
        let (failure, now) = (error.failure(), clock::now());
        match error {
            WakeError::Fenced(epoch) if !self.nodes.raise_epoch(*epoch) => self.nodes.fenced(),
            WakeError::OtherLeader(epoch) => self.nodes.other_leader(*epoch),
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
        self.nodes.0.metrics.wake_failed(failure);
        let (name, error, purpose) = (self.name(), chain(error), self.purpose);
        if ready {
            warn!(node = %name, error, ?purpose, "node cannot be woken");
        } else {
            debug!(node = %name, error, ?purpose, "node cannot be woken, as its platform says");
        }
        if let Some(action) = action {
            self.nodes.act(self.index, action);
        }
        node.tell();
    }

    fn name(&self) -> Arc<str> {
        self.nodes.name(self.index)
    }

    fn node(&self) -> Arc<NodeEntry> {
        self.nodes.0.nodes.at(self.index)
    }
}

fn random_session() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes).expect("the system has randomness");
    format!("{:032x}", u128::from_le_bytes(bytes))
}

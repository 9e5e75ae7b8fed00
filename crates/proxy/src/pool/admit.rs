//! Admission: which instances may join, and what their coming and going changes.

use std::sync::Arc;

use infinicache_engine::{Mux, NodeLink};
use infinicache_host::{clock, fail_point, task};
use infinicache_membership::Epoch;
use infinicache_wire::{
    ByeReason, PROTOCOL_VERSION, Reply, Request, Secret,
    handshake::{Hello, Welcome, is_compatible},
    view::PromiseInfo,
};
use tracing::{debug, info, warn};

use super::{
    actions::Actions, lifecycle::LifecycleAction, member::Member, members::Members,
    membership::Membership, node_list::NodeList, observe::PlatformObserver,
    prepare_phase::PreparePhase,
};
use crate::{metrics::Metrics, pool_clock::PoolClock};

/// Why an instance is not admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    #[error("node speaks protocol {0}, this is {PROTOCOL_VERSION}")]
    Protocol(u16),
    #[error("there is no node {0:?} in the pool")]
    Unknown(String),
    #[error("node {0} answers no wake of this proxy, or without proof of the secret")]
    Unproven(String),
    #[error("node {0} has another instance by now")]
    Replaced(String),
    #[error("node {node} follows a later run of the proxy, {epoch}")]
    Superseded { node: String, epoch: u64 },
}

/// An instance that may come in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) member: Arc<Member>,
    kind: AdmissionKind,
    /// What it is answered.
    pub(crate) welcome: Welcome,
}

/// What an instance is that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AdmissionKind {
    /// It was no member before.
    New,
    /// It is a member.
    Known,
    /// It has been replaced, and may hold what a run before this one has left.
    Replaced,
}

/// What admits instances, and follows their links.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(super) secret: Secret,
    pub(super) epoch: Epoch,
    pub(super) clock: PoolClock,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) prepare: Arc<PreparePhase>,
    pub(super) actions: Arc<Actions>,
    pub(super) observer: Arc<PlatformObserver>,
    pub(super) metrics: Arc<Metrics>,
}

impl Admission {
    /// Checks a hello and makes its instance a member, or finds that it is one.
    fn admit_member(&self, hello: &Hello) -> Result<(Arc<Member>, AdmissionKind), AdmissionError> {
        if !is_compatible(hello.protocol) {
            return Err(AdmissionError::Protocol(hello.protocol));
        }
        let unknown = || AdmissionError::Unknown(hello.node.clone());
        let index = self.nodes.find(&hello.node).ok_or_else(unknown)?;
        let node = self.nodes.at(index);
        let mut state = node.state();
        let same = state
            .lifecycle
            .current()
            .filter(|it| it.instance == hello.instance)
            .map(|it| it.id);
        // A member of a name that is gone comes back to be emptied; no other instance of it may.
        if same.is_none() && !state.listed {
            return Err(unknown());
        }
        if !hello.is_genuine(&self.secret) {
            return Err(AdmissionError::Unproven(hello.node.clone()));
        }
        // Names are not locks: an instance of an older session that has been replaced stays out.
        let is_known = match same {
            Some(_) => state
                .wake_sessions
                .admits_again(&hello.session, hello.instance),
            None => state.wake_sessions.admits(&hello.session, hello.instance),
        };
        let is_succeeded = !is_known && same.is_none() && state.lifecycle.current().is_some();
        if !(is_known || is_succeeded) {
            return Err(AdmissionError::Unproven(hello.node.clone()));
        }
        // But no wake of a new run reaches it, and all that it holds would be lost if the platform
        // has replaced all nodes together with the proxy.
        if is_succeeded && !self.prepare.is_recovering() {
            return Err(AdmissionError::Replaced(hello.node.clone()));
        }
        self.check_epoch(hello)?;
        if let Some(member) = same.and_then(|id| self.members.get(id)) {
            return Ok((member, AdmissionKind::Known));
        }
        let id = self.members.next_id();
        let member = Arc::new(Member::new(id, index, hello));
        if is_succeeded {
            return Ok((member, AdmissionKind::Replaced));
        }
        state.capacity = hello.capacity;
        Ok((member, AdmissionKind::New))
    }

    /// A run that has decided nothing yet goes on as one later than any it hears of; any
    /// other has been replaced.
    fn check_epoch(&self, hello: &Hello) -> Result<(), AdmissionError> {
        // The same is what this run has told it before.
        if hello.epoch <= self.epoch.get() || self.prepare.raise_epoch(hello.epoch) {
            return Ok(());
        }
        self.metrics.membership().fenced();
        Err(AdmissionError::Superseded {
            node: hello.node.clone(),
            epoch: hello.epoch,
        })
    }

    /// Admits an instance that said hello; what to answer it.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<Admitted, AdmissionError> {
        let (member, kind) = self.admit_member(hello)?;
        // Before it is known which chunks count, no member drops anything.
        let fresh = kind == AdmissionKind::New && !self.prepare.is_recovering();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            member: member.id,
            epoch: self.epoch.get(),
            fresh,
            proof: String::new(),
        };
        Ok(Admitted {
            member,
            kind,
            welcome: welcome.signed(&self.secret, hello),
        })
    }

    /// A member has been welcomed and is linked from now on.
    pub(super) fn linked(self: &Arc<Self>, admitted: &Admitted, hello: &Hello, mux: &Mux) {
        let Admitted {
            member,
            kind,
            welcome,
        } = admitted;
        let replaced = member.set_link(mux.link(member.id));
        if let Some(replaced) = replaced {
            replaced.mux().close();
        }
        self.members.insert(member);
        let node = self.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, instance = %member.instance, ?kind, "node joined");
        self.metrics.node_joined();
        let action = match kind {
            AdmissionKind::Replaced => Some(LifecycleAction::Evacuate(member.id)),
            AdmissionKind::New | AdmissionKind::Known => {
                let lifecycle = &mut node.state().lifecycle;
                lifecycle.joined(member.instance, member.id, clock::now())
            }
        };
        if let Some(action) = action {
            self.actions.act(member.node, action);
        }
        match kind {
            _ if self.prepare.is_recovering() => self.read_state(member, hello),
            AdmissionKind::New if welcome.fresh => self.join_once_empty(member),
            // It may hold anything: what was under way when its link broke may or may not have
            // reached it, and it may have come before this run knew what there is.
            AdmissionKind::New | AdmissionKind::Known => self.membership.returned(member),
            // Too late to be believed.
            AdmissionKind::Replaced => self
                .actions
                .act(member.node, LifecycleAction::Lost(member.id)),
        }
        node.tell();
        self.observer.see_member(member);
    }

    /// Lets the chunks of a new member count once it answers: by then it has dropped all that it
    /// held, perhaps as a member that was taken for gone.
    fn join_once_empty(&self, member: &Arc<Member>) {
        let Some(link) = member.link() else { return };
        if fail_point("emptied_before_joining") {
            return self.membership.join(member);
        }
        let (pings, membership) = (self.actions.pings.clone(), self.membership.clone());
        let member = member.clone();
        task::spawn(async move {
            if pings.exchange(&member, &link).await {
                membership.join(&member);
            } else {
                // It is reconciled when it has another link.
                link.mux().close();
            }
        });
    }

    /// Asks a member what it remembers of the runs before this one.
    fn read_state(self: &Arc<Self>, member: &Arc<Member>, hello: &Hello) {
        let Some(link) = member.link() else { return };
        let (admission, member, node) = (self.clone(), member.clone(), hello.node.clone());
        let epoch = self.epoch.get();
        task::spawn(async move {
            let promise = match link.call(Request::ReadState).await {
                Reply::Done { bytes, .. } => PromiseInfo::from_bytes(&bytes),
                reply => {
                    // It dials again when its link has ended.
                    debug!(node, ?reply, "node remembers nothing");
                    return link.mux().close();
                }
            };
            let promise = match promise {
                Ok(promise) => promise,
                Err(error) => return warn!(node, %error, "unreadable promise"),
            };
            admission.clock.not_before(promise.told_ms);
            let is_late = admission.prepare.heard(&node, &member, promise, epoch);
            if is_late {
                admission.membership.returned(&member);
            } else {
                admission.membership.announce();
            }
        });
    }

    /// A member's link has ended.
    pub(super) fn unlinked(&self, member: &Arc<Member>) {
        if !member.drop_ended_link() {
            return;
        }
        let node = self.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, "node's link ended");
        let (action, is_current) = {
            let mut state = node.state();
            let action = state.lifecycle.unlinked(member.id, clock::now());
            (
                action,
                state
                    .lifecycle
                    .current()
                    .is_some_and(|it| it.id == member.id),
            )
        };
        match action {
            Some(action) => self.actions.act(member.node, action),
            None if !is_current => self
                .actions
                .act(member.node, LifecycleAction::Lost(member.id)),
            None => {}
        }
        node.tell();
    }

    /// A member says goodbye.
    pub(super) fn goodbye(&self, member: &Arc<Member>, reason: &ByeReason) {
        self.actions.departures.goodbye(member, reason);
    }
}

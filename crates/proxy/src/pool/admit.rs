//! Admission: which instances may join, and what their coming and going changes.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use infinicache_engine::{Mux, NodeLink};
use infinicache_host::{clock, fail_point, task};
use infinicache_membership::prepare::Prepare;
use infinicache_wire::{
    MemberId, PROTOCOL_VERSION, Reply, Request,
    handshake::{Hello, Welcome, is_compatible},
    view::PromiseInfo,
};
use tracing::{debug, info, warn};

use super::{Nodes, lifecycle::LifecycleAction, member::Member};

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

impl Nodes {
    /// Checks a hello and makes its instance a member, or finds that it is one.
    fn admit_member(&self, hello: &Hello) -> Result<(Arc<Member>, AdmissionKind), AdmissionError> {
        if !is_compatible(hello.protocol) {
            return Err(AdmissionError::Protocol(hello.protocol));
        }
        let unknown = || AdmissionError::Unknown(hello.node.clone());
        let index = self.0.nodes.find(&hello.node).ok_or_else(unknown)?;
        let node = self.0.nodes.at(index);
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
        if !hello.is_genuine(&self.0.settings.secret) {
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
        if is_succeeded && !self.is_recovering() {
            return Err(AdmissionError::Replaced(hello.node.clone()));
        }
        self.check_epoch(hello)?;
        if let Some(member) = same.and_then(|id| self.member(id)) {
            return Ok((member, AdmissionKind::Known));
        }
        let id = MemberId(self.0.last_member.fetch_add(1, Relaxed) + 1);
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
        let epoch = &self.0.settings.epoch;
        // The same is what this run has told it before.
        if hello.epoch <= epoch.get() {
            return Ok(());
        }
        if self.raise_epoch(hello.epoch) {
            return Ok(());
        }
        self.0.metrics.membership().fenced();
        self.fenced();
        Err(AdmissionError::Superseded {
            node: hello.node.clone(),
            epoch: hello.epoch,
        })
    }

    /// This run is to be later than one that was heard of, if it has decided nothing yet;
    /// whether it is.
    pub(super) fn raise_epoch(&self, heard: u64) -> bool {
        let epoch = &self.0.settings.epoch;
        let is_raised = {
            let prepare = self.prepare();
            if prepare.as_ref().is_none_or(Prepare::is_closed) {
                return false;
            }
            let is_raised = epoch.raise_above(heard);
            if is_raised {
                self.reset_view();
            }
            is_raised
        };
        if is_raised {
            warn!(
                epoch = epoch.get(),
                "epoch raised above one that was heard of"
            );
            // An instance that follows an epoch which is not the highest dials again, and learns
            // the new one.
            self.restart_prepare();
        }
        true
    }

    /// Nothing of what was heard is put in question any more; whether that is so, because this
    /// run goes by `epoch` still.
    pub(crate) fn close_prepare(&self, epoch: u64) -> bool {
        let mut prepare = self.prepare();
        let is_current = self.0.settings.epoch.get() == epoch;
        if is_current && let Some(prepare) = prepare.as_mut() {
            prepare.close();
        }
        is_current
    }

    /// Admits an instance that said hello; what to answer it.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<Admitted, AdmissionError> {
        let (member, kind) = self.admit_member(hello)?;
        // Before it is known which chunks count, no member drops anything.
        let fresh = kind == AdmissionKind::New && !self.is_recovering();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            member: member.id,
            epoch: self.0.settings.epoch.get(),
            fresh,
            proof: String::new(),
        };
        Ok(Admitted {
            member,
            kind,
            welcome: welcome.signed(&self.0.settings.secret, hello),
        })
    }

    /// A member has been welcomed and is linked from now on.
    pub(super) fn linked(&self, admitted: &Admitted, hello: &Hello, mux: &Mux) {
        let Admitted {
            member,
            kind,
            welcome,
        } = admitted;
        let replaced = member.set_link(mux.link(member.id));
        if let Some(replaced) = replaced {
            replaced.mux().close();
        }
        self.0.members.insert(member.id, member.clone());
        let node = self.0.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, instance = %member.instance, ?kind, "node joined");
        self.0.metrics.node_joined();
        let action = match kind {
            AdmissionKind::Replaced => Some(LifecycleAction::Evacuate(member.id)),
            AdmissionKind::New | AdmissionKind::Known => {
                let lifecycle = &mut node.state().lifecycle;
                lifecycle.joined(member.instance, member.id, clock::now())
            }
        };
        if let Some(action) = action {
            self.act(member.node, action);
        }
        match kind {
            _ if self.is_recovering() => self.read_state(member, hello),
            AdmissionKind::New if welcome.fresh => self.join_once_empty(member),
            // It may hold anything: what was under way when its link broke may or may not have
            // reached it, and it may have come before this run knew what there is.
            AdmissionKind::New | AdmissionKind::Known => self.returned(member),
            // Too late to be believed.
            AdmissionKind::Replaced => self.act(member.node, LifecycleAction::Lost(member.id)),
        }
        node.tell();
        self.see_member(member);
    }

    /// Lets the chunks of a new member count once it answers: by then it has dropped all that it
    /// held, perhaps as a member that was taken for gone.
    fn join_once_empty(&self, member: &Arc<Member>) {
        let Some(link) = member.link() else { return };
        let (nodes, member) = (self.clone(), member.clone());
        if fail_point("emptied_before_joining") {
            return self.join(&member);
        }
        task::spawn(async move {
            match nodes.exchange(&member, &link).await {
                true => nodes.join(&member),
                // It is reconciled when it has another link.
                false => link.mux().close(),
            }
        });
    }

    /// Asks a member what it remembers of the runs before this one.
    fn read_state(&self, member: &Arc<Member>, hello: &Hello) {
        let Some(link) = member.link() else { return };
        let (nodes, member, node) = (self.clone(), member.clone(), hello.node.clone());
        let epoch = self.0.settings.epoch.get();
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
            nodes.clock().not_before(promise.told_ms);
            let is_late = {
                let mut prepare = nodes.prepare();
                // Under an epoch that was too low it may have followed another run since.
                if let Some(prepare) = prepare.as_mut()
                    && nodes.0.settings.epoch.get() == epoch
                {
                    let (pod, now) = (&member.pod, clock::now());
                    prepare.heard(&node, pod, member.instance, promise, now);
                }
                prepare.is_none()
            };
            match is_late {
                true => nodes.returned(&member),
                false => nodes.view_changed(),
            }
        });
    }

    /// A member's link has ended.
    pub(super) fn unlinked(&self, member: &Arc<Member>) {
        if !member.drop_ended_link() {
            return;
        }
        let node = self.0.nodes.at(member.node);
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
            Some(action) => self.act(member.node, action),
            None if !is_current => self.act(member.node, LifecycleAction::Lost(member.id)),
            None => {}
        }
        node.tell();
    }

    /// A member is about to go.
    pub(super) fn start_draining(&self, member: &Arc<Member>, reason: &str) {
        let node = self.0.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, reason, "node is draining");
        if let Some(it) = node.state().lifecycle.current_if(member.id) {
            it.start_draining();
        }
        node.tell();
        self.evacuate_member(member.id);
    }
}

//! Who may come in, and what their coming and going changes.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use infinicache_client::{Mux, NodeLink};
use infinicache_host::{clock, fail_point, task};
use infinicache_membership::census::Census;
use infinicache_wire::{
    MemberId, PROTOCOL_VERSION, Reply, Request,
    handshake::{Hello, Welcome, is_compatible},
    roster::Testimony,
};
use tracing::{debug, info, warn};

use super::{Nodes, life::Action, member::Member};

/// Why an instance is not admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Inadmissible {
    #[error("node speaks protocol {0}, this is {PROTOCOL_VERSION}")]
    Protocol(u16),
    #[error("there is no node {0:?} in the pool")]
    Unknown(String),
    #[error("node {0} answers no wake of this proxy, or without proof of the secret")]
    Unproven(String),
    #[error("node {0} has another instance by now")]
    Succeeded(String),
    #[error("node {node} obeys a later run of the proxy, {epoch}")]
    Superseded { node: String, epoch: u64 },
}

/// An instance that may come in.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) member: Arc<Member>,
    standing: Standing,
    /// What it is answered.
    pub(crate) welcome: Welcome,
}

/// What an instance is that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was no member before.
    New,
    /// It is a member.
    Known,
    /// It has been succeeded, and may hold what a run before this one has left.
    Succeeded,
}

impl Nodes {
    /// Checks a hello and makes its instance a member, or finds that it is one.
    fn admit_member(&self, hello: &Hello) -> Result<(Arc<Member>, Standing), Inadmissible> {
        if !is_compatible(hello.protocol) {
            return Err(Inadmissible::Protocol(hello.protocol));
        }
        let unknown = || Inadmissible::Unknown(hello.node.clone());
        let index = self.0.nodes.find(&hello.node).ok_or_else(unknown)?;
        let node = self.0.nodes.at(index);
        let mut state = node.state();
        let same = state
            .life
            .member()
            .filter(|(_, instance)| *instance == hello.instance);
        // Who is a member of a name that is gone comes back to be emptied; nobody else comes.
        if same.is_none() && !state.listed {
            return Err(unknown());
        }
        if !hello.is_genuine(&self.0.settings.secret) {
            return Err(Inadmissible::Unproven(hello.node.clone()));
        }
        // Names are not locks: an instance of an older session that has been succeeded stays out.
        let is_known = match same {
            Some(_) => state
                .invitations
                .admits_again(&hello.session, hello.instance),
            None => state.invitations.admits(&hello.session, hello.instance),
        };
        let is_succeeded = !is_known && same.is_none() && state.life.member().is_some();
        if !(is_known || is_succeeded) {
            return Err(Inadmissible::Unproven(hello.node.clone()));
        }
        // But no wake of a new run reaches it, and all that it holds would be lost if the platform
        // has replaced all nodes together with the proxy.
        if is_succeeded && !self.is_recovering() {
            return Err(Inadmissible::Succeeded(hello.node.clone()));
        }
        self.outrank(hello)?;
        if let Some(member) = same.and_then(|(id, _)| self.member(id)) {
            return Ok((member, Standing::Known));
        }
        let id = MemberId(self.0.last_member.fetch_add(1, Relaxed) + 1);
        let member = Arc::new(Member::new(id, index, hello));
        if is_succeeded {
            return Ok((member, Standing::Succeeded));
        }
        state.capacity = hello.capacity;
        Ok((member, Standing::New))
    }

    /// A run that has decided nothing yet goes on as one later than any it hears of; any
    /// other has been succeeded.
    fn outrank(&self, hello: &Hello) -> Result<(), Inadmissible> {
        let epoch = &self.0.settings.epoch;
        // The same is what this run has told it before.
        if hello.epoch <= epoch.get() {
            return Ok(());
        }
        if self.exceed(hello.epoch) {
            return Ok(());
        }
        self.0.metrics.membership().superseded();
        self.superseded();
        Err(Inadmissible::Superseded {
            node: hello.node.clone(),
            epoch: hello.epoch,
        })
    }

    /// This run is to be later than one that was heard of, if it has decided nothing yet;
    /// whether it is.
    pub(super) fn exceed(&self, heard: u64) -> bool {
        let epoch = &self.0.settings.epoch;
        let is_raised = {
            let census = self.census();
            if census.as_ref().is_none_or(Census::is_closed) {
                return false;
            }
            let is_raised = epoch.exceed(heard);
            if is_raised {
                self.disown();
            }
            is_raised
        };
        if is_raised {
            warn!(
                epoch = epoch.get(),
                "epoch raised above one that was heard of"
            );
            // Who obeys an epoch that is not the highest dials again, and is told the new one.
            self.hear_anew();
        }
        true
    }

    /// Nothing of what was heard is put in question any more; whether that is so, because this
    /// run goes by `epoch` still.
    pub(crate) fn close_census(&self, epoch: u64) -> bool {
        let mut census = self.census();
        let is_current = self.0.settings.epoch.get() == epoch;
        if is_current && let Some(census) = census.as_mut() {
            census.close();
        }
        is_current
    }

    /// Admits an instance that said hello; what to answer it.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<Admitted, Inadmissible> {
        let (member, standing) = self.admit_member(hello)?;
        // Before it is known what counts, nobody drops anything.
        let fresh = standing == Standing::New && !self.is_recovering();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            member: member.id,
            epoch: self.0.settings.epoch.get(),
            fresh,
            proof: String::new(),
        };
        Ok(Admitted {
            member,
            standing,
            welcome: welcome.signed(&self.0.settings.secret, hello),
        })
    }

    /// A member has been welcomed and is linked from now on.
    pub(super) fn linked(&self, admitted: &Admitted, hello: &Hello, mux: &Mux) {
        let Admitted {
            member,
            standing,
            welcome,
        } = admitted;
        let replaced = member.set_link(mux.link(member.id));
        if let Some(replaced) = replaced {
            replaced.mux().close();
        }
        self.0.members.insert(member.id, member.clone());
        let node = self.0.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, instance = %member.instance, ?standing, "node joined");
        self.0.metrics.node_joined();
        let action = match standing {
            Standing::Succeeded => Some(Action::Vacate(member.id)),
            Standing::New | Standing::Known => {
                let life = &mut node.state().life;
                life.joined(member.instance, member.id, clock::now())
            }
        };
        if let Some(action) = action {
            self.act(member.node, action);
        }
        match standing {
            _ if self.is_recovering() => self.question(member, hello),
            Standing::New if welcome.fresh => self.enrol_once_empty(member),
            // It may hold anything: what was under way when its link broke may or may not have
            // reached it, and it may have come before this run knew what there is.
            Standing::New | Standing::Known => self.returned(member),
            // Too late to be believed.
            Standing::Succeeded => self.act(member.node, Action::Lost(member.id)),
        }
        node.tell();
        self.see_member(member);
    }

    /// Lets the chunks of a new member count once it answers: by then it has dropped all that it
    /// held, perhaps as a member that was taken for gone.
    fn enrol_once_empty(&self, member: &Arc<Member>) {
        let Some(link) = member.link() else { return };
        let (nodes, member) = (self.clone(), member.clone());
        if fail_point("emptied_first") {
            return self.enrol(&member);
        }
        task::spawn(async move {
            match nodes.exchange(&member, &link).await {
                true => nodes.enrol(&member),
                // It is reconciled when it has another link.
                false => link.mux().close(),
            }
        });
    }

    /// Asks a member what it remembers of the runs before this one.
    fn question(&self, member: &Arc<Member>, hello: &Hello) {
        let Some(link) = member.link() else { return };
        let (nodes, member, node) = (self.clone(), member.clone(), hello.node.clone());
        let epoch = self.0.settings.epoch.get();
        task::spawn(async move {
            let testimony = match link.call(Request::Recall).await {
                Reply::Done { bytes, .. } => Testimony::from_bytes(&bytes),
                reply => {
                    // It dials again when its link has ended.
                    debug!(node, ?reply, "node remembers nothing");
                    return link.mux().close();
                }
            };
            let testimony = match testimony {
                Ok(testimony) => testimony,
                Err(error) => return warn!(node, %error, "unreadable testimony"),
            };
            nodes.clock().not_before(testimony.told_ms);
            let is_late = {
                let mut census = nodes.census();
                // Under an epoch that was too low it may have obeyed somebody else since.
                if let Some(census) = census.as_mut()
                    && nodes.0.settings.epoch.get() == epoch
                {
                    let (pod, now) = (&member.pod, clock::now());
                    census.heard(&node, pod, member.instance, testimony, now);
                }
                census.is_none()
            };
            match is_late {
                true => nodes.returned(&member),
                false => nodes.roster_changed(),
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
            let action = state.life.unlinked(member.id, clock::now());
            (
                action,
                state.life.member().is_some_and(|(id, _)| id == member.id),
            )
        };
        match action {
            Some(action) => self.act(member.node, action),
            None if !is_current => self.act(member.node, Action::Lost(member.id)),
            None => {}
        }
        node.tell();
    }

    /// A member is about to go.
    pub(super) fn leaving(&self, member: &Arc<Member>, reason: &str) {
        let node = self.0.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, reason, "node is leaving");
        node.state().life.leaving(member.id);
        node.tell();
        self.vacate(member.id);
    }
}

//! Who may come in, and what their coming and going changes.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use infinicache_client::Mux;
use infinicache_wire::{
    ByeReason, MemberId, PROTOCOL_VERSION,
    handshake::{Hello, Welcome, is_compatible},
};
use tracing::info;

use super::{Node, Nodes, life::Action, member::Member};

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

impl Nodes {
    /// Checks a hello and makes its instance a member, or finds that it is one.
    fn admit_member(&self, hello: &Hello) -> Result<(Arc<Member>, bool), Inadmissible> {
        if !is_compatible(hello.protocol) {
            return Err(Inadmissible::Protocol(hello.protocol));
        }
        let by_name = |node: &Node| node.address.name == hello.node;
        let index = self.0.nodes.iter().position(by_name);
        let index = index.ok_or_else(|| Inadmissible::Unknown(hello.node.clone()))?;
        let mut state = self.0.nodes[index].state();
        let same = state
            .life
            .member()
            .filter(|(_, instance)| *instance == hello.instance);
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
    pub(super) fn linked(&self, member: &Arc<Member>, mux: &Mux) {
        let replaced = member.set_link(mux.link(member.id));
        if let Some(replaced) = replaced {
            replaced.mux().close();
        }
        self.0.members.insert(member.id, member.clone());
        let node = &self.0.nodes[member.node];
        let action = node
            .state()
            .life
            .joined(member.instance, member.id, Instant::now());
        info!(node = node.address.name, member = %member.id, instance = %member.instance, "node joined");
        self.0.metrics.node_joined();
        if let Some(action) = action {
            self.act(member.node, action);
        }
        node.tell();
    }

    /// A member's link has ended.
    pub(super) fn unlinked(&self, member: &Arc<Member>) {
        if !member.drop_ended_link() {
            return;
        }
        let node = &self.0.nodes[member.node];
        info!(node = node.address.name, member = %member.id, "node's link ended");
        let (action, is_current) = {
            let mut state = node.state();
            let action = state.life.unlinked(member.id, Instant::now());
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

    /// A member says that it is about to go.
    pub(super) fn leaving(&self, member: &Arc<Member>, reason: &ByeReason) {
        let node = &self.0.nodes[member.node];
        info!(node = node.address.name, member = %member.id, reason = reason.as_str(), "node is leaving");
        node.state().life.leaving(member.id);
        node.tell();
        self.vacate(member.id);
    }
}

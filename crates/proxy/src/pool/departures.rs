//! Members that go: told to, of their own accord, or lost.

use std::{sync::Arc, time::Duration};

use infinicache_engine::LatencyTracker;
use infinicache_host::clock;
use infinicache_wire::{ByeReason, MemberId};
use tracing::{debug, info, warn};

use super::{
    events::{PoolEvent, PoolEvents},
    member::Member,
    members::Members,
    membership::Membership,
    node_list::NodeList,
};
use crate::metrics::Metrics;

/// What lets members go.
#[derive(Debug)]
pub(crate) struct Departures {
    /// Who was suspected within this time was not let go.
    pub(super) silence: Duration,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) events: Arc<PoolEvents>,
    pub(super) latencies: Arc<LatencyTracker>,
    pub(super) metrics: Arc<Metrics>,
}

impl Departures {
    /// A member is gone, with all that it held.
    pub(super) fn lose(&self, id: MemberId) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        let (node, chunks) = (self.nodes.name(member.node), member.memory.chunks());
        // One that said goodbye, or counts no longer, was let go; one that is silent was not.
        let is_silent = member.was_suspected_within(clock::now(), self.silence);
        let was_let_go = member.has_left() || !self.membership.may_be_member(id);
        let is_planned = chunks == 0 && was_let_go && !is_silent;
        self.metrics.node_gone(is_planned);
        if is_planned {
            info!(%node, member = %id, "member left");
        } else {
            warn!(%node, member = %id, chunks, "member lost");
        }
        member.cut();
        self.latencies.forget(id);
        self.membership.remove_lost(&member);
        self.events.tell(PoolEvent::Lost, &member);
    }

    /// What a member holds is to be moved away.
    pub(super) fn evacuate(&self, id: MemberId) {
        if let Some(member) = self.members.get(id) {
            member.drain();
            self.events.tell(PoolEvent::Draining, &member);
        }
    }

    /// A member is about to go.
    pub(super) fn start_draining(&self, member: &Arc<Member>, reason: &str) {
        let node = self.nodes.at(member.node);
        info!(node = %node.name, member = %member.id, reason, "node is draining");
        if let Some(it) = node.state().lifecycle.current_if(member.id) {
            it.start_draining();
        }
        node.tell();
        self.evacuate(member.id);
    }

    /// A member is one too many, and is to be emptied; or it is needed after all.
    pub(crate) fn set_surplus(&self, id: MemberId, surplus: bool) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        member.set_surplus(surplus);
        if surplus {
            self.events.tell(PoolEvent::Draining, &member);
        }
    }

    /// A member says goodbye.
    pub(super) fn goodbye(&self, member: &Arc<Member>, reason: &ByeReason) {
        self.metrics.goodbye(reason);
        let node = self.nodes.at(member.node);
        match reason {
            ByeReason::SessionOver => {
                debug!(node = %node.name, member = %member.id, "session over");
                node.state().lifecycle.rests(member.id);
            }
            // Whatever the reason, a member that says goodbye is better not relied on.
            ByeReason::Terminated | ByeReason::Other(_) => {
                if let Some(it) = node.state().lifecycle.current_if(member.id) {
                    it.says_bye();
                }
                member.leave();
                self.start_draining(member, reason.as_str());
            }
        }
    }
}

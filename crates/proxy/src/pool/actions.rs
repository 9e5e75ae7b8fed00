//! The actions that a lifecycle decided on are done.

use std::sync::Arc;

use infinicache_host::clock;
use infinicache_wire::{ByeReason, MemberId};
use tracing::{debug, info, warn};

use super::{
    Nodes, PoolEvent, lifecycle::LifecycleAction, member::Member, wake_attempt::WakePurpose,
};

impl Nodes {
    pub(super) fn act(&self, index: usize, action: LifecycleAction) {
        match action {
            LifecycleAction::Wake => self.wake(index, WakePurpose::NewSession),
            LifecycleAction::KeepAwake => self.wake(index, WakePurpose::KeepAwake),
            LifecycleAction::Resume => self.wake(index, WakePurpose::Resume),
            LifecycleAction::Ping(member) => self.ping(index, member),
            LifecycleAction::Preflight(member, sent) => self.preflight(index, member, sent),
            LifecycleAction::NeverDialled => self.never_dialled(index),
            LifecycleAction::Suspect(member) => self.suspect(member),
            LifecycleAction::Lost(member) => self.lose(index, member),
            LifecycleAction::Evacuate(member) => self.evacuate_member(member),
        }
    }

    pub(super) fn lose(&self, index: usize, id: MemberId) {
        let Some((_, member)) = self.0.members.remove(&id) else {
            return;
        };
        let (node, chunks) = (self.name(index), member.memory.chunks());
        // One that said goodbye, or counts no longer, was let go; one that is silent was not.
        let silence = 2 * self.0.settings.timing.lost_after;
        let is_silent = member.was_suspected_within(clock::now(), silence);
        let was_let_go = member.has_left() || !self.may_be_member(id);
        let is_planned = chunks == 0 && was_let_go && !is_silent;
        self.0.metrics.node_gone(is_planned);
        if is_planned {
            info!(%node, member = %id, "member left");
        } else {
            warn!(%node, member = %id, chunks, "member lost");
        }
        member.cut();
        self.0.latencies.forget(id);
        self.remove_lost(&member);
        self.0.events.tell(PoolEvent::Lost, &member);
    }

    /// What a member holds is to be moved away.
    pub(super) fn evacuate_member(&self, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        member.drain();
        self.0.events.tell(PoolEvent::Draining, &member);
    }

    /// A member says goodbye.
    pub(super) fn goodbye(&self, member: &Arc<Member>, reason: &ByeReason) {
        self.0.metrics.goodbye(reason);
        match reason {
            ByeReason::SessionOver => {
                debug!(node = %self.name(member.node), member = %member.id, "session over");
                let node = self.0.nodes.at(member.node);
                node.state().lifecycle.rests(member.id);
            }
            // Whatever the reason, a member that says goodbye is better not relied on.
            ByeReason::Terminated | ByeReason::Other(_) => {
                let node = self.0.nodes.at(member.node);
                if let Some(it) = node.state().lifecycle.current_if(member.id) {
                    it.says_bye();
                }
                member.leave();
                self.start_draining(member, reason.as_str());
            }
        }
    }
}

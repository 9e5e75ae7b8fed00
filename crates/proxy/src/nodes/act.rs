//! What a node's life decided is done.

use std::sync::Arc;

use infinicache_host::clock;
use infinicache_wire::{ByeReason, MemberId};
use tracing::{debug, info, warn};

use super::{Event, Nodes, life::Action, member::Member, rouse::Purpose};

impl Nodes {
    pub(super) fn act(&self, index: usize, action: Action) {
        match action {
            Action::Wake => self.wake(index, Purpose::NewSession),
            Action::KeepAwake => self.wake(index, Purpose::KeepAwake),
            Action::Resume => self.wake(index, Purpose::Resume),
            Action::Ping(member) => self.ping(index, member),
            Action::Preflight(member, sent) => self.preflight(index, member, sent),
            Action::NeverDialled => self.never_dialled(index),
            Action::Suspect(member) => self.suspect(member),
            Action::Lost(member) => self.lose(index, member),
            Action::Vacate(member) => self.vacate(member),
        }
    }

    pub(super) fn lose(&self, index: usize, id: MemberId) {
        let Some((_, member)) = self.0.members.remove(&id) else {
            return;
        };
        let (node, chunks) = (self.name(index), member.chunks());
        // One that said goodbye, or counts no longer, was let go; one that is silent was not.
        let silence = 2 * self.0.settings.timing.lost_after;
        let is_silent = member.was_suspected_within(clock::now(), silence);
        let was_let_go = member.has_left() || !self.may_count(id);
        let is_planned = chunks == 0 && was_let_go && !is_silent;
        self.0.metrics.node_gone(is_planned);
        if is_planned {
            info!(%node, member = %id, "member left");
        } else {
            warn!(%node, member = %id, chunks, "member lost");
        }
        member.cut();
        self.0.health.forget(id);
        self.strike(&member);
        self.tell(Event::Lost(member));
    }

    /// What a member holds is to be moved away.
    pub(super) fn vacate(&self, id: MemberId) {
        let Some(member) = self.member(id) else {
            return;
        };
        member.drain();
        self.tell(Event::Leaving(member));
    }

    /// A member says goodbye.
    pub(super) fn goodbye(&self, member: &Arc<Member>, reason: &ByeReason) {
        self.0.metrics.goodbye(reason);
        match reason {
            ByeReason::SessionOver => {
                debug!(node = %self.name(member.node), member = %member.id, "session over");
                let node = self.0.nodes.at(member.node);
                node.state().life.rests(member.id);
            }
            // Whatever the reason, a member that says goodbye is better not relied on.
            ByeReason::Terminated | ByeReason::Other(_) => {
                let node = self.0.nodes.at(member.node);
                node.state().life.departs(member.id);
                member.leave();
                self.leaving(member, reason.as_str());
            }
        }
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody listens any more once the proxy stops.
        let _ = self.0.events.send(event);
    }
}

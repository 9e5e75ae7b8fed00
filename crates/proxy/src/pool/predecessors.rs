//! Members that have been replaced, and are still there.
//!
//! A platform may leave the process of an instance alone for long after another
//! has taken its name: Knative keeps the pods of a revision that is out of use
//! for as long as those that idle. Their answers count for the lease like those
//! of others, so they are asked for signs of life too; one that gives none is
//! suspected like any other. Once they hold nothing they count no longer, and are let go
//! when that is committed, or most of the members of a pool that was replaced would be
//! that are not needed.

use std::{sync::Arc, time::Instant};

use super::{
    departures::Departures, lifecycle::LifecycleTimings, members::Members, membership::Membership,
    node_list::NodeList, ping::Pings, prepare_phase::PreparePhase, suspicion::Suspicion,
};

/// What attends to members that have been replaced.
#[derive(Debug)]
pub(crate) struct Predecessors {
    pub(super) timing: LifecycleTimings,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) prepare: Arc<PreparePhase>,
    pub(super) pings: Arc<Pings>,
    pub(super) suspicion: Arc<Suspicion>,
    pub(super) departures: Arc<Departures>,
}

impl Predecessors {
    /// Asks those who have been replaced for signs of life, and lets go of those who hold
    /// nothing. To be called again and again; silence counts from `since` on.
    pub(super) fn attend(&self, since: Instant) {
        // Until it is known what they hold, no predecessor is let go.
        if self.prepare.is_recovering() {
            return;
        }
        let mut needless = Vec::new();
        for member in self.members.all() {
            let node = self.nodes.at(member.node);
            if node.state().lifecycle.current_if(member.id).is_some() {
                continue;
            }
            // One without a link is lost already.
            let Some(link) = member.link() else { continue };
            let silence = link.mux().heard().max(since).elapsed();
            let is_needless = member.memory.is_empty();
            let is_free = is_needless && !self.membership.may_be_member(member.id);
            if silence > self.timing.dead_after || is_free {
                self.departures.lose(member.id);
                continue;
            }
            if silence > self.timing.lost_after {
                self.suspicion.suspect(member.id);
            }
            // While it counts, it has a say in who does.
            if is_needless {
                needless.push(member.id);
            }
            self.pings.ping(member.node, member.id);
        }
        self.membership.remove_drained(&needless);
    }
}

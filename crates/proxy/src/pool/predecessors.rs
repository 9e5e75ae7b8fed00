//! Members that have been replaced, and are still there.
//!
//! A platform may leave the process of an instance alone for long after another
//! has taken its name: Knative keeps the pods of a revision that is out of use
//! for as long as those that idle. Their answers count for the lease like those
//! of others, so they are asked for signs of life too; one that gives none is
//! suspected like any other. Once they hold nothing they count no longer, and are let go
//! when that is committed, or most of the members of a pool that was replaced would be
//! that are not needed.

use std::time::Instant;

use super::{Nodes, lifecycle::LifecycleAction};

impl Nodes {
    /// Asks those who have been replaced for signs of life, and lets go of those who hold
    /// nothing. To be called again and again; silence counts from `since` on.
    pub(super) fn attend_predecessors(&self, since: Instant) {
        // Until it is known what they hold, no predecessor is let go.
        if self.is_recovering() {
            return;
        }
        let mut needless = Vec::new();
        for member in self.members() {
            let node = self.0.nodes.at(member.node);
            if node.state().lifecycle.current_if(member.id).is_some() {
                continue;
            }
            // One without a link is lost already.
            let Some(link) = member.link() else { continue };
            let timing = &self.0.settings.timing;
            let silence = link.mux().heard().max(since).elapsed();
            let is_needless = member.memory.is_empty();
            if silence > timing.dead_after || (is_needless && !self.may_be_member(member.id)) {
                self.act(member.node, LifecycleAction::Lost(member.id));
                continue;
            }
            if silence > timing.lost_after {
                self.suspect(member.id);
            }
            // While it counts, it has a say in who does.
            if is_needless {
                needless.push(member.id);
            }
            self.ping(member.node, member.id);
        }
        self.remove_drained(&needless);
    }
}

//! Members that are silent: which of them the pool can do without.
//!
//! Silence is what a dead process, a paused host and a broken network have in
//! common. So a suspected member is lost only if
//!
//! - this run leads: a majority of the members answers it, and no node a later one;
//! - every value that it holds a chunk of has enough chunks on members that are heard;
//!
//! or if the platform says that it is gone, or was about to be. Any other is waited
//! for: what it holds cannot be read meanwhile, but comes back with it.

use std::{collections::BTreeSet, sync::Arc};

use infinicache_host::clock;
use infinicache_wire::MemberId;
use tracing::{debug, info};

use super::{
    departures::Departures,
    events::{PoolEvent, PoolEvents},
    lease::AnswerLease,
    lifecycle::LifecycleTimings,
    member::Member,
    members::Members,
    node_list::NodeList,
    observed_state::ObservedPlatform,
};
use crate::metrics::Metrics;

/// What finds silent members, and loses those that can be done without.
#[derive(Debug)]
pub(crate) struct Suspicion {
    pub(super) timing: LifecycleTimings,
    pub(super) lease: Arc<AnswerLease>,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) platform: Arc<ObservedPlatform>,
    pub(super) departures: Arc<Departures>,
    pub(super) events: Arc<PoolEvents>,
    pub(super) metrics: Arc<Metrics>,
}

impl Suspicion {
    /// A member was not heard of for a while: it is looked at whether it is lost.
    pub(super) fn suspect(&self, id: MemberId) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        if !member.suspect(clock::now(), self.timing.lost_after) {
            return;
        }
        self.metrics.node_suspected();
        let is_listed = self.nodes.at(member.node).state().listed;
        let was_going = member.link().is_none() && (member.is_draining() || !is_listed);
        if was_going || self.platform.is_pod_gone(&member) {
            info!(node = %self.nodes.name(member.node), member = %id, "a silent member is gone, says its platform");
            return self.lose_in_silence(&member);
        }
        self.events.tell(PoolEvent::Suspected, &member);
    }

    /// Who was not heard of for so long that nothing should depend on it.
    pub(crate) fn silent(&self) -> BTreeSet<MemberId> {
        let now = clock::now();
        let silent_after = self.timing.silent_after();
        let is_silent = |member: &Arc<Member>| {
            let node = self.nodes.at(member.node);
            let mut state = node.state();
            let current = self.members.current_of(&mut state);
            if current.is_some_and(|current| current.id == member.id) {
                let heard = state.lifecycle.current().map(|it| it.heard);
                return heard.is_some_and(|heard| now >= heard + silent_after);
            }
            // One that was replaced.
            member.is_silent_for(silent_after, now)
        };
        let silent = self.members.all().into_iter().filter(is_silent);
        silent.map(|member| member.id).collect()
    }

    /// Loses a suspected member that values can do without, if this run leads.
    pub(crate) fn give_up_silent(&self, member: &Arc<Member>) {
        // Without a majority nothing is known of those that others may hear.
        if self.lease.may_answer() && !self.lease.is_fenced() {
            self.lose_in_silence(member);
        } else {
            debug!(member = %member.id, "a silent member is waited for");
        }
    }

    /// Loses a member, unless it was heard of meanwhile.
    fn lose_in_silence(&self, member: &Arc<Member>) {
        let now = clock::now();
        let node = self.nodes.at(member.node);
        let is_lost = {
            let mut state = node.state();
            match self.members.current_of(&mut state) {
                Some(current) if current.id == member.id => {
                    state.lifecycle.lost_in_silence(member.id, now)
                }
                // One that was replaced.
                _ => member.is_silent_for(self.timing.lost_after, now),
            }
        };
        if is_lost {
            self.departures.lose(member.id);
            node.tell();
        }
    }
}

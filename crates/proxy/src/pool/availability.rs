//! Which nodes can be used: to place chunks on, to be woken for that, to be asked now.

use std::{sync::Arc, time::Instant};

use infinicache_discovery::Site;
use infinicache_engine::{LatencyTracker, MuxLink};
use infinicache_host::clock;
use infinicache_wire::{
    MemberId,
    control::{NodeState, NodeStatus},
};
use tokio::time;

use super::{
    actions::Actions,
    member::Member,
    members::Members,
    membership::Membership,
    node_list::{NodeEntry, NodeList},
};

/// A node that chunks can be placed on.
#[derive(Debug)]
pub(crate) struct Usable {
    /// Its place in the list of nodes.
    pub(crate) node: usize,
    /// The member behind it, if it is awake, was heard of lately, and counts.
    pub(crate) member: Option<Arc<Member>>,
    /// What it can hold, as far as is known.
    pub(crate) capacity: u64,
    /// Where it runs, or ran when it was awake last.
    pub(crate) site: Site,
    /// Whether it is about to be awake.
    pub(crate) waking: bool,
    /// Whether it is better not waited for.
    pub(crate) doubtful: bool,
}

/// What knows of nodes whether they can be used.
#[derive(Debug)]
pub(crate) struct Availability {
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) actions: Arc<Actions>,
    pub(super) latencies: Arc<LatencyTracker>,
}

impl Availability {
    /// The route to a member, if it is linked.
    ///
    /// The caller relies on the member, so it is made sure of; the caller does not wait for that.
    pub(crate) fn link(&self, id: MemberId) -> Option<MuxLink> {
        let member = self.members.get(id)?;
        let link = member.link()?;
        let node = self.nodes.at(member.node);
        let action = {
            let mut state = node.state();
            let current = state.lifecycle.current_if(id);
            let is_current = current.map(|it| it.heard_of(link.mux().heard())).is_some();
            is_current.then(|| state.lifecycle.relied_on(clock::now()))
        };
        if let Some(action) = action.flatten() {
            self.actions.act(member.node, action);
        }
        Some(link)
    }

    /// The member that has taken the place of one that goes, if it takes chunks.
    pub(crate) fn successor(&self, of: &Member) -> Option<Arc<Member>> {
        let node = self.nodes.at(of.node);
        let mut state = node.state();
        let current = self.members.current_of(&mut state)?;
        let takes_chunks = state.lifecycle.active() == Some(current.id)
            && state.lifecycle.is_fresh(clock::now())
            && self.membership.counts(&current)
            && !current.must_evacuate();
        (takes_chunks && current.id != of.id).then_some(current)
    }

    /// The nodes that chunks can be placed on.
    pub(crate) fn usable(&self) -> Vec<Usable> {
        let now = clock::now();
        let usable = |(index, node): (usize, &Arc<NodeEntry>)| {
            let mut state = node.state();
            let member = self.members.current_of(&mut state);
            let is_awake = state.lifecycle.active().is_some() && state.lifecycle.is_fresh(now);
            let active = member.filter(|member| is_awake && self.membership.counts(member));
            state.is_usable(now).then_some(Usable {
                node: index,
                member: active,
                capacity: state.capacity,
                site: state.site.clone(),
                waking: state.lifecycle.state() == NodeState::Waking,
                doubtful: state.lifecycle.is_doubtful(now),
            })
        };
        let nodes = self.nodes.all();
        nodes.iter().enumerate().filter_map(usable).collect()
    }

    /// Gets a node to be awake, and to show that it is, waiting until `deadline` at most.
    pub(crate) async fn ensure(&self, index: usize, deadline: Instant) -> Option<Arc<Member>> {
        let node = self.nodes.at(index);
        let mut changed = node.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (ready, action) = {
                let mut state = node.state();
                let member = self.members.current_of(&mut state);
                let now = clock::now();
                if state.lifecycle.active().is_some() {
                    let is_fresh = state.lifecycle.is_fresh(now);
                    let ready = member.filter(|member| is_fresh && self.membership.counts(member));
                    (ready, state.lifecycle.relied_on(now))
                } else if state.is_usable(now) {
                    (None, state.lifecycle.wanted(now))
                } else {
                    return None;
                }
            };
            if let Some(action) = action {
                self.actions.act(index, action);
            }
            if ready.is_some() {
                return ready;
            }
            time::timeout_at(deadline.into(), changed.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    /// Each node, as its user sees it.
    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let now = clock::now();
        let view = |node: &Arc<NodeEntry>| {
            let mut state = node.state();
            if !state.is_shown() {
                return None;
            }
            let member = self.members.current_of(&mut state);
            let member = member.as_deref();
            let is_silent = state.lifecycle.active().is_some() && !state.lifecycle.is_fresh(now);
            let current = state.lifecycle.current();
            let site = member.map_or_else(Site::default, Member::site);
            Some(NodeStatus {
                name: node.name.to_string(),
                state: state.lifecycle.state(),
                member: member.map(|member| member.id),
                instance: member.map(|member| member.instance),
                host: site.host,
                zone: site.zone,
                capacity: member.map_or(state.capacity, |it| it.memory.capacity()),
                used: member.map_or(0, |it| it.memory.used()),
                chunks: member.map_or(0, |it| it.memory.chunks()),
                heard_ms: current
                    .map(|it| now.saturating_duration_since(it.heard).as_millis() as u64),
                slow: is_silent
                    || member.is_some_and(|member| self.latencies.is_slow(member.id, now)),
                resting: current.is_some_and(|it| it.resting),
                wake_failure: state.lifecycle.backoff().failure(),
            })
        };
        self.nodes.all().iter().filter_map(view).collect()
    }
}

//! The prepare phase: what a new run of the proxy learns from its members, and when that is enough.
//!
//! It wakes every name it knows. Each instance that has dialled and follows it tells
//! of the latest view that it has stored. The latest of these is believed once
//!
//! - so many of its members were heard that a later committed one would be known;
//! - so many of them turned to this run, or were replaced, that an earlier run
//!   can hold no lease, and the leases that they gave have ended;
//! - those that were not heard are known to be replaced, or time is up.
//!
//! Time is up after a deadline if values can do without the members that are
//! missing, and only when these are taken for dead if not. If the first two do not
//! hold by then either, nothing is believed of anybody: what the pool held is lost
//! to it, and counted.
//!
//! A node that hears from another run, which leads, says so instead of obeying
//! this one. A run that still hears that when any lease of a dead run has ended
//! is one too many, and gives up.
//!
//! A platform may tell of all pods there are, those that are about to be stopped
//! among them. An instance is gone if each pod of its name was heard, as another
//! instance; or if there is none. A list is of a moment after this run began, so
//! what is started later knows of no run before it. That says nothing of what
//! those who are gone may have known: the first of the above is not waived.

mod other_leader;
mod responders;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use infinicache_wire::{
    InstanceId, MembershipView,
    view::{PromiseInfo, ViewMember},
};

use self::{
    other_leader::OtherLeader,
    responders::{Responder, Responders},
};
use super::quorum::{fence, read_quorum};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct PrepareTimeouts {
    /// What an earlier run may rely on after an answered ping.
    pub lease: Duration,
    /// How long a member may still dial after an instance that succeeds it did: it is not woken
    /// any more, but finds this run by itself.
    pub straggler_grace: Duration,
    /// For all of it, if values can do without the members that are missing.
    pub deadline: Duration,
    /// For members that values cannot do without.
    pub dead_after: Duration,
    /// For how long nodes may say that another run leads, though it has ended.
    pub leader_lease: Duration,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrepareStatus {
    /// Wait for more, and look again then at the latest.
    Wait(Instant),
    /// The view is to be believed.
    Ready,
    /// There is none: no instance has ever been a member.
    Empty,
    /// Too few were heard in time.
    NoQuorum,
    /// Another run leads, and is alive.
    OtherLeader,
}

/// The pods of names of which the platform has told all: none, if it says that there are none.
pub type Pods = BTreeMap<String, BTreeSet<String>>;

/// The promises of the instances that have dialled.
#[derive(Debug)]
pub struct Prepare {
    names: usize,
    pods: Pods,
    timeouts: PrepareTimeouts,
    began: Instant,
    responders: Responders,
    is_closed: bool,
    other_leader: OtherLeader,
}

impl Prepare {
    /// Begins to listen to the instances of `names` nodes.
    pub fn new(names: usize, timeouts: PrepareTimeouts, now: Instant) -> Self {
        Self {
            names,
            pods: Pods::new(),
            timeouts,
            began: now,
            responders: Responders::default(),
            is_closed: false,
            other_leader: OtherLeader::new(timeouts.leader_lease),
        }
    }

    /// An instance follows this run, and has told what it remembers of those before.
    pub fn heard(
        &mut self,
        node: &str,
        pod: &str,
        instance: InstanceId,
        promise: PromiseInfo,
        now: Instant,
    ) {
        let lease = self.timeouts.lease;
        let ends = |ago| now + lease.saturating_sub(Duration::from_millis(ago));
        let responder = Responder {
            node: node.to_owned(),
            pod: pod.to_owned(),
            view: promise.view,
            lease_ends: promise.followed_ms.map(ends),
            heard: now,
        };
        self.responders.insert(instance, responder);
    }

    /// A node said that another run, which it hears from, leads.
    pub fn other_leader(&mut self, now: Instant) {
        self.other_leader.heard_of(now);
    }

    /// Whether a node said so lately.
    pub fn sees_other_leader(&self, now: Instant) -> bool {
        self.other_leader.is_seen(now)
    }

    /// The pool has so many nodes, as is known now, and these pods.
    pub fn set_expected(&mut self, names: usize, pods: Pods) {
        self.names = names;
        self.pods = pods;
    }

    /// Whether the platform has told of pods.
    pub fn knows_pods(&self) -> bool {
        !self.pods.is_empty()
    }

    /// Whether a name is known to have no pod: no instance of it could be heard.
    pub fn is_absent(&self, node: &str) -> bool {
        self.pods.get(node).is_some_and(BTreeSet::is_empty)
    }

    /// No member is known to follow this run any more: it goes on under another epoch, or was
    /// paused for so long that another run may have been followed.
    pub fn restart(&mut self, now: Instant) {
        self.responders = Responders::default();
        self.began = now;
    }

    /// It is decided what is believed.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether it is decided what is believed.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The latest view that was reported, of those that may have been committed.
    pub fn view(&self) -> Option<MembershipView> {
        self.responders.view()
    }

    /// All instances that were heard.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.responders.instances()
    }

    /// What is to be done now.
    pub fn status(&self, now: Instant) -> PrepareStatus {
        let status = self.status_alone(now);
        match status {
            PrepareStatus::Ready => status,
            _ if self.other_leader.is_alive() => PrepareStatus::OtherLeader,
            PrepareStatus::Empty | PrepareStatus::NoQuorum if self.sees_other_leader(now) => {
                PrepareStatus::Wait(now + self.timeouts.leader_lease)
            }
            _ => status,
        }
    }

    /// The same, if no other run leads.
    fn status_alone(&self, now: Instant) -> PrepareStatus {
        let end = self.began + self.timeouts.deadline;
        let Some(view) = self.view() else {
            // Without members nothing is learnt, however long it takes.
            let heard = self.responders.names().len();
            let expected = self.names_expected();
            // All members may have been replaced within the lease of a run that is still there,
            // and may be there themselves, with all that they hold.
            let lease_ends = self.began + self.timeouts.lease;
            let all_told = self
                .last_straggler()
                .map_or(lease_ends, |last| last.min(end));
            let settled = lease_ends.max(all_told);
            return match heard >= expected || (now >= end && heard > 0) {
                true if now >= settled => PrepareStatus::Empty,
                true => PrepareStatus::Wait(settled),
                false => PrepareStatus::Wait(end.max(now + self.timeouts.straggler_grace)),
            };
        };
        let knows_latest =
            self.responders.count(&view.members) >= read_quorum(view.members.len(), view.parity);
        let is_alone = [&view.members, &view.old_members].iter().all(|members| {
            let succeeded = members.iter().filter(|it| self.is_replaced(it, now));
            self.responders.count(members) + succeeded.count() >= fence(members.len())
        });
        let missing = view
            .members
            .iter()
            .filter(|it| !self.responders.contains(it.instance) && !self.is_replaced(it, now));
        let missing = missing.count();
        let dead = self.began + self.timeouts.dead_after;
        let is_complete = missing == 0;
        // Members that are known to be gone have nothing to tell, however long it takes.
        let given_up = if is_complete { end } else { dead };
        let end = if missing <= view.parity { end } else { dead };
        let leases_end = self.responders.leases_end(&view).unwrap_or(now);

        match (knows_latest && is_alone, is_complete || now >= end) {
            (true, true) if now >= leases_end => PrepareStatus::Ready,
            (true, true) => PrepareStatus::Wait(leases_end),
            (false, _) if now >= given_up => PrepareStatus::NoQuorum,
            _ => {
                let ends = [end, given_up].into_iter().filter(|at| *at > now);
                let next = ends.fold(self.next_look(now), Instant::min);
                PrepareStatus::Wait(next)
            }
        }
    }

    /// How far it is: members heard, of how many.
    pub fn progress(&self) -> (usize, usize) {
        match self.view() {
            Some(view) => (self.responders.count(&view.members), view.members.len()),
            None => (self.responders.names().len(), self.names_expected()),
        }
    }

    /// How many names there are of which an instance may be heard.
    fn names_expected(&self) -> usize {
        let heard = self.responders.names();
        let absent = self.pods.iter();
        let absent = absent.filter(|(node, pods)| pods.is_empty() && !heard.contains(&***node));
        self.names.saturating_sub(absent.count())
    }

    /// Whether a member is known to be gone: it has no pod any more, or another instance of its
    /// name has been there for a while, and it has not.
    fn is_replaced(&self, member: &ViewMember, now: Instant) -> bool {
        let straggler_grace = self.timeouts.straggler_grace;
        let successors = || self.responders.successors(member);
        let is_succeeded = || successors().any(|it| now >= it.heard + straggler_grace);
        let is_gone = || self.are_pods_heard(&member.node) || is_succeeded();
        !self.responders.contains(member.instance) && is_gone()
    }

    /// Whether each pod of a name was heard.
    fn are_pods_heard(&self, node: &str) -> bool {
        let was_heard = |pod: &String| {
            let mut responders = self.responders.all();
            responders.any(|it| it.node == node && it.pod == *pod)
        };
        let pods = self.pods.get(node);
        pods.is_some_and(|pods| pods.iter().all(was_heard))
    }

    /// When the grace of a straggler ends next.
    fn next_look(&self, now: Instant) -> Instant {
        let next = self.straggler_deadlines().filter(|&at| at > now).min();
        next.unwrap_or(now + self.timeouts.straggler_grace)
    }

    /// When all who may have been replaced have had their time.
    fn last_straggler(&self) -> Option<Instant> {
        self.straggler_deadlines().max()
    }

    fn straggler_deadlines(&self) -> impl Iterator<Item = Instant> {
        let straggler_grace = self.timeouts.straggler_grace;
        let responders = self.responders.all();
        let succeed = responders.filter(|it| !self.are_pods_heard(&it.node));
        succeed.map(move |it| it.heard + straggler_grace)
    }
}

#[cfg(test)]
mod tests;

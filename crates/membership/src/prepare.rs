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

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use infinicache_wire::{
    InstanceId, MembershipView,
    view::{PromiseInfo, ViewMember},
};

use super::{fence, read_quorum, write_quorum};

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
    responders: BTreeMap<InstanceId, Responder>,
    is_closed: bool,
    /// When this run was refused first and last because another leads.
    other_leader: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct Responder {
    node: String,
    /// The pod that it runs in, or the empty string.
    pod: String,
    view: Option<MembershipView>,
    /// When the lease that it gave ends.
    lease_ends: Option<Instant>,
    heard: Instant,
}

impl Prepare {
    /// Begins to listen to the instances of `names` nodes.
    pub fn new(names: usize, timeouts: PrepareTimeouts, now: Instant) -> Self {
        Self {
            names,
            pods: Pods::new(),
            timeouts,
            began: now,
            responders: BTreeMap::new(),
            is_closed: false,
            other_leader: None,
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
        // What happened before this run does not change any more.
        self.responders.entry(instance).or_insert(responder);
    }

    /// A node said that another run, which it hears from, leads.
    pub fn other_leader(&mut self, now: Instant) {
        let (first, last) = self.other_leader.unwrap_or((now, now));
        // What was said long ago was of a run that has ended since.
        let first = if self.sees_other_leader(now) {
            first
        } else {
            now
        };
        self.other_leader = Some((first, now.max(last)));
    }

    /// Whether a node said so lately.
    pub fn sees_other_leader(&self, now: Instant) -> bool {
        let lately = 3 * self.timeouts.leader_lease;
        self.other_leader
            .is_some_and(|(_, last)| now < last + lately)
    }

    /// Whether it was said for longer than a run that has ended could be taken for one that leads.
    fn must_step_down(&self) -> bool {
        let lease = self.timeouts.leader_lease;
        self.other_leader
            .is_some_and(|(first, last)| last >= first + lease)
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
        self.responders.clear();
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

    /// The latest view that was reported; if it was only proposed, and so many do not know of it
    /// that it has not been committed, the one before it.
    ///
    /// A run that is being replaced may take those who turn away from it for silent, and propose
    /// to do without them.
    pub fn view(&self) -> Option<MembershipView> {
        let views = self.responders.values().filter_map(|it| it.view.as_ref());
        let latest = views.reduce(|latest, it| if it.supersedes(latest) { it } else { latest })?;
        if latest.old_members.is_empty() || self.may_be_in_force(latest) {
            return Some(latest.clone());
        }
        Some(MembershipView {
            members: latest.old_members.clone(),
            old_members: Vec::new(),
            ..*latest
        })
    }

    /// Whether a quorum of those before a proposal, and one of its members, may have stored it: a
    /// member that was heard and reports another never will.
    fn may_be_in_force(&self, proposal: &MembershipView) -> bool {
        let may_have_stored = |it: &&ViewMember| {
            let responder = self.responders.get(&it.instance);
            let told = responder.map(|it| it.view.as_ref().map(|it| it.id));
            told.is_none_or(|id| id == Some(proposal.id))
        };
        [&proposal.members, &proposal.old_members]
            .iter()
            .all(|members| {
                let stored = members.iter().filter(may_have_stored).count();
                stored >= write_quorum(members.len(), proposal.parity)
            })
    }

    /// All instances that were heard.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.responders.keys().copied()
    }

    /// Whether an instance was heard.
    pub fn has_heard(&self, instance: InstanceId) -> bool {
        self.responders.contains_key(&instance)
    }

    /// What is to be done now.
    pub fn status(&self, now: Instant) -> PrepareStatus {
        let status = self.status_alone(now);
        match status {
            PrepareStatus::Ready => status,
            _ if self.must_step_down() => PrepareStatus::OtherLeader,
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
            let heard = self.names_heard();
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
            self.count_heard(&view.members) >= read_quorum(view.members.len(), view.parity);
        let is_alone = [&view.members, &view.old_members].iter().all(|members| {
            let succeeded = members.iter().filter(|it| self.is_replaced(it, now));
            self.count_heard(members) + succeeded.count() >= fence(members.len())
        });
        let missing = view
            .members
            .iter()
            .filter(|it| !self.has_heard(it.instance) && !self.is_replaced(it, now));
        let missing = missing.count();
        let dead = self.began + self.timeouts.dead_after;
        let is_complete = missing == 0;
        // Members that are known to be gone have nothing to tell, however long it takes.
        let given_up = if is_complete { end } else { dead };
        let end = if missing <= view.parity { end } else { dead };
        let leases_end = self.leases_end(&view).unwrap_or(now);

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
            Some(view) => (self.count_heard(&view.members), view.members.len()),
            None => (self.names_heard(), self.names_expected()),
        }
    }

    /// How many names there are of which an instance may be heard.
    fn names_expected(&self) -> usize {
        let heard: BTreeSet<&str> = self.responders.values().map(|it| &*it.node).collect();
        let absent = self.pods.iter();
        let absent = absent.filter(|(node, pods)| pods.is_empty() && !heard.contains(&***node));
        self.names.saturating_sub(absent.count())
    }

    fn names_heard(&self) -> usize {
        let mut names: Vec<&str> = self.responders.values().map(|it| &*it.node).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    fn count_heard(&self, members: &[ViewMember]) -> usize {
        let heard = members.iter().filter(|it| self.has_heard(it.instance));
        heard.count()
    }

    /// Whether a member is known to be gone: it has no pod any more, or another instance of its
    /// name has been there for a while, and it has not.
    fn is_replaced(&self, member: &ViewMember, now: Instant) -> bool {
        let succeeds = |(instance, responder): (&InstanceId, &Responder)| {
            *instance != member.instance
                && responder.node == member.node
                && now >= responder.heard + self.timeouts.straggler_grace
        };
        let is_gone = || self.are_pods_heard(&member.node) || self.responders.iter().any(succeeds);
        !self.has_heard(member.instance) && is_gone()
    }

    /// Whether each pod of a name was heard.
    fn are_pods_heard(&self, node: &str) -> bool {
        let was_heard = |pod: &String| {
            let mut responders = self.responders.values();
            responders.any(|it| it.node == node && it.pod == *pod)
        };
        let pods = self.pods.get(node);
        pods.is_some_and(|pods| pods.iter().all(was_heard))
    }

    fn leases_end(&self, view: &MembershipView) -> Option<Instant> {
        let members = view.members.iter().chain(&view.old_members);
        let responders = members.filter_map(|it| self.responders.get(&it.instance));
        responders.filter_map(|it| it.lease_ends).max()
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
        let responders = self.responders.values();
        let succeed = responders.filter(|it| !self.are_pods_heard(&it.node));
        succeed.map(move |it| it.heard + straggler_grace)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::ViewId;

    use super::*;

    const PATIENCE: PrepareTimeouts = PrepareTimeouts {
        lease: Duration::from_secs(5),
        straggler_grace: STRAGGLING,
        deadline: Duration::from_secs(20),
        dead_after: DEAD_AFTER,
        leader_lease: Duration::from_secs(5),
    };
    const DEAD_AFTER: Duration = Duration::from_secs(600);
    const STRAGGLING: Duration = Duration::from_secs(1);

    fn entry(instance: u64) -> ViewMember {
        ViewMember {
            node: format!("node-{}", instance % 100),
            instance: InstanceId(instance),
        }
    }

    fn view(number: u64, members: impl IntoIterator<Item = u64>) -> MembershipView {
        MembershipView {
            id: ViewId { epoch: 1, number },
            parity: 2,
            members: members.into_iter().map(entry).collect(),
            old_members: Vec::new(),
        }
    }

    /// An instance tells of a view, and of a lease that it gave so long ago.
    fn tell(
        prepare: &mut Prepare,
        instance: u64,
        view: Option<&MembershipView>,
        followed_ms: Option<u64>,
        now: Instant,
    ) {
        let promise = PromiseInfo {
            view: view.cloned(),
            told_ms: 0,
            followed_ms,
        };
        let ViewMember { node, instance } = entry(instance);
        prepare.heard(&node, &pod(instance.0), instance, promise, now);
    }

    fn pod(instance: u64) -> String {
        format!("pod-{instance}")
    }

    /// The platform has told of all pods of `names` nodes: those of these instances.
    fn told(names: u64, running: impl IntoIterator<Item = u64>) -> Pods {
        let mut pods: Pods = (0..names)
            .map(|name| (entry(name).node, BTreeSet::new()))
            .collect();
        for instance in running {
            pods.entry(entry(instance).node)
                .or_default()
                .insert(pod(instance));
        }
        pods
    }

    /// A prepare phase of 14 names, of which these instances have told of a view.
    fn prepare(view: &MembershipView, heard: impl IntoIterator<Item = u64>) -> (Prepare, Instant) {
        let start = Instant::now();
        let mut prepare = Prepare::new(14, PATIENCE, start);
        for instance in heard {
            tell(&mut prepare, instance, Some(view), None, start);
        }
        (prepare, start)
    }

    #[test]
    fn a_view_all_of_whose_members_were_heard_is_believed_at_once() {
        let (prepare, now) = prepare(&view(1, 0..14), 0..14);
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
        assert_eq!(prepare.view(), Some(view(1, 0..14)));
    }

    #[test]
    fn the_latest_view_is_believed_whoever_tells_of_it() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
        let latest = view(2, 1..14);
        tell(&mut prepare, 13, Some(&latest), None, now);
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
        assert_eq!(prepare.view(), Some(latest));
    }

    #[test]
    fn a_proposal_that_too_few_know_of_is_not_believed_once_that_is_known() {
        let old_members = view(1, 0..4);
        let proposal = MembershipView {
            old_members: old_members.members.clone(),
            ..view(2, 1..4)
        };
        let (mut prepare, now) = prepare(&old_members, 0..1);
        tell(&mut prepare, 1, Some(&proposal), None, now);
        let told = |prepare: &Prepare| prepare.view().unwrap().members;
        assert_eq!(
            told(&prepare),
            proposal.members,
            "three of four may know of it"
        );
        tell(&mut prepare, 2, Some(&old_members), None, now);
        assert_eq!(told(&prepare), old_members.members);
        let settled = view(2, 1..4);
        tell(&mut prepare, 3, Some(&settled), None, now);
        assert_eq!(told(&prepare), settled.members, "it was committed");
    }

    #[test]
    fn members_that_do_not_dial_are_waited_for_until_the_deadline() {
        let (prepare, now) = prepare(&view(1, 0..14), 0..12);
        assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
        assert_eq!(
            prepare.status(now + PATIENCE.deadline),
            PrepareStatus::Ready
        );
    }

    #[test]
    fn a_member_whose_name_has_another_instance_is_not_waited_for_long() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
        tell(&mut prepare, 113, None, None, now);
        assert_eq!(prepare.status(now), PrepareStatus::Wait(now + STRAGGLING));
        assert_eq!(prepare.status(now + STRAGGLING), PrepareStatus::Ready);
    }

    #[test]
    fn too_few_members_decide_nothing() {
        let (prepare, now) = prepare(&view(1, 0..14), 0..6);
        for at in [now, now + PATIENCE.deadline, now + DEAD_AFTER / 2] {
            let status = prepare.status(at);
            assert!(
                matches!(status, PrepareStatus::Wait(until) if until > at),
                "not looked at again at once: {status:?}"
            );
        }
        assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::NoQuorum);
    }

    #[test]
    fn members_that_values_cannot_do_without_are_waited_for_until_they_are_taken_for_dead() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..11);
        let late = now + PATIENCE.deadline;
        assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
        assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::Ready);
        tell(&mut prepare, 111, None, None, now);
        assert_eq!(
            prepare.status(late),
            PrepareStatus::Ready,
            "two are missing"
        );
    }

    #[test]
    fn a_run_that_is_led_by_another_is_one_too_many() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..6);
        let at = |seconds| now + Duration::from_secs(seconds);
        prepare.other_leader(at(1));
        assert!(matches!(prepare.status(at(1)), PrepareStatus::Wait(_)));
        prepare.other_leader(at(5));
        assert!(matches!(prepare.status(at(5)), PrepareStatus::Wait(_)));
        prepare.other_leader(at(6));
        assert_eq!(prepare.status(at(6)), PrepareStatus::OtherLeader);
    }

    #[test]
    fn a_leader_that_was_heard_of_once_may_have_ended_since() {
        let (mut prepare, now) = prepare(&view(1, 0..14), []);
        let at = |seconds| now + Duration::from_secs(seconds);
        prepare.other_leader(at(1));
        prepare.other_leader(at(60));
        assert!(matches!(prepare.status(at(60)), PrepareStatus::Wait(_)));
    }

    #[test]
    fn a_pool_that_another_run_leads_is_not_one_of_nobody() {
        let start = Instant::now();
        let mut prepare = Prepare::new(2, PATIENCE, start);
        let late = start + PATIENCE.deadline;
        tell(&mut prepare, 0, None, None, start);
        prepare.other_leader(late);
        assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
    }

    #[test]
    fn one_of_three_decides_when_the_others_were_succeeded() {
        let (mut prepare, now) = prepare(&view(1, 0..3), 0..1);
        assert_eq!(prepare.status(now + DEAD_AFTER), PrepareStatus::NoQuorum);
        tell(&mut prepare, 101, None, None, now);
        tell(&mut prepare, 102, None, None, now);
        assert_eq!(prepare.status(now + STRAGGLING), PrepareStatus::Ready);
    }

    #[test]
    fn the_leases_that_members_gave_are_waited_out() {
        let (_, start) = prepare(&view(1, 0..3), []);
        let mut prepare = Prepare::new(14, PATIENCE, start);
        let view = view(1, 0..3);
        for (instance, followed_ms) in [(0, Some(4000)), (1, Some(1000)), (2, None)] {
            tell(&mut prepare, instance, Some(&view), followed_ms, start);
        }
        let end = start + Duration::from_secs(4);
        assert_eq!(prepare.status(start), PrepareStatus::Wait(end));
        assert_eq!(prepare.status(end), PrepareStatus::Ready);
    }

    #[test]
    fn a_member_that_dials_again_does_not_prolong_its_lease() {
        let start = Instant::now();
        let mut prepare = Prepare::new(14, PATIENCE, start);
        let view = view(1, 0..1);
        tell(&mut prepare, 0, Some(&view), Some(0), start);
        let later = start + Duration::from_secs(3);
        tell(&mut prepare, 0, Some(&view), Some(0), later);
        assert_eq!(prepare.status(start + PATIENCE.lease), PrepareStatus::Ready);
    }

    #[test]
    fn a_proposal_is_believed_only_if_nobody_before_it_can_still_give_a_lease() {
        let proposal = MembershipView {
            old_members: (0..3).map(entry).collect(),
            ..view(2, 3..14)
        };
        let (mut prepare, now) = prepare(&proposal, 3..14);
        let late = now + DEAD_AFTER;
        assert_eq!(prepare.status(late), PrepareStatus::NoQuorum);
        tell(&mut prepare, 0, Some(&proposal), None, now);
        assert_eq!(prepare.status(late), PrepareStatus::NoQuorum);
        tell(&mut prepare, 1, Some(&proposal), None, now);
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
    }

    #[test]
    fn a_pool_that_never_had_a_member_is_one_of_nobody() {
        let start = Instant::now();
        let mut prepare = Prepare::new(2, PATIENCE, start);
        tell(&mut prepare, 0, None, None, start);
        assert_eq!(
            prepare.status(start),
            PrepareStatus::Wait(start + PATIENCE.deadline)
        );
        tell(&mut prepare, 1, None, None, start);
        let lease_ends = start + PATIENCE.lease;
        assert_eq!(prepare.status(start), PrepareStatus::Wait(lease_ends));
        assert_eq!(prepare.status(lease_ends), PrepareStatus::Empty);
    }

    #[test]
    fn instances_that_know_of_nobody_may_have_succeeded_some_who_do() {
        let start = Instant::now();
        let mut prepare = Prepare::new(2, PATIENCE, start);
        let late = start + PATIENCE.lease;
        tell(&mut prepare, 0, None, None, start);
        tell(&mut prepare, 1, None, None, late);
        assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
        let view = view(1, 100..102);
        let mut straggled = Prepare::new(2, PATIENCE, start);
        for (instance, told) in [(0, None), (1, None), (100, Some(&view)), (101, Some(&view))] {
            tell(&mut straggled, instance, told, None, start);
        }
        assert_eq!(straggled.status(late), PrepareStatus::Ready);
        assert_eq!(prepare.status(late + STRAGGLING), PrepareStatus::Empty);
    }

    #[test]
    fn a_pool_of_which_some_were_heard_in_time_is_one_of_nobody_too() {
        let start = Instant::now();
        let mut prepare = Prepare::new(2, PATIENCE, start);
        let late = start + PATIENCE.deadline;
        assert!(matches!(prepare.status(late), PrepareStatus::Wait(_)));
        tell(&mut prepare, 0, None, None, start);
        assert_eq!(prepare.status(late), PrepareStatus::Empty);
    }

    #[test]
    fn a_pool_without_pods_is_one_of_nobody_once_no_earlier_run_can_hold_a_lease() {
        let start = Instant::now();
        let mut prepare = Prepare::new(14, PATIENCE, start);
        prepare.set_expected(14, told(14, []));
        let lease_ends = start + PATIENCE.lease;
        assert_eq!(prepare.status(start), PrepareStatus::Wait(lease_ends));
        assert_eq!(prepare.status(lease_ends), PrepareStatus::Empty);
        assert!(prepare.is_absent("node-3") && !prepare.is_absent("another"));
    }

    #[test]
    fn a_pool_each_of_whose_pods_was_heard_has_nobody_who_may_straggle() {
        let start = Instant::now();
        let late = start + PATIENCE.lease;
        let mut prepare = Prepare::new(3, PATIENCE, start);
        // One is asleep, and one is about to be replaced.
        prepare.set_expected(3, told(3, [0, 1, 101]));
        tell(&mut prepare, 0, None, None, late);
        tell(&mut prepare, 101, None, None, late);
        assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
        tell(&mut prepare, 1, None, None, late);
        assert_eq!(prepare.progress(), (2, 2));
        assert_eq!(prepare.status(late), PrepareStatus::Empty);
    }

    #[test]
    fn a_member_that_has_no_pod_is_not_waited_for() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..12);
        prepare.set_expected(14, told(14, 0..13));
        assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
        prepare.set_expected(14, told(14, 0..12));
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
    }

    #[test]
    fn a_member_all_of_whose_pods_are_those_of_others_is_not_waited_for() {
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..13);
        prepare.set_expected(14, told(14, (0..14).chain([113])));
        tell(&mut prepare, 113, None, None, now);
        assert_eq!(prepare.status(now), PrepareStatus::Wait(now + STRAGGLING));
        prepare.set_expected(14, told(14, (0..13).chain([113])));
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
    }

    #[test]
    fn what_those_without_a_pod_have_known_is_unknown() {
        // Those that are gone may have agreed on a view without these.
        let (mut prepare, now) = prepare(&view(1, 0..14), 0..6);
        prepare.set_expected(14, told(14, 0..6));
        assert!(matches!(prepare.status(now), PrepareStatus::Wait(_)));
        let end = now + PATIENCE.deadline;
        assert_eq!(prepare.status(end), PrepareStatus::NoQuorum);
    }

    #[test]
    fn names_of_which_the_platform_has_not_told_are_waited_for() {
        let start = Instant::now();
        let mut prepare = Prepare::new(2, PATIENCE, start);
        prepare.set_expected(2, told(1, []));
        let late = start + PATIENCE.lease;
        assert_eq!(prepare.progress(), (0, 1));
        assert!(matches!(prepare.status(late), PrepareStatus::Wait(at) if at > late));
        tell(&mut prepare, 1, None, None, late);
        assert_eq!(prepare.status(late), PrepareStatus::Wait(late + STRAGGLING));
        assert_eq!(prepare.status(late + STRAGGLING), PrepareStatus::Empty);
    }

    #[test]
    fn under_another_epoch_everybody_has_to_be_heard_anew() {
        let (mut prepare, now) = prepare(&view(1, 0..3), 0..3);
        assert_eq!(prepare.status(now), PrepareStatus::Ready);
        prepare.restart(now);
        assert_eq!(prepare.view(), None);
    }
}

//! Whom a new run of the proxy believes, and when it has heard enough.
//!
//! It wakes every name it knows. Each instance that has dialled and obeys it tells
//! of the latest roster that it has stored. The latest of these is believed once
//!
//! - so many of its members were heard that a later one in force would be known;
//! - so many of them turned to this run, or were succeeded, that an earlier run
//!   can hold no lease, and the leases that they gave have ended;
//! - those that were not heard are known to be succeeded, or time is up.
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
    InstanceId, Roster,
    roster::{Entry, Testimony},
};

use super::{fence, read_quorum, write_quorum};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What an earlier run may rely on after an answered ping.
    pub lease: Duration,
    /// How long a member may still dial after an instance that succeeds it did: it is not woken
    /// any more, but finds this run by itself.
    pub straggling: Duration,
    /// For all of it, if values can do without the members that are missing.
    pub deadline: Duration,
    /// For members that values cannot do without.
    pub dead_after: Duration,
    /// For how long nodes may say that another run leads, though it has ended.
    pub leader_lease: Duration,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Wait for more, and look again then at the latest.
    Wait(Instant),
    /// The roster is to be believed.
    Believe,
    /// There is none: no instance has ever been a member.
    Nobody,
    /// Too few were heard in time.
    Undecidable,
    /// Another run leads, and is alive.
    Led,
}

/// The pods of names of which the platform has told all: none, if it says that there are none.
pub type Pods = BTreeMap<String, BTreeSet<String>>;

/// The testimonies of the instances that have dialled.
#[derive(Debug)]
pub struct Census {
    names: usize,
    pods: Pods,
    patience: Patience,
    began: Instant,
    witnesses: BTreeMap<InstanceId, Witness>,
    is_closed: bool,
    /// When this run was refused first and last because another leads.
    led: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct Witness {
    node: String,
    /// The pod that it runs in, or the empty string.
    pod: String,
    roster: Option<Roster>,
    /// When the lease that it gave ends.
    lease_ends: Option<Instant>,
    heard: Instant,
}

impl Census {
    /// Begins to listen to the instances of `names` nodes.
    pub fn new(names: usize, patience: Patience, now: Instant) -> Self {
        Self {
            names,
            pods: Pods::new(),
            patience,
            began: now,
            witnesses: BTreeMap::new(),
            is_closed: false,
            led: None,
        }
    }

    /// An instance obeys this run, and has told what it remembers of those before.
    pub fn heard(
        &mut self,
        node: &str,
        pod: &str,
        instance: InstanceId,
        testimony: Testimony,
        now: Instant,
    ) {
        let lease = self.patience.lease;
        let ends = |ago| now + lease.saturating_sub(Duration::from_millis(ago));
        let witness = Witness {
            node: node.to_owned(),
            pod: pod.to_owned(),
            roster: testimony.roster,
            lease_ends: testimony.obeyed_ms.map(ends),
            heard: now,
        };
        // What happened before this run does not change any more.
        self.witnesses.entry(instance).or_insert(witness);
    }

    /// A node said that another run, which it hears from, leads.
    pub fn led(&mut self, now: Instant) {
        let (first, last) = self.led.unwrap_or((now, now));
        // What was said long ago was of a run that has ended since.
        let first = if self.is_led(now) { first } else { now };
        self.led = Some((first, now.max(last)));
    }

    /// Whether a node said so lately.
    pub fn is_led(&self, now: Instant) -> bool {
        let lately = 3 * self.patience.leader_lease;
        self.led.is_some_and(|(_, last)| now < last + lately)
    }

    /// Whether it was said for longer than a run that has ended could be taken for one that leads.
    fn is_too_many(&self) -> bool {
        let lease = self.patience.leader_lease;
        self.led.is_some_and(|(first, last)| last >= first + lease)
    }

    /// The pool has so many nodes, as is known now, and these pods.
    pub fn expect(&mut self, names: usize, pods: Pods) {
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

    /// Nobody is known to obey this run any more: it goes on under another epoch, or was held up
    /// for so long that somebody else may have been obeyed.
    pub fn begin_anew(&mut self, now: Instant) {
        self.witnesses.clear();
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

    /// The latest roster that was told of; if it was only proposed, and so many do not know of it
    /// that it has not been in force, the one before it.
    ///
    /// A run that is being succeeded may take those who turn away from it for silent, and propose
    /// to do without them.
    pub fn roster(&self) -> Option<Roster> {
        let rosters = self.witnesses.values().filter_map(|it| it.roster.as_ref());
        let latest =
            rosters.reduce(|latest, it| if it.supersedes(latest) { it } else { latest })?;
        if latest.before.is_empty() || self.may_be_in_force(latest) {
            return Some(latest.clone());
        }
        Some(Roster {
            members: latest.before.clone(),
            before: Vec::new(),
            ..*latest
        })
    }

    /// Whether a quorum of those before a proposal, and one of its members, may have stored it:
    /// whoever was heard, and tells of another, never will.
    fn may_be_in_force(&self, proposal: &Roster) -> bool {
        let may_have_stored = |it: &&Entry| {
            let witness = self.witnesses.get(&it.instance);
            let told = witness.map(|it| it.roster.as_ref().map(|it| it.id));
            told.is_none_or(|id| id == Some(proposal.id))
        };
        [&proposal.members, &proposal.before].iter().all(|members| {
            let stored = members.iter().filter(may_have_stored).count();
            stored >= write_quorum(members.len(), proposal.parity)
        })
    }

    /// All instances that were heard.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.witnesses.keys().copied()
    }

    /// Whether an instance was heard.
    pub fn has_heard(&self, instance: InstanceId) -> bool {
        self.witnesses.contains_key(&instance)
    }

    /// What is to be done now.
    pub fn standing(&self, now: Instant) -> Standing {
        let standing = self.standing_alone(now);
        match standing {
            Standing::Believe => standing,
            _ if self.is_too_many() => Standing::Led,
            Standing::Nobody | Standing::Undecidable if self.is_led(now) => {
                Standing::Wait(now + self.patience.leader_lease)
            }
            _ => standing,
        }
    }

    /// The same, if no other run leads.
    fn standing_alone(&self, now: Instant) -> Standing {
        let end = self.began + self.patience.deadline;
        let Some(roster) = self.roster() else {
            // Of nobody nothing is learnt, however long it takes.
            let heard = self.names_heard();
            let expected = self.names_expected();
            // All members may have been replaced within the lease of a run that is still there,
            // and may be there themselves, with all that they hold.
            let lease_ends = self.began + self.patience.lease;
            let all_told = self
                .last_straggling()
                .map_or(lease_ends, |last| last.min(end));
            let settled = lease_ends.max(all_told);
            return match heard >= expected || (now >= end && heard > 0) {
                true if now >= settled => Standing::Nobody,
                true => Standing::Wait(settled),
                false => Standing::Wait(end.max(now + self.patience.straggling)),
            };
        };
        let knows_latest =
            self.count_heard(&roster.members) >= read_quorum(roster.members.len(), roster.parity);
        let is_alone = [&roster.members, &roster.before].iter().all(|members| {
            let succeeded = members.iter().filter(|it| self.is_succeeded(it, now));
            self.count_heard(members) + succeeded.count() >= fence(members.len())
        });
        let missing = roster
            .members
            .iter()
            .filter(|it| !self.has_heard(it.instance) && !self.is_succeeded(it, now));
        let missing = missing.count();
        let dead = self.began + self.patience.dead_after;
        let is_complete = missing == 0;
        // Members that are known to be gone have nothing to tell, however long it takes.
        let given_up = if is_complete { end } else { dead };
        let end = if missing <= roster.parity { end } else { dead };
        let leases_end = self.leases_end(&roster).unwrap_or(now);

        match (knows_latest && is_alone, is_complete || now >= end) {
            (true, true) if now >= leases_end => Standing::Believe,
            (true, true) => Standing::Wait(leases_end),
            (false, _) if now >= given_up => Standing::Undecidable,
            _ => {
                let ends = [end, given_up].into_iter().filter(|at| *at > now);
                let next = ends.fold(self.next_look(now), Instant::min);
                Standing::Wait(next)
            }
        }
    }

    /// How far it is: members heard, of how many.
    pub fn progress(&self) -> (usize, usize) {
        match self.roster() {
            Some(roster) => (self.count_heard(&roster.members), roster.members.len()),
            None => (self.names_heard(), self.names_expected()),
        }
    }

    /// How many names there are of which an instance may be heard.
    fn names_expected(&self) -> usize {
        let heard: BTreeSet<&str> = self.witnesses.values().map(|it| &*it.node).collect();
        let absent = self.pods.iter();
        let absent = absent.filter(|(node, pods)| pods.is_empty() && !heard.contains(&***node));
        self.names.saturating_sub(absent.count())
    }

    fn names_heard(&self) -> usize {
        let mut names: Vec<&str> = self.witnesses.values().map(|it| &*it.node).collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    fn count_heard(&self, members: &[Entry]) -> usize {
        let heard = members.iter().filter(|it| self.has_heard(it.instance));
        heard.count()
    }

    /// Whether a member is known to be gone: it has no pod any more, or another instance of its
    /// name has been there for a while, and it has not.
    fn is_succeeded(&self, member: &Entry, now: Instant) -> bool {
        let succeeds = |(instance, witness): (&InstanceId, &Witness)| {
            *instance != member.instance
                && witness.node == member.node
                && now >= witness.heard + self.patience.straggling
        };
        let is_gone = || self.has_told(&member.node) || self.witnesses.iter().any(succeeds);
        !self.has_heard(member.instance) && is_gone()
    }

    /// Whether each pod of a name was heard.
    fn has_told(&self, node: &str) -> bool {
        let was_heard = |pod: &String| {
            let mut witnesses = self.witnesses.values();
            witnesses.any(|it| it.node == node && it.pod == *pod)
        };
        let pods = self.pods.get(node);
        pods.is_some_and(|pods| pods.iter().all(was_heard))
    }

    fn leases_end(&self, roster: &Roster) -> Option<Instant> {
        let members = roster.members.iter().chain(&roster.before);
        let witnesses = members.filter_map(|it| self.witnesses.get(&it.instance));
        witnesses.filter_map(|it| it.lease_ends).max()
    }

    /// When somebody's straggling ends next.
    fn next_look(&self, now: Instant) -> Instant {
        let next = self.stragglings().filter(|&at| at > now).min();
        next.unwrap_or(now + self.patience.straggling)
    }

    /// When all who may have been succeeded have had their time.
    fn last_straggling(&self) -> Option<Instant> {
        self.stragglings().max()
    }

    fn stragglings(&self) -> impl Iterator<Item = Instant> {
        let straggling = self.patience.straggling;
        let witnesses = self.witnesses.values();
        let succeed = witnesses.filter(|it| !self.has_told(&it.node));
        succeed.map(move |it| it.heard + straggling)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::RosterId;

    use super::*;

    const PATIENCE: Patience = Patience {
        lease: Duration::from_secs(5),
        straggling: STRAGGLING,
        deadline: Duration::from_secs(20),
        dead_after: DEAD_AFTER,
        leader_lease: Duration::from_secs(5),
    };
    const DEAD_AFTER: Duration = Duration::from_secs(600);
    const STRAGGLING: Duration = Duration::from_secs(1);

    fn entry(instance: u64) -> Entry {
        Entry {
            node: format!("node-{}", instance % 100),
            instance: InstanceId(instance),
        }
    }

    fn roster(number: u64, members: impl IntoIterator<Item = u64>) -> Roster {
        Roster {
            id: RosterId { epoch: 1, number },
            parity: 2,
            members: members.into_iter().map(entry).collect(),
            before: Vec::new(),
        }
    }

    /// An instance tells of a roster, and of a lease that it gave so long ago.
    fn tell(
        census: &mut Census,
        instance: u64,
        roster: Option<&Roster>,
        obeyed_ms: Option<u64>,
        now: Instant,
    ) {
        let testimony = Testimony {
            roster: roster.cloned(),
            told_ms: 0,
            obeyed_ms,
        };
        let Entry { node, instance } = entry(instance);
        census.heard(&node, &pod(instance.0), instance, testimony, now);
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

    /// A census of 14 names, of which these instances have told of a roster.
    fn census(roster: &Roster, heard: impl IntoIterator<Item = u64>) -> (Census, Instant) {
        let start = Instant::now();
        let mut census = Census::new(14, PATIENCE, start);
        for instance in heard {
            tell(&mut census, instance, Some(roster), None, start);
        }
        (census, start)
    }

    #[test]
    fn a_roster_all_of_whose_members_were_heard_is_believed_at_once() {
        let (census, now) = census(&roster(1, 0..14), 0..14);
        assert_eq!(census.standing(now), Standing::Believe);
        assert_eq!(census.roster(), Some(roster(1, 0..14)));
    }

    #[test]
    fn the_latest_roster_is_believed_whoever_tells_of_it() {
        let (mut census, now) = census(&roster(1, 0..14), 0..13);
        let latest = roster(2, 1..14);
        tell(&mut census, 13, Some(&latest), None, now);
        assert_eq!(census.standing(now), Standing::Believe);
        assert_eq!(census.roster(), Some(latest));
    }

    #[test]
    fn a_proposal_that_too_few_know_of_is_not_believed_once_that_is_known() {
        let before = roster(1, 0..4);
        let proposal = Roster {
            before: before.members.clone(),
            ..roster(2, 1..4)
        };
        let (mut census, now) = census(&before, 0..1);
        tell(&mut census, 1, Some(&proposal), None, now);
        let told = |census: &Census| census.roster().unwrap().members;
        assert_eq!(
            told(&census),
            proposal.members,
            "three of four may know of it"
        );
        tell(&mut census, 2, Some(&before), None, now);
        assert_eq!(told(&census), before.members);
        let settled = roster(2, 1..4);
        tell(&mut census, 3, Some(&settled), None, now);
        assert_eq!(told(&census), settled.members, "it was in force");
    }

    #[test]
    fn members_that_do_not_dial_are_waited_for_until_the_deadline() {
        let (census, now) = census(&roster(1, 0..14), 0..12);
        assert!(matches!(census.standing(now), Standing::Wait(_)));
        assert_eq!(census.standing(now + PATIENCE.deadline), Standing::Believe);
    }

    #[test]
    fn a_member_whose_name_has_another_instance_is_not_waited_for_long() {
        let (mut census, now) = census(&roster(1, 0..14), 0..13);
        tell(&mut census, 113, None, None, now);
        assert_eq!(census.standing(now), Standing::Wait(now + STRAGGLING));
        assert_eq!(census.standing(now + STRAGGLING), Standing::Believe);
    }

    #[test]
    fn too_few_members_decide_nothing() {
        let (census, now) = census(&roster(1, 0..14), 0..6);
        for at in [now, now + PATIENCE.deadline, now + DEAD_AFTER / 2] {
            let standing = census.standing(at);
            assert!(
                matches!(standing, Standing::Wait(until) if until > at),
                "not looked at again at once: {standing:?}"
            );
        }
        assert_eq!(census.standing(now + DEAD_AFTER), Standing::Undecidable);
    }

    #[test]
    fn members_that_values_cannot_do_without_are_waited_for_until_they_are_taken_for_dead() {
        let (mut census, now) = census(&roster(1, 0..14), 0..11);
        let late = now + PATIENCE.deadline;
        assert!(matches!(census.standing(late), Standing::Wait(_)));
        assert_eq!(census.standing(now + DEAD_AFTER), Standing::Believe);
        tell(&mut census, 111, None, None, now);
        assert_eq!(census.standing(late), Standing::Believe, "two are missing");
    }

    #[test]
    fn a_run_that_is_led_by_another_is_one_too_many() {
        let (mut census, now) = census(&roster(1, 0..14), 0..6);
        let at = |seconds| now + Duration::from_secs(seconds);
        census.led(at(1));
        assert!(matches!(census.standing(at(1)), Standing::Wait(_)));
        census.led(at(5));
        assert!(matches!(census.standing(at(5)), Standing::Wait(_)));
        census.led(at(6));
        assert_eq!(census.standing(at(6)), Standing::Led);
    }

    #[test]
    fn a_leader_that_was_heard_of_once_may_have_ended_since() {
        let (mut census, now) = census(&roster(1, 0..14), []);
        let at = |seconds| now + Duration::from_secs(seconds);
        census.led(at(1));
        census.led(at(60));
        assert!(matches!(census.standing(at(60)), Standing::Wait(_)));
    }

    #[test]
    fn a_pool_that_another_run_leads_is_not_one_of_nobody() {
        let start = Instant::now();
        let mut census = Census::new(2, PATIENCE, start);
        let late = start + PATIENCE.deadline;
        tell(&mut census, 0, None, None, start);
        census.led(late);
        assert!(matches!(census.standing(late), Standing::Wait(_)));
    }

    #[test]
    fn one_of_three_decides_when_the_others_were_succeeded() {
        let (mut census, now) = census(&roster(1, 0..3), 0..1);
        assert_eq!(census.standing(now + DEAD_AFTER), Standing::Undecidable);
        tell(&mut census, 101, None, None, now);
        tell(&mut census, 102, None, None, now);
        assert_eq!(census.standing(now + STRAGGLING), Standing::Believe);
    }

    #[test]
    fn the_leases_that_members_gave_are_waited_out() {
        let (_, start) = census(&roster(1, 0..3), []);
        let mut census = Census::new(14, PATIENCE, start);
        let roster = roster(1, 0..3);
        for (instance, obeyed_ms) in [(0, Some(4000)), (1, Some(1000)), (2, None)] {
            tell(&mut census, instance, Some(&roster), obeyed_ms, start);
        }
        let end = start + Duration::from_secs(4);
        assert_eq!(census.standing(start), Standing::Wait(end));
        assert_eq!(census.standing(end), Standing::Believe);
    }

    #[test]
    fn a_member_that_dials_again_does_not_prolong_its_lease() {
        let start = Instant::now();
        let mut census = Census::new(14, PATIENCE, start);
        let roster = roster(1, 0..1);
        tell(&mut census, 0, Some(&roster), Some(0), start);
        let later = start + Duration::from_secs(3);
        tell(&mut census, 0, Some(&roster), Some(0), later);
        assert_eq!(census.standing(start + PATIENCE.lease), Standing::Believe);
    }

    #[test]
    fn a_proposal_is_believed_only_if_nobody_before_it_can_still_give_a_lease() {
        let proposal = Roster {
            before: (0..3).map(entry).collect(),
            ..roster(2, 3..14)
        };
        let (mut census, now) = census(&proposal, 3..14);
        let late = now + DEAD_AFTER;
        assert_eq!(census.standing(late), Standing::Undecidable);
        tell(&mut census, 0, Some(&proposal), None, now);
        assert_eq!(census.standing(late), Standing::Undecidable);
        tell(&mut census, 1, Some(&proposal), None, now);
        assert_eq!(census.standing(now), Standing::Believe);
    }

    #[test]
    fn a_pool_that_never_had_a_member_is_one_of_nobody() {
        let start = Instant::now();
        let mut census = Census::new(2, PATIENCE, start);
        tell(&mut census, 0, None, None, start);
        assert_eq!(
            census.standing(start),
            Standing::Wait(start + PATIENCE.deadline)
        );
        tell(&mut census, 1, None, None, start);
        let lease_ends = start + PATIENCE.lease;
        assert_eq!(census.standing(start), Standing::Wait(lease_ends));
        assert_eq!(census.standing(lease_ends), Standing::Nobody);
    }

    #[test]
    fn instances_that_know_of_nobody_may_have_succeeded_some_who_do() {
        let start = Instant::now();
        let mut census = Census::new(2, PATIENCE, start);
        let late = start + PATIENCE.lease;
        tell(&mut census, 0, None, None, start);
        tell(&mut census, 1, None, None, late);
        assert_eq!(census.standing(late), Standing::Wait(late + STRAGGLING));
        let roster = roster(1, 100..102);
        let mut straggled = Census::new(2, PATIENCE, start);
        for (instance, told) in [
            (0, None),
            (1, None),
            (100, Some(&roster)),
            (101, Some(&roster)),
        ] {
            tell(&mut straggled, instance, told, None, start);
        }
        assert_eq!(straggled.standing(late), Standing::Believe);
        assert_eq!(census.standing(late + STRAGGLING), Standing::Nobody);
    }

    #[test]
    fn a_pool_of_which_some_were_heard_in_time_is_one_of_nobody_too() {
        let start = Instant::now();
        let mut census = Census::new(2, PATIENCE, start);
        let late = start + PATIENCE.deadline;
        assert!(matches!(census.standing(late), Standing::Wait(_)));
        tell(&mut census, 0, None, None, start);
        assert_eq!(census.standing(late), Standing::Nobody);
    }

    #[test]
    fn a_pool_without_pods_is_one_of_nobody_once_no_earlier_run_can_hold_a_lease() {
        let start = Instant::now();
        let mut census = Census::new(14, PATIENCE, start);
        census.expect(14, told(14, []));
        let lease_ends = start + PATIENCE.lease;
        assert_eq!(census.standing(start), Standing::Wait(lease_ends));
        assert_eq!(census.standing(lease_ends), Standing::Nobody);
        assert!(census.is_absent("node-3") && !census.is_absent("another"));
    }

    #[test]
    fn a_pool_each_of_whose_pods_was_heard_has_nobody_who_may_straggle() {
        let start = Instant::now();
        let late = start + PATIENCE.lease;
        let mut census = Census::new(3, PATIENCE, start);
        // One is asleep, and one is about to be replaced.
        census.expect(3, told(3, [0, 1, 101]));
        tell(&mut census, 0, None, None, late);
        tell(&mut census, 101, None, None, late);
        assert_eq!(census.standing(late), Standing::Wait(late + STRAGGLING));
        tell(&mut census, 1, None, None, late);
        assert_eq!(census.progress(), (2, 2));
        assert_eq!(census.standing(late), Standing::Nobody);
    }

    #[test]
    fn a_member_that_has_no_pod_is_not_waited_for() {
        let (mut census, now) = census(&roster(1, 0..14), 0..12);
        census.expect(14, told(14, 0..13));
        assert!(matches!(census.standing(now), Standing::Wait(_)));
        census.expect(14, told(14, 0..12));
        assert_eq!(census.standing(now), Standing::Believe);
    }

    #[test]
    fn a_member_all_of_whose_pods_are_those_of_others_is_not_waited_for() {
        let (mut census, now) = census(&roster(1, 0..14), 0..13);
        census.expect(14, told(14, (0..14).chain([113])));
        tell(&mut census, 113, None, None, now);
        assert_eq!(census.standing(now), Standing::Wait(now + STRAGGLING));
        census.expect(14, told(14, (0..13).chain([113])));
        assert_eq!(census.standing(now), Standing::Believe);
    }

    #[test]
    fn what_those_without_a_pod_have_known_is_unknown() {
        // Those that are gone may have agreed on a roster without these.
        let (mut census, now) = census(&roster(1, 0..14), 0..6);
        census.expect(14, told(14, 0..6));
        assert!(matches!(census.standing(now), Standing::Wait(_)));
        let end = now + PATIENCE.deadline;
        assert_eq!(census.standing(end), Standing::Undecidable);
    }

    #[test]
    fn names_of_which_the_platform_has_not_told_are_waited_for() {
        let start = Instant::now();
        let mut census = Census::new(2, PATIENCE, start);
        census.expect(2, told(1, []));
        let late = start + PATIENCE.lease;
        assert_eq!(census.progress(), (0, 1));
        assert!(matches!(census.standing(late), Standing::Wait(at) if at > late));
        tell(&mut census, 1, None, None, late);
        assert_eq!(census.standing(late), Standing::Wait(late + STRAGGLING));
        assert_eq!(census.standing(late + STRAGGLING), Standing::Nobody);
    }

    #[test]
    fn under_another_epoch_everybody_has_to_be_heard_anew() {
        let (mut census, now) = census(&roster(1, 0..3), 0..3);
        assert_eq!(census.standing(now), Standing::Believe);
        census.begin_anew(now);
        assert_eq!(census.roster(), None);
    }
}

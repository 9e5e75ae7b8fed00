//! Whose chunks count: the roster in force, and the one that is to replace it.
//!
//! ```text
//!   in force ──── join, expel ───▶ proposed ──── stored on a quorum of both ───▶ in force
//! ```
//!
//! One change is under way at a time; what is wanted meanwhile makes up the
//! next. A proposal is sent to the members of both rosters, and again to whoever
//! has not answered. An acknowledgement to a client may count on a change only
//! when it is in force: from then on every later run of the proxy hears of it,
//! as long as no more than `parity` members are lost at once.
//!
//! Members that are known to be gone cannot store anything. Where those that are
//! left are fewer than the quorum the roster goes on with them, because nobody
//! else can. This is counted: a member that was taken for gone, and comes back
//! when the others have gone, might be believed with what it has missed. A member
//! that said goodbye does not come back: a pool that scales to zero forces nothing.

use std::collections::BTreeSet;

use infinicache_host::fail_point;

use super::write_quorum;

type Members<M> = BTreeSet<M>;

/// A roster that members are asked to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<M> {
    /// Later ones have higher numbers.
    pub number: u64,
    /// Whose chunks are to count.
    pub members: Members<M>,
    stored: Members<M>,
}

/// The roster of a pool, as the proxy in charge keeps it.
#[derive(Clone, Debug)]
pub struct Roster<M> {
    parity: usize,
    number: u64,
    in_force: Members<M>,
    proposal: Option<Proposal<M>>,
    wanted: Members<M>,
    gone: Members<M>,
    /// Of these, who said that it would be.
    left: Members<M>,
    /// Who counted before `in_force`, if it is not known to be in force.
    elders: Members<M>,
    /// A roster is to be sent even if it has the same members as the one in force.
    stale: bool,
    forced: u64,
}

impl<M: Copy + Ord> Roster<M> {
    /// A roster of nobody.
    pub fn new(parity: usize) -> Self {
        Self {
            parity,
            number: 0,
            wanted: Members::new(),
            in_force: Members::new(),
            proposal: None,
            gone: Members::new(),
            left: Members::new(),
            elders: Members::new(),
            stale: false,
            forced: 0,
        }
    }

    /// What a run of the proxy begins with that believes `members`, who replaced those `before`.
    ///
    /// Some of them stored an earlier run's roster, perhaps only as a proposal to those
    /// `before`: they all have to store one of this run's, though it be the same.
    pub fn succeed(&mut self, members: Members<M>, before: Members<M>) {
        self.disown();
        self.wanted = members.clone();
        self.in_force = members;
        self.elders = before;
        self.stale = true;
    }

    /// It is of nobody again, and nobody is asked to store it: what it was made of is out of date.
    ///
    /// The numbers go on: some may have stored what was proposed.
    pub fn disown(&mut self) {
        *self = Self {
            number: self.number,
            forced: self.forced,
            ..Self::new(self.parity)
        };
    }

    /// The chunks of an instance shall count.
    pub fn join(&mut self, member: M) {
        if !self.gone.contains(&member) {
            self.wanted.insert(member);
        }
    }

    /// The chunks of a member shall count no longer.
    pub fn expel(&mut self, member: M) {
        self.wanted.remove(&member);
    }

    /// A member is gone for good.
    pub fn lost(&mut self, member: M) {
        let counted = self.may_count(member) || self.elders.contains(&member);
        self.expel(member);
        if counted {
            self.gone.insert(member);
        }
    }

    /// A member has said goodbye, and is gone for good.
    pub fn left(&mut self, member: M) {
        self.lost(member);
        if self.gone.contains(&member) {
            self.left.insert(member);
        }
    }

    /// A member has stored a roster.
    pub fn stored(&mut self, member: M, number: u64) {
        if let Some(proposal) = &mut self.proposal
            && proposal.number == number
        {
            proposal.stored.insert(member);
        }
    }

    /// Puts a proposal that enough have stored in force, and makes a new one of what is wanted.
    /// Whether anything changed.
    pub fn advance(&mut self) -> bool {
        let mut changed = false;
        loop {
            let before = [&self.in_force, &self.elders];
            if let Some(proposal) = self
                .proposal
                .take_if(|it| is_stored(it, before, &self.gone, self.parity))
            {
                let all = before.into_iter().chain([&proposal.members]);
                let left = &self.left;
                let is_short = |members: &Members<M>| {
                    let settled = proposal.stored.union(left).copied().collect();
                    let settled = members.intersection(&settled).count();
                    settled < write_quorum(members.len(), self.parity)
                };
                self.forced += u64::from(all.into_iter().any(is_short));
                self.in_force = proposal.members;
                self.elders = Members::new();
                self.gone.retain(|member| self.in_force.contains(member));
                self.left.retain(|member| self.in_force.contains(member));
                changed = true;
            }
            let is_due = self.wanted != self.in_force || self.stale;
            if self.proposal.is_some() || !is_due {
                return changed;
            }
            self.stale = false;
            self.number += 1;
            self.proposal = Some(Proposal {
                number: self.number,
                members: self.wanted.clone(),
                stored: Members::new(),
            });
            changed = true;
        }
    }

    /// What is to be stored, and by whom it has not been.
    pub fn to_send(&self) -> Option<(&Proposal<M>, Vec<M>)> {
        let proposal = self.proposal.as_ref()?;
        let mut to: Members<M> = self.in_force.union(&proposal.members).copied().collect();
        to.extend(&self.elders);
        to.retain(|member| !proposal.stored.contains(member) && !self.gone.contains(member));
        Some((proposal, to.into_iter().collect()))
    }

    /// Whether the chunks of a member are meant to count.
    pub fn wants(&self, member: M) -> bool {
        self.wanted.contains(&member)
    }

    /// Whether all that is wanted is in force.
    pub fn is_settled(&self) -> bool {
        self.proposal.is_none() && self.wanted == self.in_force && !self.stale
    }

    /// Whether the chunks of a member count.
    pub fn contains(&self, member: M) -> bool {
        self.in_force.contains(&member)
    }

    /// Whether the chunks of a member may count by now or soon, for a later run of the proxy.
    ///
    /// Only who may not can be left out when a value is to be gone from all who count.
    pub fn may_count(&self, member: M) -> bool {
        self.contains(member) || self.is_proposed(member) || self.wants(member)
    }

    /// Whose chunks count.
    pub fn members(&self) -> &Members<M> {
        &self.in_force
    }

    /// Which roster was proposed last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How often a change was put in force by fewer than a quorum, as no more were left.
    pub fn forced(&self) -> u64 {
        self.forced
    }

    fn is_proposed(&self, member: M) -> bool {
        let proposal = self.proposal.as_ref();
        proposal.is_some_and(|proposal| proposal.members.contains(&member))
    }
}

/// Whether a quorum of those before and one of the new members have stored it, or all of them who
/// are there.
fn is_stored<M: Copy + Ord>(
    proposal: &Proposal<M>,
    before: [&Members<M>; 2],
    gone: &Members<M>,
    parity: usize,
) -> bool {
    let mut all = before.into_iter().chain([&proposal.members]);
    if fail_point("roster_quorum") {
        return !proposal.stored.is_empty() || proposal.members.is_empty();
    }
    all.all(|members| {
        stored(proposal, members) >= write_quorum(members.len(), parity)
            || members
                .difference(gone)
                .all(|it| proposal.stored.contains(it))
    })
}

/// How many of `members` have stored it.
fn stored<M: Ord>(proposal: &Proposal<M>, members: &Members<M>) -> usize {
    members.intersection(&proposal.stored).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: impl IntoIterator<Item = u32>) -> Members<u32> {
        ids.into_iter().collect()
    }

    /// A roster of members 0 to `count`, in force.
    fn of(count: u32) -> Roster<u32> {
        let mut roster = Roster::new(2);
        (0..count).for_each(|member| roster.join(member));
        assert!(roster.advance());
        (0..count).for_each(|member| roster.stored(member, 1));
        assert!(roster.advance() || count == 0);
        assert_eq!(*roster.members(), members(0..count));
        roster
    }

    #[test]
    fn the_first_members_count_once_more_than_the_parity_have_stored_it() {
        let mut roster = Roster::new(2);
        (0..3).for_each(|member| roster.join(member));
        assert!(roster.advance());
        for member in 0..3 {
            assert!(!roster.contains(0), "in force too early");
            roster.stored(member, 1);
            roster.advance();
        }
        assert!((0..3).all(|member| roster.contains(member)));
    }

    #[test]
    fn a_member_is_expelled_once_a_majority_has_stored_it() {
        let mut roster = of(14);
        roster.expel(3);
        assert!(roster.advance());
        for member in [0, 1, 2, 4, 5, 6, 7] {
            roster.stored(member, 2);
            roster.advance();
        }
        assert!(roster.contains(3), "seven of fourteen are no majority");
        roster.stored(8, 2);
        assert!(roster.advance());
        assert!(!roster.contains(3));
        assert_eq!(roster.to_send(), None);
    }

    #[test]
    fn a_proposal_is_sent_to_whoever_has_not_stored_it_the_expelled_included() {
        let mut roster = of(4);
        roster.expel(3);
        roster.join(9);
        roster.advance();
        roster.stored(1, 2);
        let (proposal, to) = roster.to_send().unwrap();
        assert_eq!(proposal.members, members([0, 1, 2, 9]));
        assert_eq!(to, [0, 2, 3, 9]);
    }

    #[test]
    fn one_change_is_under_way_at_a_time_and_the_rest_makes_up_the_next() {
        let mut roster = of(5);
        roster.expel(4);
        roster.advance();
        roster.expel(3);
        roster.join(7);
        assert!(!roster.advance());
        (0..4).for_each(|member| roster.stored(member, 2));
        assert!(roster.advance());
        assert!(roster.contains(3) && !roster.contains(4) && !roster.contains(7));
        let (proposal, _) = roster.to_send().unwrap();
        assert_eq!(
            (proposal.number, &proposal.members),
            (3, &members([0, 1, 2, 7]))
        );
    }

    #[test]
    fn answers_to_another_proposal_do_not_count() {
        let mut roster = of(3);
        roster.expel(2);
        roster.advance();
        (0..3).for_each(|member| roster.stored(member, 1));
        assert!(!roster.advance());
        assert!(roster.contains(2));
    }

    #[test]
    fn members_that_are_gone_need_not_store_it() {
        let mut roster = of(3);
        roster.lost(1);
        roster.lost(2);
        roster.advance();
        assert!(roster.contains(1), "until the last one has stored it");
        roster.stored(0, 2);
        assert!(roster.advance());
        assert_eq!(*roster.members(), members([0]));
        assert_eq!(roster.forced(), 1, "three would have had to store it");
    }

    #[test]
    fn too_many_losses_at_once_force_the_change_and_are_counted() {
        let mut roster = of(5);
        (2..5).for_each(|member| roster.lost(member));
        roster.advance();
        (0..2).for_each(|member| roster.stored(member, 2));
        assert!(roster.advance());
        assert_eq!(*roster.members(), members([0, 1]));
        assert_eq!(roster.forced(), 1);
    }

    #[test]
    fn members_that_say_goodbye_one_after_another_force_nothing() {
        let mut roster = of(5);
        for member in 0..5 {
            roster.left(member);
            roster.advance();
            while let Some((proposal, to)) = roster.to_send() {
                let number = proposal.number;
                to.into_iter().for_each(|it| roster.stored(it, number));
                assert!(roster.advance());
            }
        }
        assert_eq!(*roster.members(), members([]));
        assert_eq!(roster.forced(), 0);
    }

    #[test]
    fn what_a_member_stored_that_has_gone_makes_up_for_nobody_who_is_there() {
        let mut roster = of(1);
        roster.join(7);
        roster.advance();
        roster.stored(0, 2);
        roster.left(0);
        assert!(!roster.advance(), "the one who is there has not stored it");
        roster.stored(7, 2);
        assert!(roster.advance());
        assert_eq!(roster.forced(), 0);
    }

    #[test]
    fn goodbyes_do_not_hide_that_others_were_lost() {
        let mut roster = of(5);
        roster.left(4);
        (1..4).for_each(|member| roster.lost(member));
        roster.advance();
        roster.stored(0, 2);
        assert!(roster.advance());
        assert_eq!(
            roster.forced(),
            1,
            "one and a goodbye are no quorum of five"
        );
    }

    #[test]
    fn a_quorum_without_those_that_are_gone_is_not_forced() {
        let mut roster = of(5);
        roster.lost(3);
        roster.lost(4);
        roster.advance();
        (0..3).for_each(|member| roster.stored(member, 2));
        assert!(roster.advance());
        assert_eq!(roster.forced(), 0);
    }

    #[test]
    fn a_pool_that_loses_everybody_goes_on_with_others() {
        let mut roster = of(3);
        (0..3).for_each(|member| roster.lost(member));
        roster.join(5);
        assert!(roster.advance());
        roster.stored(5, 2);
        assert!(roster.advance());
        assert_eq!(*roster.members(), members([5]));
    }

    #[test]
    fn who_is_proposed_may_count_already_and_who_is_expelled_still() {
        let mut roster = of(4);
        roster.expel(0);
        roster.join(8);
        assert!(roster.may_count(8), "it is wanted");
        roster.advance();
        assert!(roster.may_count(8) && !roster.contains(8));
        assert!(roster.may_count(0) && roster.contains(0));
        (1..4).for_each(|member| roster.stored(member, 2));
        roster.stored(8, 2);
        roster.advance();
        assert!(!roster.may_count(0));
    }

    #[test]
    fn a_run_that_succeeds_another_has_its_members_store_a_roster_of_its_own() {
        let mut roster = Roster::new(2);
        roster.succeed(members(0..3), members([]));
        assert!(roster.advance());
        assert!(!roster.is_settled());
        (0..3).for_each(|member| roster.stored(member, 1));
        assert!(roster.advance());
        assert!(roster.is_settled());
        assert_eq!(*roster.members(), members(0..3));
    }

    #[test]
    fn a_run_that_begins_anew_goes_on_with_its_numbers() {
        let mut roster = of(3);
        roster.expel(0);
        roster.advance();
        roster.disown();
        assert!(!roster.advance() && roster.is_settled());
        assert!(!roster.may_count(1));
        roster.succeed(members(5..8), members([]));
        roster.advance();
        assert_eq!(
            roster.to_send().unwrap().0.number,
            3,
            "the second was proposed"
        );
    }

    #[test]
    fn what_was_only_proposed_is_stored_by_those_before_too() {
        let mut roster = Roster::new(1);
        roster.succeed(members(0..3), members(3..6));
        roster.advance();
        assert_eq!(roster.to_send().unwrap().1, [0, 1, 2, 3, 4, 5]);
        (0..4).for_each(|member| roster.stored(member, 1));
        assert!(!roster.advance(), "one of three before is no quorum");
        roster.stored(4, 1);
        assert!(roster.advance());
        assert!(roster.is_settled());
    }

    #[test]
    fn a_member_that_is_gone_does_not_join_again() {
        let mut roster = of(4);
        roster.lost(3);
        roster.advance();
        roster.join(3);
        (0..3).for_each(|member| roster.stored(member, 2));
        roster.advance();
        assert!(!roster.contains(3));
    }
}

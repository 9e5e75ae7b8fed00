//! The joint view: the committed membership view, and the one that is proposed.
//!
//! ```text
//!   committed ──── join, remove ───▶ proposed ──── stored on a quorum of both ───▶ committed
//! ```
//!
//! One change is under way at a time; what is wanted meanwhile makes up the next. A proposal is
//! sent to the members of both views, and again to those that have not answered. An acknowledgement
//! to a client may count on a change only when it is committed: from then on every later run of the
//! proxy hears of it, as long as no more than `parity` members are lost at once.
//!
//! Members that are known to be gone cannot store anything. Where those that are left are fewer
//! than the quorum the view goes on with them: no others could store it. This is counted: a member
//! that was taken for gone, and comes back when the others have gone, might be believed with what
//! it has missed. A member that said goodbye does not come back: a pool that scales to zero forces
//! nothing.

use std::collections::BTreeSet;

use infinicache_host::fail_point;

use super::quorum::write_quorum;

type Members<M> = BTreeSet<M>;

/// A view that members are asked to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<M> {
    /// Later ones have higher numbers.
    pub number: u64,
    /// Whose chunks are to count.
    pub members: Members<M>,
    stored: Members<M>,
}

/// The view of a pool, as the leading proxy keeps it.
#[derive(Clone, Debug)]
pub struct JointView<M> {
    parity: usize,
    number: u64,
    committed: Members<M>,
    proposal: Option<Proposal<M>>,
    desired: Members<M>,
    gone: Members<M>,
    /// Of these, who said that it would be.
    departed: Members<M>,
    /// Who counted before `committed`, if it is not known to be committed.
    old_members: Members<M>,
    /// A view is to be sent even if it has the same members as the one committed.
    republish: bool,
    unsafe_changes: u64,
}

impl<M: Copy + Ord> JointView<M> {
    /// A view without members.
    pub fn new(parity: usize) -> Self {
        Self {
            parity,
            number: 0,
            desired: Members::new(),
            committed: Members::new(),
            proposal: None,
            gone: Members::new(),
            departed: Members::new(),
            old_members: Members::new(),
            republish: false,
            unsafe_changes: 0,
        }
    }

    /// What a run of the proxy begins with that believes `members`, who replaced those
    /// `old_members`.
    ///
    /// Some of them stored an earlier run's view, perhaps only as a proposal to those
    /// `old_members`: they all have to store one of this run's, though it be the same.
    pub fn inherit(&mut self, members: Members<M>, old_members: Members<M>) {
        self.reset_view();
        self.desired = members.clone();
        self.committed = members;
        self.old_members = old_members;
        self.republish = true;
    }

    /// It has no members again, and none is asked to store it: what it was made of is out of date.
    ///
    /// The numbers go on: some may have stored what was proposed.
    pub fn reset_view(&mut self) {
        *self = Self {
            number: self.number,
            unsafe_changes: self.unsafe_changes,
            ..Self::new(self.parity)
        };
    }

    /// The chunks of an instance shall count.
    pub fn join(&mut self, member: M) {
        if !self.gone.contains(&member) {
            self.desired.insert(member);
        }
    }

    /// The chunks of a member shall count no longer.
    pub fn remove(&mut self, member: M) {
        self.desired.remove(&member);
    }

    /// A member is gone for good.
    pub fn lost(&mut self, member: M) {
        let counted = self.may_be_member(member) || self.old_members.contains(&member);
        self.remove(member);
        if counted {
            self.gone.insert(member);
        }
    }

    /// A member has said goodbye, and is gone for good.
    pub fn departed(&mut self, member: M) {
        self.lost(member);
        if self.gone.contains(&member) {
            self.departed.insert(member);
        }
    }

    /// A member has stored a view.
    pub fn stored(&mut self, member: M, number: u64) {
        if let Some(proposal) = &mut self.proposal
            && proposal.number == number
        {
            proposal.stored.insert(member);
        }
    }

    /// Commits a proposal that enough have stored, and makes a new one of what is wanted.
    /// Whether anything changed.
    pub fn advance(&mut self) -> bool {
        let mut changed = false;
        loop {
            let old_members = [&self.committed, &self.old_members];
            if let Some(proposal) = self
                .proposal
                .take_if(|it| is_stored(it, old_members, &self.gone, self.parity))
            {
                let all = old_members.into_iter().chain([&proposal.members]);
                let departed = &self.departed;
                let is_short = |members: &Members<M>| {
                    let settled = proposal.stored.union(departed).copied().collect();
                    let settled = members.intersection(&settled).count();
                    settled < write_quorum(members.len(), self.parity)
                };
                self.unsafe_changes += u64::from(all.into_iter().any(is_short));
                self.committed = proposal.members;
                self.old_members = Members::new();
                self.gone.retain(|member| self.committed.contains(member));
                self.departed
                    .retain(|member| self.committed.contains(member));
                changed = true;
            }
            let is_due = self.desired != self.committed || self.republish;
            if self.proposal.is_some() || !is_due {
                return changed;
            }
            self.republish = false;
            self.number += 1;
            self.proposal = Some(Proposal {
                number: self.number,
                members: self.desired.clone(),
                stored: Members::new(),
            });
            changed = true;
        }
    }

    /// What is to be stored, and by whom it has not been.
    pub fn to_send(&self) -> Option<(&Proposal<M>, Vec<M>)> {
        let proposal = self.proposal.as_ref()?;
        let mut to: Members<M> = self.committed.union(&proposal.members).copied().collect();
        to.extend(&self.old_members);
        to.retain(|member| !proposal.stored.contains(member) && !self.gone.contains(member));
        Some((proposal, to.into_iter().collect()))
    }

    /// Whether the chunks of a member are meant to count.
    pub fn desires(&self, member: M) -> bool {
        self.desired.contains(&member)
    }

    /// Whether all that is wanted is committed.
    pub fn is_stable(&self) -> bool {
        self.proposal.is_none() && self.desired == self.committed && !self.republish
    }

    /// Whether the chunks of a member count.
    pub fn contains(&self, member: M) -> bool {
        self.committed.contains(&member)
    }

    /// Whether the chunks of a member may count by now or soon, for a later run of the proxy.
    ///
    /// Only who may not can be left out when a value is to be gone from all who count.
    pub fn may_be_member(&self, member: M) -> bool {
        self.contains(member) || self.is_proposed(member) || self.desires(member)
    }

    /// Whose chunks count.
    pub fn members(&self) -> &Members<M> {
        &self.committed
    }

    /// Which view was proposed last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How often a change was committed by fewer than a quorum, as no more were left.
    pub fn unsafe_changes(&self) -> u64 {
        self.unsafe_changes
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
    old_members: [&Members<M>; 2],
    gone: &Members<M>,
    parity: usize,
) -> bool {
    let mut all = old_members.into_iter().chain([&proposal.members]);
    if fail_point("view_quorum") {
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

    /// A view of members 0 to `count`, committed.
    fn of(count: u32) -> JointView<u32> {
        let mut view = JointView::new(2);
        (0..count).for_each(|member| view.join(member));
        assert!(view.advance());
        (0..count).for_each(|member| view.stored(member, 1));
        assert!(view.advance() || count == 0);
        assert_eq!(*view.members(), members(0..count));
        view
    }

    #[test]
    fn the_first_members_count_once_more_than_the_parity_have_stored_it() {
        let mut view = JointView::new(2);
        (0..3).for_each(|member| view.join(member));
        assert!(view.advance());
        for member in 0..3 {
            assert!(!view.contains(0), "committed too early");
            view.stored(member, 1);
            view.advance();
        }
        assert!((0..3).all(|member| view.contains(member)));
    }

    #[test]
    fn a_member_is_removed_once_a_majority_has_stored_it() {
        let mut view = of(14);
        view.remove(3);
        assert!(view.advance());
        for member in [0, 1, 2, 4, 5, 6, 7] {
            view.stored(member, 2);
            view.advance();
        }
        assert!(view.contains(3), "seven of fourteen are no majority");
        view.stored(8, 2);
        assert!(view.advance());
        assert!(!view.contains(3));
        assert_eq!(view.to_send(), None);
    }

    #[test]
    fn a_proposal_is_sent_to_whoever_has_not_stored_it_the_removed_included() {
        let mut view = of(4);
        view.remove(3);
        view.join(9);
        view.advance();
        view.stored(1, 2);
        let (proposal, to) = view.to_send().unwrap();
        assert_eq!(proposal.members, members([0, 1, 2, 9]));
        assert_eq!(to, [0, 2, 3, 9]);
    }

    #[test]
    fn one_change_is_under_way_at_a_time_and_the_rest_makes_up_the_next() {
        let mut view = of(5);
        view.remove(4);
        view.advance();
        view.remove(3);
        view.join(7);
        assert!(!view.advance());
        (0..4).for_each(|member| view.stored(member, 2));
        assert!(view.advance());
        assert!(view.contains(3) && !view.contains(4) && !view.contains(7));
        let (proposal, _) = view.to_send().unwrap();
        assert_eq!(
            (proposal.number, &proposal.members),
            (3, &members([0, 1, 2, 7]))
        );
    }

    #[test]
    fn answers_to_another_proposal_do_not_count() {
        let mut view = of(3);
        view.remove(2);
        view.advance();
        (0..3).for_each(|member| view.stored(member, 1));
        assert!(!view.advance());
        assert!(view.contains(2));
    }

    #[test]
    fn members_that_are_gone_need_not_store_it() {
        let mut view = of(3);
        view.lost(1);
        view.lost(2);
        view.advance();
        assert!(view.contains(1), "until the last one has stored it");
        view.stored(0, 2);
        assert!(view.advance());
        assert_eq!(*view.members(), members([0]));
        assert_eq!(view.unsafe_changes(), 1, "three would have had to store it");
    }

    #[test]
    fn too_many_losses_at_once_force_the_change_and_are_counted() {
        let mut view = of(5);
        (2..5).for_each(|member| view.lost(member));
        view.advance();
        (0..2).for_each(|member| view.stored(member, 2));
        assert!(view.advance());
        assert_eq!(*view.members(), members([0, 1]));
        assert_eq!(view.unsafe_changes(), 1);
    }

    #[test]
    fn members_that_say_goodbye_one_after_another_force_nothing() {
        let mut view = of(5);
        for member in 0..5 {
            view.departed(member);
            view.advance();
            while let Some((proposal, to)) = view.to_send() {
                let number = proposal.number;
                to.into_iter().for_each(|it| view.stored(it, number));
                assert!(view.advance());
            }
        }
        assert_eq!(*view.members(), members([]));
        assert_eq!(view.unsafe_changes(), 0);
    }

    #[test]
    fn what_a_member_stored_that_has_gone_makes_up_for_nobody_who_is_there() {
        let mut view = of(1);
        view.join(7);
        view.advance();
        view.stored(0, 2);
        view.departed(0);
        assert!(!view.advance(), "the one who is there has not stored it");
        view.stored(7, 2);
        assert!(view.advance());
        assert_eq!(view.unsafe_changes(), 0);
    }

    #[test]
    fn goodbyes_do_not_hide_that_others_were_lost() {
        let mut view = of(5);
        view.departed(4);
        (1..4).for_each(|member| view.lost(member));
        view.advance();
        view.stored(0, 2);
        assert!(view.advance());
        assert_eq!(
            view.unsafe_changes(),
            1,
            "one and a goodbye are no quorum of five"
        );
    }

    #[test]
    fn a_quorum_without_those_that_are_gone_is_not_forced() {
        let mut view = of(5);
        view.lost(3);
        view.lost(4);
        view.advance();
        (0..3).for_each(|member| view.stored(member, 2));
        assert!(view.advance());
        assert_eq!(view.unsafe_changes(), 0);
    }

    #[test]
    fn a_pool_that_loses_everybody_goes_on_with_others() {
        let mut view = of(3);
        (0..3).for_each(|member| view.lost(member));
        view.join(5);
        assert!(view.advance());
        view.stored(5, 2);
        assert!(view.advance());
        assert_eq!(*view.members(), members([5]));
    }

    #[test]
    fn who_is_proposed_may_count_already_and_who_is_removed_still() {
        let mut view = of(4);
        view.remove(0);
        view.join(8);
        assert!(view.may_be_member(8), "it is wanted");
        view.advance();
        assert!(view.may_be_member(8) && !view.contains(8));
        assert!(view.may_be_member(0) && view.contains(0));
        (1..4).for_each(|member| view.stored(member, 2));
        view.stored(8, 2);
        view.advance();
        assert!(!view.may_be_member(0));
    }

    #[test]
    fn a_run_that_succeeds_another_has_its_members_store_a_view_of_its_own() {
        let mut view = JointView::new(2);
        view.inherit(members(0..3), members([]));
        assert!(view.advance());
        assert!(!view.is_stable());
        (0..3).for_each(|member| view.stored(member, 1));
        assert!(view.advance());
        assert!(view.is_stable());
        assert_eq!(*view.members(), members(0..3));
    }

    #[test]
    fn a_run_that_begins_anew_goes_on_with_its_numbers() {
        let mut view = of(3);
        view.remove(0);
        view.advance();
        view.reset_view();
        assert!(!view.advance() && view.is_stable());
        assert!(!view.may_be_member(1));
        view.inherit(members(5..8), members([]));
        view.advance();
        assert_eq!(
            view.to_send().unwrap().0.number,
            3,
            "the second was proposed"
        );
    }

    #[test]
    fn what_was_only_proposed_is_stored_by_those_before_too() {
        let mut view = JointView::new(1);
        view.inherit(members(0..3), members(3..6));
        view.advance();
        assert_eq!(view.to_send().unwrap().1, [0, 1, 2, 3, 4, 5]);
        (0..4).for_each(|member| view.stored(member, 1));
        assert!(!view.advance(), "one of three before is no quorum");
        view.stored(4, 1);
        assert!(view.advance());
        assert!(view.is_stable());
    }

    #[test]
    fn a_member_that_is_gone_does_not_join_again() {
        let mut view = of(4);
        view.lost(3);
        view.advance();
        view.join(3);
        (0..3).for_each(|member| view.stored(member, 2));
        view.advance();
        assert!(!view.contains(3));
    }
}

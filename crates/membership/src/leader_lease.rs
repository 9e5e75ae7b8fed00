//! The leader's lease: whether this run of the proxy may answer.
//!
//! A member that answered a ping followed this run when the ping was sent. Another
//! run takes over only after a majority has turned to it and the longest lease
//! that they can have given has ended. So a run that has heard from a majority
//! within its lease is the only one that answers.
//!
//! Members that have all fallen silent may have turned to another run. So a run
//! that was left without members by that does not answer before one follows it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::quorum::majority;

/// The part of a lease that is relied on: clocks run at slightly different speeds.
const RELIED_PERCENT: u32 = 90;

/// The lease of a run.
#[derive(Clone, Debug)]
pub struct LeaderLease<M> {
    duration: Duration,
    /// When the last answered ping to each member was sent.
    heard: BTreeMap<M, Instant>,
    /// A member fell silent for good, and none was heard of since.
    isolated: bool,
}

impl<M: Copy + Ord> LeaderLease<M> {
    /// Each answer is worth `duration`.
    pub fn new(duration: Duration) -> Self {
        Self {
            duration: duration * RELIED_PERCENT / 100,
            heard: BTreeMap::new(),
            isolated: false,
        }
    }

    /// A member answered a ping that was sent at `sent`.
    pub fn heard(&mut self, member: M, sent: Instant) {
        let last = self.heard.entry(member).or_insert(sent);
        *last = sent.max(*last);
        self.isolated = false;
    }

    /// A member is one no longer, as it said itself.
    pub fn forget(&mut self, member: M) {
        self.heard.remove(&member);
    }

    /// Every member heard of so far may have turned to another run since.
    pub fn isolate(&mut self) {
        self.isolated = true;
    }

    /// A member fell silent for good.
    pub fn lost(&mut self, member: M) {
        self.forget(member);
        self.isolate();
    }

    /// Whether the run may answer, as far as `members` give it the right to.
    pub fn status<'a>(&self, members: impl IntoIterator<Item = &'a M>) -> LeaseStatus
    where
        M: 'a,
    {
        let mut heard: Vec<Option<Instant>> = members
            .into_iter()
            .map(|member| self.heard.get(member).copied())
            .collect();
        let Some(needed) = majority(heard.len()).checked_sub(1) else {
            return match self.isolated {
                true => LeaseStatus::None,
                false => LeaseStatus::NotNeeded,
            };
        };
        heard.sort_unstable_by(|a, b| b.cmp(a));
        heard[needed].map_or(LeaseStatus::None, |heard| {
            LeaseStatus::Until(heard + self.duration)
        })
    }
}

/// The right to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// There are no members that another run could read values from.
    NotNeeded,
    /// It was given until then.
    Until(Instant),
    /// It was not granted, or the members that granted it have fallen silent.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(10);
    const RELIED: Duration = Duration::from_secs(9);

    #[test]
    fn it_lasts_as_long_as_a_majority_was_heard_of_within_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lease = LeaderLease::new(DURATION);
        for member in 0..5 {
            lease.heard(member, at(member));
        }
        assert_eq!(
            lease.status(&[0, 1, 2, 3, 4]),
            LeaseStatus::Until(at(2) + RELIED)
        );
        lease.heard(0, at(7));
        assert_eq!(
            lease.status(&[0, 1, 2, 3, 4]),
            LeaseStatus::Until(at(3) + RELIED)
        );
        lease.forget(0);
        lease.forget(4);
        assert_eq!(lease.status(&[1, 2, 3]), LeaseStatus::Until(at(2) + RELIED));
    }

    #[test]
    fn without_members_there_is_none_and_none_is_needed() {
        assert_eq!(
            LeaderLease::<u32>::new(DURATION).status(&[]),
            LeaseStatus::NotNeeded
        );
    }

    #[test]
    fn who_was_left_by_silent_members_has_none_until_somebody_is_heard_of() {
        let start = Instant::now();
        let mut lease = LeaderLease::new(DURATION);
        lease.heard(1, start);
        lease.forget(1);
        assert_eq!(lease.status(&[]), LeaseStatus::NotNeeded, "it said goodbye");
        lease.heard(2, start);
        lease.lost(2);
        assert_eq!(lease.status(&[]), LeaseStatus::None);
        lease.heard(3, start);
        assert_eq!(lease.status(&[3]), LeaseStatus::Until(start + RELIED));
        lease.forget(3);
        assert_eq!(lease.status(&[]), LeaseStatus::NotNeeded);
    }

    #[test]
    fn members_that_were_never_heard_of_give_none() {
        let start = Instant::now();
        let mut lease = LeaderLease::new(DURATION);
        lease.heard(1, start);
        assert_eq!(lease.status(&[1, 2, 3]), LeaseStatus::None);
    }

    #[test]
    fn an_answer_to_an_earlier_ping_does_not_shorten_it() {
        let start = Instant::now();
        let mut lease = LeaderLease::new(DURATION);
        lease.heard(1, start + DURATION);
        lease.heard(1, start);
        assert_eq!(
            lease.status(&[1]),
            LeaseStatus::Until(start + DURATION + RELIED)
        );
    }
}

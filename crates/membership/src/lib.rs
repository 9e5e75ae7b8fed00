//! Membership: which instances are members, and which run of the proxy they follow.
//!
//! Everything here is pure: events and the time come in, decisions go out.
//! Chunks live on members, and outlive the proxy. So that a later run cannot be
//! misled by what some of them missed, the members keep a numbered list of whose
//! chunks count; so that an earlier run cannot go on answering beside it, a run
//! answers only while it holds a lease from a majority.
//!
//! - [`joint_view`]: the list, and when a change of it is committed;
//! - [`readmission`]: who is off it for a while, and how they come back;
//! - [`leader_lease`]: whether the run may answer;
//! - [`quorum_timeout`]: how long members are waited for;
//! - [`finish_quorum`]: when a value is complete on all of its members;
//! - [`delete_quorum`]: when a value is gone from all who count;
//! - [`prepare`]: whom a new run believes, and when it has heard enough;
//! - [`label`]: what members keep with a chunk, so that they can tell what it is of;
//! - [`recovered_state`]: which objects there are, from what the members hold.

#![forbid(unsafe_code)]

mod epoch;

pub mod delete_quorum;
pub mod finish_quorum;
pub mod joint_view;
pub mod label;
pub mod leader_lease;
pub mod prepare;
pub mod quorum_timeout;
pub mod readmission;
pub mod recovered_state;

pub use self::epoch::Epoch;

/// How many of `members` have to store a view before it is committed: a majority, and more
/// than `parity`, so that the loss of as many cannot make it unknown.
pub fn write_quorum(members: usize, parity: usize) -> usize {
    majority(members).max((parity + 1).min(members))
}

/// How many of `members` have to be heard so that one of every [`write_quorum`] is among them.
pub fn read_quorum(members: usize, parity: usize) -> usize {
    match members {
        0 => 0,
        _ => members - write_quorum(members, parity) + 1,
    }
}

/// How many of `members` must not follow an earlier run so that it cannot hold a lease.
pub fn fence(members: usize) -> usize {
    match members {
        0 => 0,
        _ => members - majority(members) + 1,
    }
}

/// More than half; none of none.
pub fn majority(members: usize) -> usize {
    match members {
        0 => 0,
        members => members / 2 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_meet_each_other_and_outnumber_the_losses_that_are_borne() {
        for parity in 0..5 {
            for members in 1..40 {
                let (write, read) = (write_quorum(members, parity), read_quorum(members, parity));
                assert!(write <= members && read <= members);
                assert!(write + read > members, "a reader meets every writer");
                assert!(write > parity.min(members - 1));
                assert!(members - fence(members) < majority(members));
            }
        }
        assert_eq!((write_quorum(0, 2), read_quorum(0, 2)), (0, 0));
        assert_eq!((write_quorum(14, 2), read_quorum(14, 2)), (8, 7));
        assert_eq!((write_quorum(3, 2), read_quorum(3, 2)), (3, 1));
        assert_eq!((fence(0), fence(3), fence(14)), (0, 2, 7));
    }
}

//! How many members it takes: to store a view, to know it, to fence an earlier run.

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

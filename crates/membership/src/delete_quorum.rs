//! Delete quorum: when a value, or an earlier expiry of it, is gone for good.
//!
//! A value can be found again as long as k of its chunks are. So a delete may be
//! acknowledged once fewer than k members that count, or may come to count, are
//! left who have not deleted theirs; and a change of expiry once fewer than k
//! are left who have not heard of it. A member that does not answer is removed:
//! then it does not count.

/// Members that have not acknowledged a change yet.
#[derive(Clone, Debug)]
pub struct DeleteQuorum<M> {
    /// How many chunks make the value.
    data: usize,
    left: Vec<(u8, M)>,
}

impl<M: Copy + PartialEq> DeleteQuorum<M> {
    /// A change that each of `holders` has to make to its chunk; `data` chunks make the value.
    pub fn new(data: usize, holders: impl IntoIterator<Item = (u8, M)>) -> Self {
        Self {
            data,
            left: holders.into_iter().collect(),
        }
    }

    /// A member made the change to its chunk.
    pub fn acknowledged(&mut self, index: u8, member: M) {
        self.left.retain(|it| *it != (index, member));
    }

    /// Whether too few are left who `may_be_member` for the old state to be found again.
    pub fn is_reached(&self, may_be_member: impl Fn(M) -> bool) -> bool {
        if self.left.len() < self.data {
            return true;
        }
        let left = self
            .left
            .iter()
            .filter(|(_, member)| may_be_member(*member));
        let mut indexes: Vec<u8> = left.map(|(index, _)| *index).collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes.len() < self.data
    }

    /// Whether every member has to acknowledge.
    pub fn needs_all(&self) -> bool {
        self.data == 1
    }

    /// Who has not answered.
    pub fn outstanding(&self) -> impl Iterator<Item = (u8, M)> {
        self.left.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of 3+2, on members 0 to 4.
    fn quorum() -> DeleteQuorum<u32> {
        DeleteQuorum::new(3, (0..5).map(|index| (index, u32::from(index))))
    }

    #[test]
    fn a_value_is_gone_when_fewer_than_k_chunks_are_left() {
        let mut quorum = quorum();
        for index in 0..3 {
            assert!(!quorum.is_reached(|_| true));
            quorum.acknowledged(index, u32::from(index));
        }
        assert!(quorum.is_reached(|_| true));
        assert_eq!(quorum.outstanding().count(), 2);
    }

    #[test]
    fn members_that_do_not_count_need_not_answer() {
        let mut quorum = quorum();
        quorum.acknowledged(0, 0);
        assert!(!quorum.is_reached(|member| member != 4));
        assert!(quorum.is_reached(|member| member < 3));
    }

    #[test]
    fn two_who_hold_the_same_chunk_are_one_chunk() {
        let mut quorum = DeleteQuorum::new(2, [(0, 1), (0, 2), (1, 3)]);
        quorum.acknowledged(0, 1);
        assert!(!quorum.is_reached(|_| true));
        quorum.acknowledged(0, 2);
        assert!(quorum.is_reached(|_| true));
    }

    #[test]
    fn an_answer_from_somebody_else_changes_nothing() {
        let mut quorum = quorum();
        quorum.acknowledged(0, 4);
        assert_eq!(quorum.outstanding().count(), 5);
    }
}

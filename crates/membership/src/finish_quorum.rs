//! The finish quorum of a commit: which members have completed their chunks.

/// What the members of a write say of their chunks.
#[derive(Debug)]
pub struct FinishQuorum {
    answers: Vec<Option<bool>>,
}

impl FinishQuorum {
    /// Every one of `width` members is asked.
    pub fn new(width: usize) -> Self {
        Self {
            answers: vec![None; width],
        }
    }

    /// A member said that its chunk is complete, or that it is not.
    pub fn answered(&mut self, index: u8, complete: bool) {
        self.answers[usize::from(index)] = Some(complete);
    }

    /// Chunks of which it is not known whether they are complete.
    pub fn silent(&self) -> impl Iterator<Item = u8> {
        self.those(|answer| answer.is_none())
    }

    /// Chunks that are not known to be complete.
    pub fn incomplete(&self) -> Vec<u8> {
        self.those(|answer| answer != Some(true)).collect()
    }

    fn those(&self, are: impl Fn(Option<bool>) -> bool) -> impl Iterator<Item = u8> {
        let answers = (0u8..).zip(&self.answers);
        answers.filter_map(move |(index, answer)| are(*answer).then_some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_whole_once_all_have_completed() {
        let mut quorum = FinishQuorum::new(3);
        for index in 0..3 {
            assert_eq!(quorum.silent().count(), 3 - usize::from(index));
            quorum.answered(index, true);
        }
        assert!(quorum.silent().next().is_none());
        assert!(quorum.incomplete().is_empty());
    }

    #[test]
    fn those_that_do_not_answer_are_silent_and_incomplete() {
        let mut quorum = FinishQuorum::new(4);
        quorum.answered(0, true);
        quorum.answered(3, true);
        assert_eq!(quorum.incomplete(), [1, 2]);
        assert_eq!(quorum.silent().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_chunk_that_its_member_refuses_to_complete_is_incomplete_but_not_silent() {
        let mut quorum = FinishQuorum::new(2);
        quorum.answered(0, false);
        quorum.answered(1, true);
        assert_eq!(quorum.incomplete(), [0]);
        assert_eq!(quorum.silent().count(), 0);
    }
}

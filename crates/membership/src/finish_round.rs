//! The finish round of a commit: which members have completed their chunks, and
//! which are waited for no longer.

use std::time::Instant;

use super::quorum_timeout::QuorumTimeout;

/// A commit's wait for its members.
#[derive(Debug)]
pub struct FinishRound {
    answers: Vec<Option<bool>>,
    parity: usize,
    timeout: QuorumTimeout,
}

impl FinishRound {
    /// Every one of `width` members was asked; the code can spare `parity` of them.
    pub fn new(width: usize, parity: usize, now: Instant) -> Self {
        Self {
            answers: vec![None; width],
            parity,
            timeout: QuorumTimeout::new(now),
        }
    }

    /// A member said that its chunk is complete, or that it is not.
    pub fn answered(&mut self, index: usize, complete: bool, now: Instant) {
        self.answers[index] = Some(complete);
        self.timeout.heard(now);
    }

    /// Until when to wait for the next answer; `None` when all have answered.
    pub fn deadline(&self) -> Option<Instant> {
        match self.silent().count() {
            0 => None,
            silent => Some(self.timeout.ends(silent, self.parity)),
        }
    }

    /// Whether the time is over, now that it seems to be.
    pub fn is_over(&mut self, now: Instant, deadline: Instant) -> bool {
        self.timeout.is_over(now, deadline)
    }

    /// Chunks of which it is not known whether they are complete.
    pub fn silent(&self) -> impl Iterator<Item = u8> {
        (0u8..)
            .zip(&self.answers)
            .filter(|(_, answer)| answer.is_none())
            .map(|(index, _)| index)
    }

    /// Chunks that are not known to be complete.
    pub fn incomplete(&self) -> Vec<u8> {
        let lacks = |(_, answer): &(u8, &Option<bool>)| **answer != Some(true);
        (0u8..)
            .zip(&self.answers)
            .filter(lacks)
            .map(|(index, _)| index)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum_timeout::{CALL_TIMEOUT, STRAGGLER_TIMEOUT};

    #[test]
    fn a_commit_is_whole_once_all_have_completed() {
        let now = Instant::now();
        let mut finishing = FinishRound::new(3, 2, now);
        for index in 0..3 {
            assert!(finishing.deadline().is_some());
            finishing.answered(index, true, now);
        }
        assert_eq!(finishing.deadline(), None);
        assert!(finishing.incomplete().is_empty());
    }

    #[test]
    fn those_that_do_not_answer_in_time_are_silent_and_incomplete() {
        let start = Instant::now();
        let mut finishing = FinishRound::new(4, 2, start);
        finishing.answered(0, true, start);
        assert_eq!(finishing.deadline(), Some(start + CALL_TIMEOUT));
        let later = start + STRAGGLER_TIMEOUT * 5;
        finishing.answered(3, true, later);
        assert_eq!(finishing.deadline(), Some(later + STRAGGLER_TIMEOUT));
        assert_eq!(finishing.incomplete(), [1, 2]);
        assert_eq!(finishing.silent().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_chunk_that_its_member_refuses_to_complete_is_incomplete_but_not_silent() {
        let now = Instant::now();
        let mut finishing = FinishRound::new(2, 1, now);
        finishing.answered(0, false, now);
        finishing.answered(1, true, now);
        assert_eq!(finishing.deadline(), None);
        assert_eq!(finishing.incomplete(), [0]);
        assert_eq!(finishing.silent().count(), 0);
    }
}

//! Who has completed the chunks of a write, and who is waited for no longer.

use std::time::Instant;

use super::patience::Patience;

/// A commit's wait for its members.
#[derive(Debug)]
pub struct Finishing {
    answers: Vec<Option<bool>>,
    parity: usize,
    patience: Patience,
}

impl Finishing {
    /// Every one of `width` members was asked; the code can spare `parity` of them.
    pub fn new(width: usize, parity: usize, now: Instant) -> Self {
        Self {
            answers: vec![None; width],
            parity,
            patience: Patience::new(now),
        }
    }

    /// A member said that its chunk is complete, or that it is not.
    pub fn answered(&mut self, index: usize, complete: bool, now: Instant) {
        self.answers[index] = Some(complete);
        self.patience.heard(now);
    }

    /// Until when to wait for the next answer; `None` when all have answered.
    pub fn deadline(&self) -> Option<Instant> {
        match self.silent().count() {
            0 => None,
            silent => Some(self.patience.ends(silent, self.parity)),
        }
    }

    /// Whether the time is over, now that it seems to be.
    pub fn is_over(&mut self, now: Instant, deadline: Instant) -> bool {
        self.patience.is_over(now, deadline)
    }

    /// Chunks of which nobody knows whether they are complete.
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
    use crate::patience::{LONGEST, SPARED};

    #[test]
    fn a_commit_is_whole_once_all_have_completed() {
        let now = Instant::now();
        let mut finishing = Finishing::new(3, 2, now);
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
        let mut finishing = Finishing::new(4, 2, start);
        finishing.answered(0, true, start);
        assert_eq!(finishing.deadline(), Some(start + LONGEST));
        let later = start + SPARED * 5;
        finishing.answered(3, true, later);
        assert_eq!(finishing.deadline(), Some(later + SPARED));
        assert_eq!(finishing.incomplete(), [1, 2]);
        assert_eq!(finishing.silent().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_chunk_that_its_member_refuses_to_complete_is_incomplete_but_not_silent() {
        let now = Instant::now();
        let mut finishing = Finishing::new(2, 1, now);
        finishing.answered(0, false, now);
        finishing.answered(1, true, now);
        assert_eq!(finishing.deadline(), None);
        assert_eq!(finishing.incomplete(), [0]);
        assert_eq!(finishing.silent().count(), 0);
    }
}

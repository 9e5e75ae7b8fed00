//! Who has completed the chunks of a write, and who is waited for no longer.
//!
//! A Finish queues up behind the units of other writes, so under load all
//! members take long. One that alone keeps the others waiting is another
//! matter: as many as the code can spare are given up a while after the last
//! answer, and replaced. More than that are waited for much longer.

use std::time::{Duration, Instant};

/// How long the last p members may be silent after the last answer of the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A commit's wait for its members.
#[derive(Debug)]
pub(crate) struct Finishing {
    answers: Vec<Option<bool>>,
    parity: usize,
    began: Instant,
    /// When the last answer came.
    heard: Instant,
}

impl Finishing {
    /// Every one of `width` members was asked; the code can spare `parity` of them.
    pub(crate) fn new(width: usize, parity: usize, now: Instant) -> Self {
        Self {
            answers: vec![None; width],
            parity,
            began: now,
            heard: now,
        }
    }

    /// A member said that its chunk is complete, or that it is not.
    pub(crate) fn answered(&mut self, index: usize, complete: bool, now: Instant) {
        self.answers[index] = Some(complete);
        self.heard = now;
    }

    /// Until when to wait for the next answer; `None` when all have answered.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let end = self.began + DEADLINE;
        match self.silent().count() {
            0 => None,
            silent if silent <= self.parity => Some(end.min(self.heard + PATIENCE)),
            _ => Some(end),
        }
    }

    /// Chunks of which nobody knows whether they are complete.
    pub(crate) fn silent(&self) -> impl Iterator<Item = u8> {
        (0u8..)
            .zip(&self.answers)
            .filter(|(_, answer)| answer.is_none())
            .map(|(index, _)| index)
    }

    /// Chunks that are not known to be complete.
    pub(crate) fn incomplete(&self) -> Vec<u8> {
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

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

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
    fn those_that_can_be_spared_are_given_up_a_while_after_the_last_answer() {
        let start = Instant::now();
        let mut finishing = Finishing::new(4, 2, start);
        finishing.answered(0, true, start + seconds(3));
        assert_eq!(finishing.deadline(), Some(start + DEADLINE));
        finishing.answered(3, true, start + seconds(5));
        assert_eq!(finishing.deadline(), Some(start + seconds(5) + PATIENCE));
        assert_eq!(finishing.incomplete(), [1, 2]);
        assert_eq!(finishing.silent().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_slow_pool_is_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let mut finishing = Finishing::new(3, 2, start);
        finishing.answered(0, true, start + DEADLINE);
        assert_eq!(finishing.deadline(), Some(start + DEADLINE));
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

//! The time-out of a quorum call: how long members that were asked the same are waited for.
//!
//! Under load all of them take long. One that alone keeps the others waiting is
//! another matter: as many as the code can spare are given up a while after the
//! last answer. More than that are waited for much longer.

use std::time::{Duration, Instant};

/// How long those that can be spared may be silent after the last answer of the others.
pub const STRAGGLER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that ran out so long before the caller looked was not the members': the caller was paused,
/// and their answers may be there unread, or that they have turned to another run.
const PAUSED: Duration = Duration::from_millis(100);

/// How often a wait may begin anew: a caller that is always paused waits long, but not for ever.
const MOST_RESTARTS: u8 = 5;

/// How long all of it may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A wait for answers.
#[derive(Clone, Copy, Debug)]
pub struct QuorumTimeout {
    began: Instant,
    /// When the last answer came.
    heard: Instant,
    /// How often it has begun anew.
    restarts: u8,
}

impl QuorumTimeout {
    /// They were asked just now.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            heard: now,
            restarts: 0,
        }
    }

    /// One has answered.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether the time is over, now that it seems to be; if not, it begins anew.
    pub fn is_over(&mut self, now: Instant, end: Instant) -> bool {
        let begins_anew = now > end + PAUSED && self.restarts < MOST_RESTARTS;
        if begins_anew {
            *self = Self {
                restarts: self.restarts + 1,
                ..Self::new(now)
            };
        }
        !begins_anew
    }

    /// Until when to wait for `silent` of them, if `spare` can be done without.
    pub fn ends(&self, silent: usize, spare: usize) -> Instant {
        let end = self.began + CALL_TIMEOUT;
        match silent <= spare {
            true => end.min(self.heard + STRAGGLER_TIMEOUT),
            false => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_can_be_spared_are_waited_for_a_while_after_the_last_answer() {
        let start = Instant::now();
        let mut timeout = QuorumTimeout::new(start);
        assert_eq!(timeout.ends(2, 2), start + STRAGGLER_TIMEOUT);
        timeout.heard(start + STRAGGLER_TIMEOUT * 3);
        assert_eq!(timeout.ends(2, 2), start + STRAGGLER_TIMEOUT * 4);
    }

    #[test]
    fn whoever_was_held_up_waits_anew() {
        let start = Instant::now();
        let mut timeout = QuorumTimeout::new(start);
        let end = timeout.ends(1, 2);
        assert!(timeout.is_over(end, end));
        let later = end + STRAGGLER_TIMEOUT * 30;
        assert!(!timeout.is_over(later, end));
        assert_eq!(timeout.ends(1, 2), later + STRAGGLER_TIMEOUT);
    }

    #[test]
    fn whoever_is_always_held_up_does_not_wait_for_ever() {
        let mut now = Instant::now();
        let mut timeout = QuorumTimeout::new(now);
        let begins_anew = |_: &usize| {
            let end = timeout.ends(1, 2);
            now = end + STRAGGLER_TIMEOUT;
            !timeout.is_over(now, end)
        };
        assert_eq!(
            (0..100).take_while(begins_anew).count(),
            usize::from(MOST_RESTARTS)
        );
    }

    #[test]
    fn more_are_waited_for_longer_but_nobody_for_ever() {
        let start = Instant::now();
        let mut timeout = QuorumTimeout::new(start);
        assert_eq!(timeout.ends(3, 2), start + CALL_TIMEOUT);
        timeout.heard(start + CALL_TIMEOUT);
        assert_eq!(timeout.ends(1, 2), start + CALL_TIMEOUT);
    }
}

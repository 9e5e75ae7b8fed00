//! How long to wait for members that were all asked the same.
//!
//! Under load all of them take long. One that alone keeps the others waiting is
//! another matter: as many as the code can spare are given up a while after the
//! last answer. More than that are waited for much longer.

use std::time::{Duration, Instant};

/// How long those that can be spared may be silent after the last answer of the others.
pub const SPARED: Duration = Duration::from_secs(1);

/// Time that ran out so long before anybody looked was not the members': whoever waited was held
/// up, and their answers may be there unread, or that they have turned to another run.
const HELD_UP: Duration = Duration::from_millis(100);

/// How often a wait may begin anew: whoever is always held up waits long, but not for ever.
const ANEW: u8 = 5;

/// How long all of it may take.
pub const LONGEST: Duration = Duration::from_secs(10);

/// A wait for answers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    began: Instant,
    /// When the last answer came.
    heard: Instant,
    /// How often it has begun anew.
    anew: u8,
}

impl Patience {
    /// They were asked just now.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            heard: now,
            anew: 0,
        }
    }

    /// One has answered.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether the time is over, now that it seems to be; if not, it begins anew.
    pub fn is_over(&mut self, now: Instant, end: Instant) -> bool {
        let begins_anew = now > end + HELD_UP && self.anew < ANEW;
        if begins_anew {
            *self = Self {
                anew: self.anew + 1,
                ..Self::new(now)
            };
        }
        !begins_anew
    }

    /// Until when to wait for `silent` of them, if `spare` can be done without.
    pub fn ends(&self, silent: usize, spare: usize) -> Instant {
        let end = self.began + LONGEST;
        match silent <= spare {
            true => end.min(self.heard + SPARED),
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
        let mut patience = Patience::new(start);
        assert_eq!(patience.ends(2, 2), start + SPARED);
        patience.heard(start + SPARED * 3);
        assert_eq!(patience.ends(2, 2), start + SPARED * 4);
    }

    #[test]
    fn whoever_was_held_up_waits_anew() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let end = patience.ends(1, 2);
        assert!(patience.is_over(end, end));
        let later = end + SPARED * 30;
        assert!(!patience.is_over(later, end));
        assert_eq!(patience.ends(1, 2), later + SPARED);
    }

    #[test]
    fn whoever_is_always_held_up_does_not_wait_for_ever() {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        let begins_anew = |_: &usize| {
            let end = patience.ends(1, 2);
            now = end + SPARED;
            !patience.is_over(now, end)
        };
        assert_eq!((0..100).take_while(begins_anew).count(), usize::from(ANEW));
    }

    #[test]
    fn more_are_waited_for_longer_but_nobody_for_ever() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        assert_eq!(patience.ends(3, 2), start + LONGEST);
        patience.heard(start + LONGEST);
        assert_eq!(patience.ends(1, 2), start + LONGEST);
    }
}

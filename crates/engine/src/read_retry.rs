//! When a read is tried again that failed before its first bytes came.
//!
//! A value is located and then read, and what is true of it may change between the two: it is
//! replaced, its chunks move, a node rests. So a failed read says which of these it may have been,
//! and [`ReadRetry`] decides whether the value is located again, and when. The proxy asks it for its
//! Redis clients, the library for its caller.

use std::time::{Duration, Instant};

use infinicache_host::clock;
use tokio::time;

use crate::error::Error;

/// How long to wait before a value whose nodes cannot be reached is tried again: a link that broke
/// is dialled anew, and a node that ended is succeeded, within a second or two.
pub const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// How often a value is located again that was replaced.
const MOST_REPLACED: u32 = 16;

/// Why the first bytes of a value did not come; each with the error for a caller that gives up.
#[derive(Debug)]
pub enum ReadError {
    /// It is not the value of its key any more. There may be another.
    Replaced(Error),
    /// It could not be had from where it is said to be. That may be about to change.
    Unsettled(Error),
    /// Another attempt would not help.
    Final(Error),
}

impl From<Error> for ReadError {
    /// Nodes that cannot be reached may come back; what else went wrong, will again.
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable(_) => Self::Unsettled(error),
            error => Self::Final(error),
        }
    }
}

/// Until when a value is followed that is replaced before it is read.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Times(u32),
    Until(Instant),
}

/// What has gone wrong with one read so far.
#[derive(Clone, Debug)]
pub struct ReadRetry {
    patience: Patience,
    replaced: u32,
    paused: usize,
}

impl Default for ReadRetry {
    /// A read that follows a value for a number of times.
    fn default() -> Self {
        Self::new(Patience::Times(MOST_REPLACED))
    }
}

impl ReadRetry {
    /// A read that follows a value until `deadline`, however often it is replaced.
    pub fn until(deadline: Instant) -> Self {
        Self::new(Patience::Until(deadline))
    }

    fn new(patience: Patience) -> Self {
        Self {
            patience,
            replaced: 0,
            paused: 0,
        }
    }

    /// How long to wait before the value is located again.
    ///
    /// # Errors
    ///
    /// What to give up with.
    pub fn after(&mut self, failed: ReadError, now: Instant) -> Result<Duration, Error> {
        match failed {
            ReadError::Replaced(error) => {
                self.replaced += 1;
                let is_given_up = match self.patience {
                    Patience::Times(most) => self.replaced > most,
                    Patience::Until(deadline) => now >= deadline,
                };
                if is_given_up {
                    return Err(error);
                }
                Ok(Duration::ZERO)
            }
            ReadError::Unsettled(error) => {
                let pause = PAUSES.get(self.paused).copied().ok_or(error)?;
                self.paused += 1;
                Ok(pause)
            }
            ReadError::Final(error) => Err(error),
        }
    }

    /// Returns when the value is to be located again.
    ///
    /// # Errors
    ///
    /// As of [`Self::after`].
    pub async fn wait(&mut self, failed: ReadError) -> Result<(), Error> {
        let pause = self.after(failed, clock::now())?;
        if !pause.is_zero() {
            time::sleep(pause).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced() -> ReadError {
        ReadError::Replaced(Error::Lost { have: 0, need: 1 })
    }

    fn unreachable() -> ReadError {
        Error::Unreachable("no link".into()).into()
    }

    #[test]
    fn a_replaced_value_is_located_again_at_once_and_not_for_ever() {
        let (mut retry, now) = (ReadRetry::default(), Instant::now());
        for _ in 0..MOST_REPLACED {
            assert_eq!(retry.after(replaced(), now).unwrap(), Duration::ZERO);
        }
        let given_up = retry.after(replaced(), now);
        assert!(matches!(given_up, Err(Error::Lost { .. })), "{given_up:?}");
    }

    #[test]
    fn until_a_deadline_it_does_not_matter_how_often() {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(1);
        let mut retry = ReadRetry::until(deadline);
        for _ in 0..10 * MOST_REPLACED {
            assert_eq!(retry.after(replaced(), now).unwrap(), Duration::ZERO);
        }
        assert!(retry.after(replaced(), deadline).is_err());
    }

    #[test]
    fn what_is_unsettled_is_waited_for_with_the_pauses_of_the_whole_read() {
        let (mut retry, now) = (ReadRetry::default(), Instant::now());
        for pause in PAUSES {
            assert_eq!(retry.after(unreachable(), now).unwrap(), pause);
            assert_eq!(retry.after(replaced(), now).unwrap(), Duration::ZERO);
        }
        let given_up = retry.after(unreachable(), now);
        assert!(
            matches!(given_up, Err(Error::Unreachable(_))),
            "{given_up:?}"
        );
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let mut retry = ReadRetry::default();
        let given_up = retry.after(Error::TimedOut("too late").into(), Instant::now());
        assert!(matches!(given_up, Err(Error::TimedOut(_))), "{given_up:?}");
    }
}

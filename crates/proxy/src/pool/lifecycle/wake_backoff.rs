//! Wakes of a node that failed, and when the next may be tried.

use std::time::{Duration, Instant};

use infinicache_backoff::Backoff;
use infinicache_wire::control::WakeFailure;

/// The longest wait after failed wakes.
const MOST_BACKOFF: Duration = Duration::from_secs(30);

/// The failures of wakes in a row.
#[derive(Debug)]
pub(crate) struct WakeBackoff {
    first: Duration,
    failures: u32,
    failure: Option<WakeFailure>,
    retry_at: Option<Instant>,
    random: u64,
}

impl WakeBackoff {
    /// None has failed. About `first` is waited after one that does; `seed` spreads that.
    pub(super) fn new(first: Duration, seed: u64) -> Self {
        Self {
            first,
            failures: 0,
            failure: None,
            retry_at: None,
            random: seed,
        }
    }

    /// Why the last wake failed, until one succeeds.
    pub(crate) fn failure(&self) -> Option<WakeFailure> {
        self.failure
    }

    /// Whether a wake has failed since one succeeded.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether it is waited still.
    pub(super) fn waits(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    pub(super) fn failed(&mut self, failure: WakeFailure, now: Instant) {
        // A node that another run leads is this one's as soon as that run has ended.
        let doublings = match failure {
            WakeFailure::OtherLeader => 1,
            _ => self.failures,
        };
        let backoff = Backoff::new(self.first, MOST_BACKOFF);
        self.retry_at = Some(now + backoff.jittered(doublings, self.random_bits()));
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure);
    }

    /// A wake reached another process than the one that it was for: the next need not wait.
    pub(super) fn reached_other(&mut self) {
        self.failure = Some(WakeFailure::OtherInstance);
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.failure = None;
        self.retry_at = None;
    }

    /// Other bits each time, and of each seed: the nodes of a platform that comes back are not all
    /// woken at once.
    fn random_bits(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 32) as u32
    }
}

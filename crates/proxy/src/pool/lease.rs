//! Whether this run of the proxy may answer: the end of its lease, told without a lock.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use infinicache_host::{clock, fail_point};
use infinicache_membership::leader_lease::LeaseStatus;
use tracing::warn;

/// Stands for a right that is not needed, or that was never given.
const NO_LEASE_NEEDED: u64 = u64::MAX;
const NEVER: u64 = 0;

/// The right to answer. Every command looks at it.
#[derive(Debug)]
pub(crate) struct AnswerLease {
    /// Until when the proxy may answer, in milliseconds after `began`.
    valid_until: AtomicU64,
    /// When the time was last told, in milliseconds after `began`.
    beat: AtomicU64,
    /// A node follows a later run.
    fenced: AtomicBool,
    length: Duration,
    began: Instant,
}

impl AnswerLease {
    /// None is needed yet: there are no members. Their answers are good for `length`.
    pub(super) fn new(length: Duration) -> Self {
        Self {
            valid_until: AtomicU64::new(NO_LEASE_NEEDED),
            beat: AtomicU64::new(0),
            fenced: AtomicBool::new(false),
            length,
            // Before any answer to any ping.
            began: clock::now(),
        }
    }

    /// Whether the proxy may answer: it has the lease of a majority of its members.
    pub(crate) fn may_answer(&self) -> bool {
        if fail_point("lease") {
            return true;
        }
        let now = self.elapsed_ms();
        match self.valid_until.load(Relaxed) {
            // Those of the later run may have what this one does not know of.
            NO_LEASE_NEEDED if self.is_fenced() => false,
            NO_LEASE_NEEDED if fail_point("memberless_for_a_lease_only") => true,
            NO_LEASE_NEEDED => {
                let lease = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX);
                now < self.beat.load(Relaxed).saturating_add(lease)
            }
            until => now < until,
        }
    }

    /// How long an answer of a member is good for.
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Whether the proxy needs no lease, as it has no members that another run could have turned.
    pub(super) fn needs_none(&self) -> bool {
        self.valid_until.load(Relaxed) == NO_LEASE_NEEDED
    }

    /// Whether a node follows a later run.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Relaxed)
    }

    /// A node said that it follows a later run.
    ///
    /// Those that are silent may have turned to that one and be needed there, so whose chunks
    /// count does not change here any more. While a majority still answers, so does this run.
    pub(super) fn fence(&self) {
        if !self.fenced.swap(true, Relaxed) {
            warn!("a node follows a later run of the proxy");
        }
    }

    /// The proxy runs, and was not paused for longer than its lease.
    pub(super) fn beat(&self) {
        self.beat.store(self.elapsed_ms(), Relaxed);
    }

    /// Notes until when the proxy may answer.
    pub(super) fn renew(&self, status: LeaseStatus) {
        let valid_until = match status {
            LeaseStatus::NotNeeded => NO_LEASE_NEEDED,
            LeaseStatus::None => NEVER,
            LeaseStatus::Until(until) => {
                let after = until.saturating_duration_since(self.began);
                u64::try_from(after.as_millis()).unwrap_or(NO_LEASE_NEEDED)
            }
        };
        self.valid_until.store(valid_until, Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from((clock::now() - self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

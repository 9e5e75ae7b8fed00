//! Another run that leads, as nodes say that refuse this one.

use std::time::{Duration, Instant};

/// Whether it was heard of, and for how long.
#[derive(Debug)]
pub(super) struct OtherLeader {
    /// For how long nodes may say so, though it has ended.
    lease: Duration,
    /// When this run was refused first and last because another leads.
    heard: Option<(Instant, Instant)>,
}

impl OtherLeader {
    /// None was heard of; nodes grant it leases of this length.
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, heard: None }
    }

    pub(super) fn heard_of(&mut self, now: Instant) {
        let (first, last) = self.heard.unwrap_or((now, now));
        // What was said long ago was of a run that has ended since.
        let first = if self.is_seen(now) { first } else { now };
        self.heard = Some((first, now.max(last)));
    }

    /// Whether it was heard of lately.
    pub(super) fn is_seen(&self, now: Instant) -> bool {
        let lately = 3 * self.lease;
        self.heard.is_some_and(|(_, last)| now < last + lately)
    }

    /// Whether it was heard of for longer than one that has ended could be taken for one that
    /// leads.
    pub(super) fn is_alive(&self) -> bool {
        let lease = self.lease;
        self.heard
            .is_some_and(|(first, last)| last >= first + lease)
    }
}

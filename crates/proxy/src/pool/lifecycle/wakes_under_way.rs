//! The wakes of a node that are under way beside its member, and when the last was.

use std::time::{Duration, Instant};

/// When which wakes began.
#[derive(Debug, Default)]
pub(super) struct WakesUnderWay {
    /// For a new session: an instance is to dial that has it, perhaps while an older one is there.
    pub(super) awaited: Option<Instant>,
    /// For the session that the member has.
    pub(super) renewing: Option<Instant>,
    /// Responses that are held open.
    held: u32,
    /// When the last began, or the last response that was held open ended.
    last: Option<Instant>,
}

impl WakesUnderWay {
    pub(super) fn await_instance(&mut self, now: Instant) {
        self.awaited = Some(now);
        self.last = Some(now);
    }

    /// Whether an instance has taken longer than `deadline` to dial.
    pub(super) fn is_overdue(&self, now: Instant, deadline: Duration) -> bool {
        self.awaited.is_some_and(|since| now >= since + deadline)
    }

    pub(super) fn renew(&mut self, now: Instant) {
        self.renewing = Some(now);
        self.last = Some(now);
    }

    /// The response to a wake is held open.
    pub(super) fn hold(&mut self) {
        self.held += 1;
    }

    /// A response that was held open has ended; whether nothing keeps the node awake now.
    pub(super) fn let_go(&mut self, now: Instant) -> bool {
        self.held = self.held.saturating_sub(1);
        self.last = Some(now);
        self.held == 0 && self.renewing.is_none() && self.awaited.is_none()
    }

    /// Whether the session of a member is to be renewed, so long after the last wake.
    pub(super) fn is_renewal_due(&self, now: Instant, every: Duration) -> bool {
        let is_due = self.last.is_none_or(|last| now >= last + every);
        is_due && self.held == 0 && self.renewing.is_none()
    }

    /// No time has passed meanwhile.
    pub(super) fn held_up(&mut self, by: Duration) {
        for since in [&mut self.awaited, &mut self.renewing] {
            *since = since.map(|since| since + by);
        }
    }
}

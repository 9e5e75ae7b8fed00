//! When a lifecycle does what.

use std::time::Duration;

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifecycleTimings {
    /// A PING is sent this long after the last.
    pub(crate) ping_every: Duration,
    /// A member that was not heard of for this long is lost if the pool can do without it.
    pub(crate) lost_after: Duration,
    /// A member that was not heard of for this long is lost.
    pub(crate) dead_after: Duration,
    /// How long a woken node may take to dial back.
    pub(crate) wake_deadline: Duration,
    /// A member that was not heard of for this long is pinged before it is relied on.
    pub(crate) preflight_freshness: Duration,
    /// A failed wake is not repeated for about this long, doubled for each further failure.
    pub(crate) wake_backoff: Duration,
    /// A node with data is woken again this long after its last wake, or the platform would stop it.
    pub(crate) keep_awake_every: Duration,
}

impl LifecycleTimings {
    /// A member that was not heard of for this long may be about to be suspected: longer than
    /// between pings, so that it does not hold for one that is well.
    pub(crate) fn silent_after(&self) -> Duration {
        let two_pings = 2 * self.ping_every;
        (self.lost_after / 2).max(two_pings).min(self.lost_after)
    }
}

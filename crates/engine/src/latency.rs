//! How quick members are with their answers, and which are late too often.
//!
//! A read waits for a unit only [`hedge_delay`](LatencyTracker::hedge_delay) long before it
//! asks for another in its place. Patience follows what units took lately, so a
//! busy machine is not mistaken for a broken one. A member whose unit was late
//! is avoided for a while; if it is late again when it is tried next, for twice
//! as long.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_backoff::Backoff;
use infinicache_host::hash::HashMap;
use infinicache_wire::MemberId;

use crate::adaptive_timeout::{AdaptiveTimeout, Bounds};

/// How patience follows latencies.
const PATIENCE: Bounds = Bounds {
    first: Duration::from_millis(100),
    // Less would hedge against the scheduler's noise.
    least: Duration::from_millis(20),
    // However slow everybody is.
    most: Duration::from_millis(400),
    window: 256,
    recent: Duration::MAX,
};

/// After how many answers patience is told anew: every read asks for it.
const REFRESH: usize = 32;

/// How long a member is avoided after a late answer.
const AVOIDANCE: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// Watches the latencies of a process's reads.
#[derive(Debug)]
pub struct LatencyTracker(Mutex<LatencyState>);

#[derive(Debug)]
struct LatencyState {
    latencies: AdaptiveTimeout,
    /// How many there were since `hedge_delay` was told.
    since: usize,
    hedge_delay: Duration,
    late: HashMap<MemberId, Lateness>,
}

#[derive(Clone, Copy, Debug)]
struct Lateness {
    ejected_until: Instant,
    /// How often it was tried since and late again.
    times: u32,
}

impl Default for LatencyTracker {
    fn default() -> Self {
        Self(Mutex::new(LatencyState {
            latencies: AdaptiveTimeout::new(PATIENCE),
            since: 0,
            hedge_delay: PATIENCE.first,
            late: HashMap::default(),
        }))
    }
}

impl LatencyTracker {
    fn state(&self) -> MutexGuard<'_, LatencyState> {
        // The state is plain numbers: whatever a panic left there is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for a unit before another is asked for in its place.
    pub fn hedge_delay(&self) -> Duration {
        self.state().hedge_delay
    }

    /// Whether `member` is better not asked now.
    pub fn is_slow(&self, member: MemberId, now: Instant) -> bool {
        let state = self.state();
        state
            .late
            .get(&member)
            .is_some_and(|lateness| now < lateness.ejected_until)
    }

    /// A unit of `member` came after `latency`.
    pub fn answered(&self, member: MemberId, latency: Duration, now: Instant) {
        let mut state = self.state();
        if latency < state.hedge_delay && !state.late.is_empty() {
            state.late.remove(&member);
        }
        state.latencies.answered(now, latency);
        state.since += 1;
        if state.since == REFRESH {
            state.since = 0;
            state.hedge_delay = state.latencies.timeout(now);
        }
    }

    /// A unit of `member` had not come when patience ended.
    pub fn was_late(&self, member: MemberId, now: Instant) {
        let mut state = self.state();
        let lateness = state.late.entry(member).or_insert(Lateness {
            ejected_until: now,
            times: 0,
        });
        if now >= lateness.ejected_until {
            lateness.ejected_until = now + AVOIDANCE.wait(lateness.times);
            lateness.times = lateness.times.saturating_add(1);
        }
    }

    /// Forgets a member that is gone.
    pub fn forget(&self, member: MemberId) {
        self.state().late.remove(&member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberId = MemberId(1);

    #[test]
    fn a_late_member_is_avoided_for_longer_each_time_until_it_answers_in_time() {
        let latencies = LatencyTracker::default();
        let start = Instant::now();
        latencies.was_late(MEMBER, start);
        assert!(latencies.is_slow(MEMBER, start));
        let again = start + AVOIDANCE.first();
        assert!(!latencies.is_slow(MEMBER, again), "it is tried once more");
        latencies.was_late(MEMBER, again);
        assert!(latencies.is_slow(MEMBER, again + AVOIDANCE.first()));
        assert!(!latencies.is_slow(MEMBER, again + AVOIDANCE.first() * 2));
        latencies.answered(MEMBER, Duration::from_millis(1), again);
        latencies.was_late(MEMBER, again);
        assert!(!latencies.is_slow(MEMBER, again + AVOIDANCE.first()));
    }

    #[test]
    fn several_late_units_of_one_time_count_once() {
        let latencies = LatencyTracker::default();
        let now = Instant::now();
        for _ in 0..100 {
            latencies.was_late(MEMBER, now);
        }
        assert!(!latencies.is_slow(MEMBER, now + AVOIDANCE.first()));
    }

    #[test]
    fn patience_follows_recent_latencies_within_bounds() {
        let (latencies, now) = (LatencyTracker::default(), Instant::now());
        let answers = |millis| {
            for _ in 0..PATIENCE.window {
                latencies.answered(MEMBER, Duration::from_millis(millis), now);
            }
            latencies.hedge_delay()
        };
        assert_eq!(answers(0), PATIENCE.least);
        assert_eq!(answers(10), Duration::from_millis(40));
        assert_eq!(answers(9_000), PATIENCE.most);
    }
}

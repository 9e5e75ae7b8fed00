//! How long a preflight waits for its answer: decided from recent pings, without a clock.
//!
//! On a quiet machine a ping takes a fraction of a millisecond, on one with too
//! much to do a hundred times that. A fixed deadline would either wake live
//! nodes whenever the machine is busy, or take its time over dead ones when it
//! is not.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Never less: schedulers alone may hold a process up for as long.
const LEAST: Duration = Duration::from_millis(300);

/// Never more: whoever waits for the answer has better things to do.
const MOST: Duration = Duration::from_secs(2);

/// Before anything is known.
const FIRST: Duration = Duration::from_secs(1);

/// This many times the 95th percentile of recent latencies is waited for.
const FACTOR: u32 = 4;

/// Which latencies are recent.
const WINDOW: usize = 128;
const RECENT: Duration = Duration::from_secs(60);

/// Recent latencies of pings, and what follows from them.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    latencies: VecDeque<(Instant, Duration)>,
}

impl Patience {
    /// A ping was answered.
    pub(crate) fn answered(&mut self, now: Instant, latency: Duration) {
        if self.latencies.len() == WINDOW {
            self.latencies.pop_front();
        }
        self.latencies.push_back((now, latency));
    }

    /// How long to wait for the answer to a preflight.
    pub(crate) fn timeout(&self, now: Instant) -> Duration {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < RECENT;
        let mut recent: Vec<Duration> = self
            .latencies
            .iter()
            .filter(|(at, _)| is_recent(*at))
            .map(|(_, latency)| *latency)
            .collect();
        if recent.is_empty() {
            return FIRST;
        }
        let rank = recent.len() * 95 / 100;
        let (_, quantile, _) = recent.select_nth_unstable(rank);
        (*quantile * FACTOR).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(latencies: impl IntoIterator<Item = u64>) -> (Patience, Instant) {
        let (mut patience, now) = (Patience::default(), Instant::now());
        for latency in latencies {
            patience.answered(now, millis(latency));
        }
        (patience, now)
    }

    #[test]
    fn patience_follows_recent_latencies_within_bounds() {
        let timeout = |latencies: Vec<u64>| {
            let (patience, now) = after(latencies);
            patience.timeout(now)
        };
        assert_eq!(timeout(vec![]), FIRST);
        assert_eq!(timeout(vec![1; 50]), LEAST);
        assert_eq!(timeout(vec![200; 50]), millis(800));
        assert_eq!(timeout(vec![5_000; 50]), MOST);
    }

    #[test]
    fn one_slow_answer_among_many_changes_nothing() {
        let (patience, now) = after((0..100).map(|n| if n == 50 { 9_000 } else { 100 }));
        assert_eq!(patience.timeout(now), millis(400));
    }

    #[test]
    fn a_machine_that_becomes_busy_is_waited_for_and_one_that_recovers_is_not() {
        let (mut patience, start) = after([1; 200]);
        for second in 1..=10 {
            patience.answered(start + Duration::from_secs(second), millis(250));
        }
        assert_eq!(
            patience.timeout(start + Duration::from_secs(10)),
            millis(1000)
        );
        let later = start + Duration::from_secs(71);
        patience.answered(later, millis(1));
        assert_eq!(
            patience.timeout(later),
            LEAST,
            "old latencies are forgotten"
        );
        assert_eq!(patience.timeout(later + RECENT), FIRST);
    }

    #[test]
    fn no_more_latencies_are_kept_than_count() {
        let (patience, _) = after((0..10_000).map(|n| n % 7));
        assert_eq!(patience.latencies.len(), WINDOW);
    }
}

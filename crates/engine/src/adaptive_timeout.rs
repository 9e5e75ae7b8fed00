//! How long an answer is waited for, from how long such answers took lately.
//!
//! On a quiet machine an answer takes a fraction of a millisecond, on one with too much to do a
//! hundred times that. A fixed time-out would either take live peers for late ones whenever the
//! machine is busy, or take its time over dead ones when it is not. So it is a multiple of a high
//! percentile of recent latencies, within bounds: one slow answer among many changes nothing.
//!
//! Nothing here reads a clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The percentile of recent latencies that counts, and how many times it is waited for.
const PERCENTILE: usize = 95;
const FACTOR: u32 = 4;

/// Between what a time-out adapts, and to which latencies.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Before anything is known.
    pub first: Duration,
    /// Never less.
    pub least: Duration,
    /// Never more.
    pub most: Duration,
    /// How many latencies count.
    pub window: usize,
    /// For how long each does.
    pub recent: Duration,
}

/// A time-out that follows recent latencies.
#[derive(Debug)]
pub struct AdaptiveTimeout {
    bounds: Bounds,
    /// Each with when it was measured.
    latencies: VecDeque<(Instant, Duration)>,
}

impl AdaptiveTimeout {
    /// Nothing is known yet.
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            latencies: VecDeque::new(),
        }
    }

    /// An answer took so long.
    pub fn answered(&mut self, now: Instant, latency: Duration) {
        if self.latencies.len() == self.bounds.window {
            self.latencies.pop_front();
        }
        self.latencies.push_back((now, latency));
    }

    /// How long to wait for the next one. Takes time in proportion to the window.
    pub fn timeout(&self, now: Instant) -> Duration {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < self.bounds.recent;
        let recent = self.latencies.iter().filter(|(at, _)| is_recent(*at));
        let mut recent: Vec<Duration> = recent.map(|(_, latency)| *latency).collect();
        if recent.is_empty() {
            return self.bounds.first;
        }
        let rank = recent.len() * PERCENTILE / 100;
        let (_, latency, _) = recent.select_nth_unstable(rank);
        (*latency * FACTOR).clamp(self.bounds.least, self.bounds.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        first: Duration::from_secs(1),
        least: Duration::from_millis(300),
        most: Duration::from_secs(2),
        window: 128,
        recent: Duration::from_secs(60),
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(latencies: impl IntoIterator<Item = u64>) -> (AdaptiveTimeout, Instant) {
        let (mut timeout, now) = (AdaptiveTimeout::new(BOUNDS), Instant::now());
        for latency in latencies {
            timeout.answered(now, millis(latency));
        }
        (timeout, now)
    }

    #[test]
    fn it_follows_recent_latencies_within_bounds() {
        let timeout = |latencies: Vec<u64>| {
            let (timeout, now) = after(latencies);
            timeout.timeout(now)
        };
        assert_eq!(timeout(vec![]), BOUNDS.first);
        assert_eq!(timeout(vec![1; 50]), BOUNDS.least);
        assert_eq!(timeout(vec![200; 50]), millis(800));
        assert_eq!(timeout(vec![5_000; 50]), BOUNDS.most);
    }

    #[test]
    fn one_slow_answer_among_many_changes_nothing() {
        let (timeout, now) = after((0..100).map(|n| if n == 50 { 9_000 } else { 100 }));
        assert_eq!(timeout.timeout(now), millis(400));
    }

    #[test]
    fn a_machine_that_becomes_busy_is_waited_for_and_one_that_recovers_is_not() {
        let (mut timeout, start) = after([1; 200]);
        for second in 1..=10 {
            timeout.answered(start + Duration::from_secs(second), millis(250));
        }
        let busy = start + Duration::from_secs(10);
        assert_eq!(timeout.timeout(busy), millis(1000));
        let later = start + Duration::from_secs(71);
        timeout.answered(later, millis(1));
        let forgotten = "old latencies are forgotten";
        assert_eq!(timeout.timeout(later), BOUNDS.least, "{forgotten}");
        assert_eq!(timeout.timeout(later + BOUNDS.recent), BOUNDS.first);
    }

    #[test]
    fn no_more_latencies_are_kept_than_count() {
        let (timeout, _) = after((0..10_000).map(|n| n % 7));
        assert_eq!(timeout.latencies.len(), BOUNDS.window);
    }
}

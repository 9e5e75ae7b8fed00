//! Rate limiter: background work takes what clients leave of a rate.
//!
//! What clients move is taken off the rate that is allowed, so that repair goes
//! fast while no client is served, and makes way as soon as one is. A part of the
//! rate is always its own, or a busy cache would never be whole again.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::metrics::Metrics;

/// The part of the rate that clients cannot take away: one in so many.
const OWN_PART: u64 = 4;

/// What was moved longer ago than this is forgotten.
const LONGEST_DEBT: Duration = Duration::from_secs(1);

/// How often it is looked at what clients move.
const TICK: Duration = Duration::from_millis(50);

/// The rate limiter of one of several that work side by side.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiter {
    metrics: Arc<Metrics>,
    bytes_per_second: u64,
    workers: u64,
}

impl RateLimiter {
    /// For `workers` who together may move `bytes_per_second`.
    pub(crate) fn new(metrics: Arc<Metrics>, bytes_per_second: u64, workers: u64) -> Self {
        Self {
            metrics,
            bytes_per_second,
            workers,
        }
    }

    /// Begins a piece of work.
    pub(crate) fn begin(&self) -> Throttle<'_> {
        Throttle {
            limiter: self,
            credit: 0,
            debt: 0,
            at: Instant::now(),
            served: self.metrics.served().bytes(),
        }
    }
}

/// A piece of work, and what it has earned since it began.
#[derive(Debug)]
pub(crate) struct Throttle<'a> {
    limiter: &'a RateLimiter,
    /// Bytes.
    credit: u64,
    /// Bytes that clients moved and that could not be taken off yet: they come in bursts.
    debt: u64,
    at: Instant,
    served: u64,
}

impl Throttle<'_> {
    /// Waits until `bytes` have been earned.
    pub(crate) async fn throttle(mut self, bytes: u64) {
        loop {
            self.collect();
            if self.credit >= bytes {
                return;
            }
            time::sleep(TICK).await;
        }
    }

    fn collect(&mut self) {
        let (now, served) = (Instant::now(), self.limiter.metrics.served().bytes());
        let (elapsed, moved) = (now - self.at, served - self.served);
        let all = of(self.limiter.bytes_per_second, elapsed);
        let (earned, debt) = earned(all, self.debt.saturating_add(moved));
        let own = (earned / self.limiter.workers.max(1)).max(1);
        self.credit = self.credit.saturating_add(own);
        self.debt = debt.min(of(self.limiter.bytes_per_second, LONGEST_DEBT));
        (self.at, self.served) = (now, served);
    }
}

/// What is left of `all` bytes when clients moved `served`; and what of those is yet to be taken off.
fn earned(all: u64, served: u64) -> (u64, u64) {
    let left = all.saturating_sub(served).max(all / OWN_PART);
    (left, served.saturating_sub(all - left))
}

/// Bytes of a time at a rate.
fn of(bytes_per_second: u64, time: Duration) -> u64 {
    let bytes = u128::from(bytes_per_second) * time.as_micros() / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_move_is_taken_off_but_for_a_part() {
        assert_eq!(earned(1600, 0), (1600, 0));
        assert_eq!(earned(1600, 600), (1000, 0));
        assert_eq!(earned(1600, 5000), (400, 3800));
        assert_eq!(earned(0, 7), (0, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn work_gets_done_at_any_rate() {
        let metrics = Arc::new(Metrics::new());
        RateLimiter::new(metrics.clone(), 0, 4)
            .begin()
            .throttle(10)
            .await;
        RateLimiter::new(metrics, u64::MAX, 1)
            .begin()
            .throttle(u64::MAX)
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn work_makes_way_while_clients_are_served_and_goes_on_when_they_are_not() {
        let metrics = Arc::new(Metrics::new());
        let limiter = RateLimiter::new(metrics.clone(), 16_000, 1);
        let began = Instant::now();
        limiter.begin().throttle(16_000).await;
        let alone = began.elapsed();

        let began = Instant::now();
        let working = limiter.begin().throttle(16_000);
        let serving = async {
            for _ in 0..20 {
                metrics.served().given_out(1_600);
                time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::join!(working, serving);
        let beside = began.elapsed();
        let second = Duration::from_secs(1);
        assert!(alone < second + 2 * TICK, "{alone:?}");
        assert!(
            beside > 2 * second + second / 2 && beside < 4 * second,
            "{beside:?}"
        );
    }
}

//! The wall clock of a pool.
//!
//! Times to live and epochs are times of this clock. Every run of the proxy tells its members what
//! it reads, and a later run on a host that is behind goes on from there: what has expired stays
//! expired, and a later epoch is a larger number.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use infinicache_host::{clock, fail_point};

/// The wall clock of a pool. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolClock {
    /// By how many milliseconds the host's clock is behind what an earlier run has told.
    behind: Arc<AtomicU64>,
}

impl PoolClock {
    /// Milliseconds since 1970, and never less than what an earlier run has told its members.
    pub(crate) fn unix_ms(&self) -> u64 {
        clock::unix_ms().saturating_add(self.behind.load(Relaxed))
    }

    /// An earlier run has told a member that it was `told_ms`.
    pub(crate) fn not_before(&self, told_ms: u64) {
        if fail_point("told_time") {
            return;
        }
        let behind = told_ms.saturating_sub(clock::unix_ms());
        self.behind.fetch_max(behind, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn it_goes_on_from_the_latest_time_that_an_earlier_run_has_told() {
        let (clock, told) = (PoolClock::default(), clock::unix_ms() + HOUR);
        clock.not_before(told);
        clock.not_before(told - HOUR / 2);
        assert!((told..told + HOUR / 2).contains(&clock.unix_ms()));
    }

    #[test]
    fn it_is_the_host_s_clock_where_that_is_ahead() {
        let clock = PoolClock::default();
        clock.not_before(clock::unix_ms() - HOUR);
        assert!(clock.unix_ms() < clock::unix_ms() + HOUR / 2);
    }
}

//! The monotonic clock and the wall clock.
//!
//! A test that pauses tokio's timers pauses the monotonic clock with them, and a
//! simulation has a wall clock of its own.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock. Unlike [`Instant::now`], it stands still while a test has paused tokio's
/// timers.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock: milliseconds since 1970, and 0 before.
pub fn unix_ms() -> u64 {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::simulation::unix_ms() {
        return now;
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_monotonic_clock_goes_by_the_timers_of_a_test() {
        let before = now();
        assert_eq!(now(), before);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let slept = now() - before;
        assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601));
    }

    #[test]
    fn the_wall_clock_counts_milliseconds() {
        let year_2020 = 1_577_836_800_000;
        assert!((year_2020..4 * year_2020).contains(&unix_ms()));
    }
}

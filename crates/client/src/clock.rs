//! The clock that timers run by.

use std::time::Instant;

/// The time now. Unlike [`Instant::now`], it stands still when a test stops the timers.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

//! How long what is sent over a simulated network is on its way.

use std::{cell::Cell, time::Duration};

use infinicache_host::simulation::range;

thread_local! {
    static IS_SLOW: Cell<bool> = const { Cell::new(false) };
}

/// Whether what is sent is often late by far.
pub(super) fn set_slow(is_slow: bool) {
    IS_SLOW.set(is_slow);
}

/// How long something is on its way.
pub(super) fn latency() -> Duration {
    let is_slow = IS_SLOW.get();
    let micros = match range(0, 60) {
        0..6 if is_slow => range(50_000, 1_500_000),
        0 => range(10_000, 300_000),
        _ => range(200, 4_000),
    };
    Duration::from_micros(micros)
}

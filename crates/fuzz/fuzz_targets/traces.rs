//! Traces: what is read of them is within its limits.
#![no_main]

use infinicache_bench::replay::trace::{Trace, TraceLimits};
use libfuzzer_sys::fuzz_target;

const LIMITS: TraceLimits = TraceLimits {
    requests: 100,
    largest: 1000,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(trace) = Trace::read(data, LIMITS) {
        assert!((1..=LIMITS.requests).contains(&trace.entries.len()));
        assert!(trace.entries.is_sorted_by_key(|entry| entry.at));
        assert!(trace.largest() <= LIMITS.largest);
        assert!(trace.entries.iter().all(|entry| entry.key < trace.keys));
    }
});

//! Runs seeds on all cores until one fails.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use infinicache_sim::{Faults, Outcome, Scenario, run};

pub(crate) fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// All that was counted, and the first seed that failed.
pub(crate) fn search(
    first: u64,
    count: u64,
    faults: Faults,
    left_out: &[String],
) -> (Outcome, Option<(u64, Vec<String>)>) {
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(u64::MAX);
    let scenario = |seed| Scenario {
        seed,
        faults,
        left_out: left_out.to_vec(),
        log: false,
    };
    let work = || {
        let mut sum = Outcome::default();
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= first + count || seed > failed.load(Relaxed) {
                return sum;
            }
            let outcome = run(&scenario(seed));
            if !outcome.violations.is_empty() {
                failed.fetch_min(seed, Relaxed);
            }
            sum.count(&outcome);
        }
    };
    let sum = thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut sum = work();
        sum.count(&other.join().expect("a run does not panic"));
        sum
    });
    let failed = failed.into_inner();
    let failed = (failed < u64::MAX).then(|| (failed, run(&scenario(failed)).violations));
    (sum, failed)
}

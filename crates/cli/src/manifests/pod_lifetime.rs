//! How long a pod stays that gets no request.
//!
//! ```text
//!   last request        window over       retention over        grace over
//!    ├────────────────────┼─────────────────────┼──── 30 s ──┬────────┤
//!    │ requests are       │ Knative wants none, │ no SIGTERM │ drain  │
//!    │ counted for so long│ but keeps the pod   │ yet        │        │
//! ```
//!
//! The proxy wakes nodes that hold something three times within a window. If
//! there is no proxy, they live on for the rest of the window and the
//! retention: that is the outage that they survive. Nodes that hold nothing
//! stay for as long, and that is its price.

use std::time::Duration;

use anyhow::{Result, ensure};

/// What Knative takes for `window`.
const WINDOW: (Duration, Duration) = (Duration::from_secs(6), Duration::from_hours(1));

/// The longest that Knative takes for `scale-to-zero-pod-retention-period`.
const LONGEST_RETENTION: Duration = Duration::from_hours(1);

/// When a pod that gets no request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodLifetime {
    /// For how long a request keeps it.
    pub window: Duration,
    /// How long it is kept beyond that.
    pub retention: Duration,
}

impl PodLifetime {
    /// The life of nodes that outlive a proxy by `outage`.
    ///
    /// The proxy may go just before it would have woken a node again, a third
    /// of the window after it did. So what is left of the window is what the
    /// next proxy has to start in, and the outage is all retention.
    ///
    /// # Errors
    ///
    /// If Knative would refuse it, or would not do as it says.
    pub fn surviving(outage: Duration, window: Duration) -> Result<Self> {
        for (flag, span) in [("--survive-outage", outage), ("--idle-window", window)] {
            ensure!(
                span.subsec_nanos() == 0,
                "{flag} is {span:?}, whole seconds needed"
            );
        }
        let (shortest, longest) = WINDOW;
        ensure!(
            (shortest..=longest).contains(&window),
            "--idle-window is {window:?}, {shortest:?} to {longest:?} possible"
        );
        ensure!(
            outage <= LONGEST_RETENTION,
            "--survive-outage is {outage:?}, at most {LONGEST_RETENTION:?} possible"
        );
        Ok(Self {
            window,
            retention: outage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(outage: u64, window: u64) -> Result<PodLifetime> {
        PodLifetime::surviving(Duration::from_secs(outage), Duration::from_secs(window))
    }

    #[test]
    fn a_node_that_was_woken_a_third_of_a_window_ago_outlives_the_outage_by_the_rest_of_it() {
        let life = seconds(600, 60).unwrap();
        let left = life.window * 2 / 3 + life.retention;
        assert_eq!(left, Duration::from_secs(640));
    }

    #[test]
    fn what_knative_would_refuse_is_refused_with_its_bounds() {
        let refusal = |outage, window| seconds(outage, window).unwrap_err().to_string();
        assert!(seconds(3600, 3600).is_ok() && seconds(0, 6).is_ok());
        assert!(refusal(600, 5).contains("6s to 3600s possible"));
        assert!(refusal(600, 3601).contains("6s to 3600s possible"));
        assert!(refusal(3601, 60).contains("at most 3600s possible"));
        let odd = PodLifetime::surviving(Duration::from_millis(1500), Duration::from_secs(60));
        assert!(odd.unwrap_err().to_string().contains("whole seconds"));
    }
}

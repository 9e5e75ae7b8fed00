//! A pool that was deleted: all its names are gone, and what it holds is let go.
//!
//! Members whose names are gone are evacuated, but there is no node to move
//! anything to, and each would wait for that for all of its grace, and its host
//! with it. Names that are deleted to be created anew are back before long, and
//! their nodes take over what the members hold. So they are waited for, and no
//! longer than it takes Knative to tell a process that its pod is deleted.

use std::time::Duration;

use tokio::time;
use tracing::{info, warn};

use crate::cache::Cache;

/// How often is looked.
const TICK: Duration = Duration::from_secs(1);

/// For how long there have to be no names: a container gets SIGTERM 30 s after its pod is deleted.
const GRACE: Duration = Duration::from_secs(30);

/// Looks whether the pool was deleted, for ever.
pub(crate) async fn run(cache: Cache) {
    let mut ticks = time::interval(TICK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let objects = cache.metadata().catalog.len();
        let is_deleted = cache.nodes().platform().empty_for() >= GRACE;
        // A proxy that does not lead lets go of nothing that another run may need.
        if !is_deleted || objects == 0 || cache.is_open().is_err() {
            continue;
        }
        info!(objects, "all nodes were deleted: what they hold is let go");
        if let Err(error) = cache.clear().await {
            warn!(%error, "nodes that were deleted may still hold something");
        }
    }
}

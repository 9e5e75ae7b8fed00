//! The proxy dies, or freezes, alone or together with nodes.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time;

use super::stage::{Scenario, Stage};
use crate::{cluster::Node, processes::kill};

/// Longer than the lease of the caches in these scenarios.
const LONG: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_are_killed() {
    Scenario::new("killed proxies")
        .play(async |stage| {
            for _ in 0..3 {
                stage.cluster.restart_proxy().await;
                stage.work().await;
            }
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_are_killed_with_nodes_that_die_and_freeze() {
    Scenario::new("killed proxies and nodes")
        .with(|up| up.env("INFINICACHE_RECOVERY_DEADLINE", "2s"))
        .play(async |stage| {
            let victims = stage.victims().await;
            victims[0].kill();
            victims[1].freeze();
            stage.cluster.restart_proxy().await;
            stage.work().await;
            victims.iter().for_each(Node::thaw);
            stage.work().await;
            stage.until_repaired().await;

            let victims = stage.victims().await;
            victims.iter().for_each(Node::freeze);
            stage.work().await;
            stage.cluster.restart_proxy().await;
            victims.iter().for_each(Node::thaw);
            stage.work().await;
            stage.until_repaired().await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_freeze() {
    Scenario::new("frozen proxies")
        .with(|up| up.env("INFINICACHE_LEASE", "2s"))
        .play(async |stage| {
            freeze(stage, Duration::from_millis(500)).await;
            stage.work().await;
            freeze(stage, LONG).await;
            stage.work().await;
            stage.until_repaired().await;
        })
        .await;
}

async fn freeze(stage: &Stage, how_long: Duration) {
    let proxy = stage.cluster.proxy().await;
    kill(proxy, Signal::STOP);
    time::sleep(how_long).await;
    kill(proxy, Signal::CONT);
}

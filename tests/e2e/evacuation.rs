//! Nodes are told to go, and what they hold moves to others first.

use std::time::{Duration, Instant};

use crate::{
    cluster::{Cluster, Node, SECRET, until},
    openmetrics::Metrics,
    processes::until_gone,
    stored::Stored,
    traffic::Traffic,
};

const EVACUATED: &str = "infinicache_proxy_evacuated_chunks_total";

async fn traffic(cluster: &Cluster, clients: usize) -> Traffic {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(cluster.redis().await);
    }
    Traffic::start(connections)
}

fn assert_nothing_lost(metrics: &Metrics) {
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    let aborted = metrics.of(
        "infinicache_proxy_connections_closed_total",
        "reason",
        "aborted_reply",
    );
    assert_eq!(aborted, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_nodes_loses_nothing_and_fails_no_request() {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 3).await;
    let traffic = traffic(&cluster, 3).await;
    let mut longest = Duration::ZERO;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.extend(cluster.awake().await);
    }
    assert!(nodes.len() >= 36);
    for node in &nodes {
        // As it is now: it may have been replaced since.
        let node = &cluster.node(&node.name).await;
        let began = Instant::now();
        node.terminate();
        for pid in &node.pids {
            until_gone(*pid).await;
        }
        longest = longest.max(began.elapsed());
    }
    let tally = traffic.stop().await;
    tally.assert_clean();
    stored.assert_all().await;
    let metrics = cluster.metrics().await;
    assert_nothing_lost(&metrics);
    let direct = metrics.of(EVACUATED, "route", "direct");
    let relayed = metrics.of(EVACUATED, "route", "relayed");
    println!(
        "{} nodes, {} requests, slowest {:?}, {direct} chunks direct, {relayed} relayed, longest drain {longest:?}",
        nodes.len(),
        tally.requests,
        tally.slowest
    );
    assert!(direct > 0.0 && relayed <= direct / 10.0);
    // No node had to be waited for until its time was over.
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_all_replaced_at_once_hand_over_to_their_successors() {
    // The front stops nodes much sooner than this proxy thinks: all of them, again and again.
    let cluster = Cluster::start(|up| up.idle_window("4s").env("INFINICACHE_SECRET", SECRET)).await;
    let env = [
        ("INFINICACHE_NODE_IDLE_WINDOW", "600s"),
        ("INFINICACHE_PREDECESSOR", "none"),
    ];
    let proxy = cluster.another_proxy(&env).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(proxy.redis().await);
    }
    let traffic = Traffic::start(connections);
    until("nodes are replaced twice", async || {
        let nodes = cluster.nodes().await;
        let replaced = |node: &&Node| node.started >= 3;
        (nodes.iter().filter(replaced).count() >= 10).then_some(())
    })
    .await;
    let tally = traffic.stop().await;
    let metrics = proxy.metrics().await;
    let direct = metrics.of(EVACUATED, "route", "direct");
    let relayed = metrics.of(EVACUATED, "route", "relayed");
    println!(
        "{} requests, slowest {:?}, {direct} chunks direct, {relayed} relayed",
        tally.requests, tally.slowest
    );
    tally.assert_clean();
    assert_nothing_lost(&metrics);
    assert!(direct > 0.0);
}

/// Sends SIGTERM to the processes of so many nodes at once, as an operator does who knows of
/// nothing else.
async fn terminate_at_once(count: usize) {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 20).await;
    let mut nodes = cluster.awake().await;
    assert!(nodes.len() >= 12);
    nodes.truncate(count);
    let began = Instant::now();
    nodes.iter().for_each(Node::terminate);
    for pid in nodes.iter().flat_map(|node| &node.pids) {
        until_gone(*pid).await;
    }
    let metrics = cluster.metrics().await;
    let failed = metrics.total("infinicache_proxy_evacuation_failures_total");
    println!(
        "{} nodes gone after {:?}, {failed} attempts failed",
        nodes.len(),
        began.elapsed()
    );
    stored.assert_all().await;
    assert_nothing_lost(&cluster.metrics().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_to_more_nodes_than_can_be_spared_loses_nothing() {
    terminate_at_once(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_to_all_nodes_at_once_loses_nothing() {
    terminate_at_once(usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nodes_do_not_reach_each_other_chunks_move_through_the_proxy() {
    let cluster = Cluster::start(|up| up.env("INFINICACHE_DIRECT_PORT", "off")).await;
    let mut stored = Stored::new(&cluster, 2).await;
    for node in cluster.awake().await.iter().take(3) {
        node.terminate();
        for pid in &node.pids {
            until_gone(*pid).await;
        }
    }
    stored.assert_all().await;
    let metrics = cluster.metrics().await;
    assert_nothing_lost(&metrics);
    assert_eq!(metrics.of(EVACUATED, "route", "direct"), 0.0);
    assert!(metrics.of(EVACUATED, "route", "relayed") > 0.0);
}

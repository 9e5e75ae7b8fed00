//! Wakes whose answers are held open: the session of a node ends, its chunks stay.

use std::time::{Duration, Instant};

use tokio::time;

use crate::{
    cluster::{Cluster, until},
    values::Value,
};

/// For how long values are read while sessions end and begin.
const READING: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_are_followed_by_others_and_nobody_notices() {
    let cluster = Cluster::start(|up| {
        up.env("INFINICACHE_HOLD_WAKES", true)
            .env("INFINICACHE_BILLING_CYCLE", "200ms")
            .env("INFINICACHE_SESSION_GUARD", "20ms")
            .env("INFINICACHE_SESSION_EXTENSION", "300ms")
            .env("INFINICACHE_SESSION_MAXIMUM", "1s")
            .idle_window("2s")
    })
    .await;
    let client = cluster.client().await;
    let values = [1, 5_000, 3_000_000].map(|size| Value::new(size, size.into()));
    for (number, value) in values.iter().enumerate() {
        let key = format!("key-{number}");
        client.put(&key, value.bytes()).await.unwrap();
    }
    let before = cluster.awake().await;

    let began = Instant::now();
    while began.elapsed() < READING {
        for (number, value) in values.iter().enumerate() {
            value.assert_is(&client.get(&format!("key-{number}")).await.unwrap());
        }
        // Now and then long enough for every session to end meanwhile.
        time::sleep(Duration::from_millis(400)).await;
    }

    let metrics = cluster.metrics().await;
    let ended = metrics.of(
        "infinicache_proxy_node_byes_total",
        "reason",
        "session_over",
    );
    assert!(ended >= before.len() as f64, "{ended} sessions ended");
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    // It is the same processes all along: they hold what they held.
    for node in before {
        assert_eq!(cluster.node(&node.name).await.pids, node.pids);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_busy_for_as_long_as_its_wake_is_held() {
    let cluster = Cluster::start(|up| {
        up.env("INFINICACHE_HOLD_WAKES", true)
            .env("INFINICACHE_BILLING_CYCLE", "3s")
            .env("INFINICACHE_SESSION_MAXIMUM", "3s")
            .idle_window("300ms")
    })
    .await;
    let client = cluster.client().await;
    client
        .put("key", Value::new(1, 5_000).bytes())
        .await
        .unwrap();
    let awake = cluster.awake().await;
    assert!(client.delete("key").await.unwrap());

    // Several idle windows later the platform still has requests under way.
    time::sleep(Duration::from_millis(1_200)).await;
    for node in &awake {
        assert_eq!(cluster.node(&node.name).await.pids, node.pids);
    }
    until("all nodes go once their sessions are over", async || {
        let nodes = cluster.nodes().await;
        nodes.iter().all(|node| node.pids.is_empty()).then_some(())
    })
    .await;
}

//! What operators see: probes and metrics.

use std::collections::BTreeSet;

use redis::AsyncCommands;

use crate::cluster::{Cluster, dbsize};

const README: &str = include_str!("../../README.md");

/// The metrics that README.md lists: in code marks, in the first column of the
/// tables whose heads tell what the names begin with.
fn documented() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut prefix = None;
    for line in README.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            prefix = None;
            continue;
        };
        let first = row.split(" | ").next().unwrap();
        // Every second part is between code marks.
        let mut marked = first.split('`').skip(1).step_by(2);
        if first.starts_with("metric (") {
            prefix = marked.next().and_then(|name| name.strip_suffix("..."));
        } else if let Some(prefix) = prefix {
            names.extend(marked.map(|name| format!("{prefix}{name}")));
        }
    }
    names
}

#[tokio::test]
async fn metrics_are_those_that_are_documented_and_no_others() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    // Commands appear when they have been used; the rest from the start.
    let _: Option<String> = cluster.redis().await.get("none").await.unwrap();
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.names(), documented());
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let mut redis = cluster.redis().await;
    let () = redis.set("key", vec![1; 100_000]).await.unwrap();
    let _: Vec<u8> = redis.get("key").await.unwrap();
    let _: Option<Vec<u8>> = redis.get("none").await.unwrap();
    let metrics = cluster.metrics().await;
    for (name, label, value, expected) in [
        ("infinicache_proxy_commands_total", "command", "set", 1.0),
        ("infinicache_proxy_commands_total", "command", "get", 2.0),
        (
            "infinicache_proxy_command_duration_seconds_count",
            "command",
            "get",
            2.0,
        ),
        ("infinicache_proxy_reads_total", "result", "hit", 1.0),
        ("infinicache_proxy_reads_total", "result", "miss", 1.0),
        (
            "infinicache_proxy_value_bytes_total",
            "direction",
            "in",
            1e5,
        ),
        (
            "infinicache_proxy_value_bytes_total",
            "direction",
            "out",
            1e5,
        ),
        ("infinicache_proxy_nodes", "state", "active", 3.0),
        ("infinicache_proxy_nodes", "state", "asleep", 1.0),
        ("infinicache_proxy_wakes_total", "result", "woken", 3.0),
    ] {
        assert_eq!(metrics.of(name, label, value), expected, "{name} {value}");
    }
    for (name, expected) in [
        ("infinicache_proxy_objects", 1.0),
        ("infinicache_proxy_objects_bytes", 1e5),
        ("infinicache_proxy_connections", 1.0),
        ("infinicache_proxy_nodes_joined_total", 3.0),
        ("infinicache_proxy_objects_lost_total", 0.0),
        ("infinicache_proxy_buffer_used_bytes", 0.0),
    ] {
        assert_eq!(metrics.total(name), expected, "{name}");
    }
    assert_eq!(
        metrics
            .labels("infinicache_node_placed_bytes", "node")
            .len(),
        3
    );
    assert!(metrics.total("infinicache_node_placed_bytes") >= 150_000.0);
}

#[tokio::test]
async fn looking_at_a_cache_starts_no_node() {
    let cluster = Cluster::start(|up| up).await;
    for _ in 0..20 {
        cluster.metrics().await;
        assert_eq!(cluster.page("/healthz").await, (200, "ok\n".into()));
        assert_eq!(cluster.page("/readyz").await, (200, "ready\n".into()));
    }
    let mut redis = cluster.redis().await;
    let _: String = redis::cmd("INFO").query_async(&mut redis).await.unwrap();
    let _: Option<String> = redis.get("none").await.unwrap();
    assert_eq!(dbsize(&mut redis).await, 0);
    let view = cluster.client().await.pool().await.unwrap();
    assert_eq!(view.nodes.len(), 14);
    assert!(cluster.nodes().await.iter().all(|node| node.started == 0));
}

#[tokio::test]
async fn a_page_that_is_not_there_is_not_found() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    assert_eq!(cluster.page("/nowhere").await.0, 404);
}

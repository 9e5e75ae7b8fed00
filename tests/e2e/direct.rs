//! Data goes straight between the Rust client and the nodes, where they reach each other.

use infinicache_client::{Client, Options};

use crate::{
    cluster::{Cluster, until},
    values::Value,
};

const MB: u64 = 1_000_000;

async fn relayed(cluster: &Cluster) -> f64 {
    let metrics = cluster.metrics().await;
    metrics.total("infinicache_proxy_relayed_bytes_total")
}

/// Stores and reads a value; how many bytes the proxy relayed for it.
async fn round(cluster: &Cluster, client: &Client, number: u32) -> f64 {
    let before = relayed(cluster).await;
    let value = Value::new(number, 3 * MB);
    client.put("key", value.bytes()).await.unwrap();
    value.assert_is(&client.get("key").await.unwrap());
    relayed(cluster).await - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_a_client_has_reached_the_nodes_nothing_is_relayed() {
    let cluster = Cluster::start(|up| up.nodes(12)).await;
    let client = cluster.client().await;
    let mut number = 0;
    until("no byte is relayed", async || {
        number += 1;
        (round(&cluster, &client, number).await == 0.0).then_some(())
    })
    .await;

    // A node that starts anew is reached as well; what it lost is made up for.
    let victim = cluster.awake().await.remove(0);
    victim.kill();
    Value::new(number, 3 * MB).assert_is(&client.get("key").await.unwrap());
    until("no byte is relayed again", async || {
        number += 1;
        (round(&cluster, &client, number).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_want_to_or_cannot_goes_through_the_relay() {
    let cluster = Cluster::start(|up| up.nodes(12)).await;
    let client = cluster.client_with(Options::default().direct(false)).await;
    for number in 1..4 {
        assert!(round(&cluster, &client, number).await >= 6.0 * MB as f64);
    }

    let cluster = Cluster::start(|up| up.nodes(12).env("INFINICACHE_DIRECT_PORT", "off")).await;
    let client = cluster.client().await;
    for number in 1..4 {
        assert!(round(&cluster, &client, number).await >= 6.0 * MB as f64);
    }
}

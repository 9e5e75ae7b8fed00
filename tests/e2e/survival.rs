//! Nodes are killed.

use crate::{
    cluster::{Cluster, Node, until},
    random::Random,
    stored::Stored,
    values::Value,
};

/// Waits until the proxy has seen so many nodes go, and all is whole again.
async fn until_recovered(cluster: &Cluster, stored: &Stored, lost: f64) {
    until("the proxy notices", async || {
        let metrics = cluster.metrics().await;
        let seen = metrics.total("infinicache_proxy_nodes_lost_total");
        (seen >= lost).then_some(())
    })
    .await;
    cluster.until_whole(stored.keys()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_nodes_may_be_killed_and_then_any_two_others() {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 3).await;
    let mut random = Random::new("survival");
    let first: Vec<Node> = random.choose(2, &cluster.awake().await);

    let reading = stored.keep_reading();
    first.iter().for_each(Node::kill);
    stored.assert_all().await;
    // Writes go on too.
    for number in 0..4 {
        let value = Value::new(1000 + number, 1_500_000);
        stored.add(value).await;
    }
    cluster.until_woken_again(&first).await;
    until_recovered(&cluster, &stored, 2.0).await;
    reading.stop().await;
    stored.assert_all().await;

    let others = cluster.awake().await.into_iter();
    let is_other = |node: &Node| first.iter().all(|killed| killed.name != node.name);
    let others: Vec<Node> = others.filter(is_other).collect();
    let second = random.choose(2, &others);
    let reading = stored.keep_reading();
    second.iter().for_each(Node::kill);
    stored.assert_all().await;
    cluster.until_woken_again(&second).await;
    until_recovered(&cluster, &stored, 4.0).await;
    reading.stop().await;
    stored.assert_all().await;

    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    assert!(metrics.total("infinicache_proxy_repaired_chunks_total") > 0.0);
    let aborted = metrics.of(
        "infinicache_proxy_connections_closed_total",
        "reason",
        "aborted_reply",
    );
    assert_eq!(aborted, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_nodes_killed_at_once_exactly_what_all_three_held_is_lost_and_counted() {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 6).await;
    let client = cluster.client().await;
    let victims = Random::new("three").choose(3, &cluster.awake().await);
    let mut doomed = Vec::new();
    for key in stored.keys() {
        let stat = client.stat(key).await.unwrap();
        let held = |node: &Node| {
            stat.chunks
                .iter()
                .any(|chunk| chunk.node.as_ref() == Some(&node.name))
        };
        if victims.iter().all(held) {
            doomed.push(key.to_owned());
        }
    }

    victims.iter().for_each(Node::kill);
    // Whatever is read meanwhile is right or missing.
    stored.missing().await;
    cluster.until_woken_again(&victims).await;
    until_recovered(&cluster, &stored, 3.0).await;
    assert_eq!(stored.missing().await, doomed);
    let metrics = cluster.metrics().await;
    let lost = metrics.total("infinicache_proxy_objects_lost_total");
    assert_eq!(lost, doomed.len() as f64);
    assert!(!doomed.is_empty() && doomed.len() < stored.keys().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_of_which_every_node_was_killed_serves_again() {
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2)).await;
    let mut stored = Stored::new(&cluster, 1).await;
    let nodes = cluster.awake().await;
    nodes.iter().for_each(Node::kill);
    cluster.until_woken_again(&nodes).await;
    until_recovered(&cluster, &stored, nodes.len() as f64).await;
    assert_eq!(stored.missing().await.len(), stored.keys().count());
    let metrics = cluster.metrics().await;
    assert_eq!(
        metrics.total("infinicache_proxy_objects_lost_total"),
        stored.keys().count() as f64
    );
    Stored::new(&cluster, 1).await.assert_all().await;
}

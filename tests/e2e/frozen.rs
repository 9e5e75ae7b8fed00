//! A node is there, but does nothing.

use redis::AsyncCommands;

use crate::{
    cluster::{Cluster, Node, until},
    random::Random,
    stored::Stored,
    values::Value,
};

/// Freezes a node, goes on reading and writing, thaws it.
async fn freeze(cluster: &Cluster, stored: &mut Stored, until_lost: bool) {
    let lost = async || {
        let metrics = cluster.metrics().await;
        metrics.total("infinicache_proxy_nodes_lost_total")
    };
    let before = lost().await;
    let node = Random::new("frozen")
        .choose(1, &cluster.awake().await)
        .remove(0);
    node.freeze();
    stored.assert_all().await;
    for number in 0..3 {
        stored.add(Value::new(1000 + number, 1_500_000)).await;
        stored.add(Value::new(2000 + number, 5_000)).await;
    }
    if until_lost {
        until("a node that is silent is given up", async || {
            (lost().await > before).then_some(())
        })
        .await;
    }
    stored.assert_all().await;
    node.thaw();
    stored.assert_all().await;
    cluster.until_whole(stored.keys()).await;
    stored.assert_all().await;
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_node_is_frozen_for_a_moment_everything_goes_on() {
    let cluster = Cluster::start(|up| up).await;
    let mut stored = Stored::new(&cluster, 2).await;
    freeze(&cluster, &mut stored, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_that_was_given_up_comes_back_and_does_no_harm() {
    let cluster = Cluster::start(|up| up.lost_after("3s")).await;
    let mut stored = Stored::new(&cluster, 2).await;
    freeze(&cluster, &mut stored, true).await;
    // Whatever it still holds of deleted and replaced values is not believed.
    until("all nodes take part again", async || {
        let metrics = cluster.metrics().await;
        let active = metrics.of("infinicache_proxy_nodes", "state", "active");
        (active == cluster.awake().await.len() as f64).then_some(())
    })
    .await;
    stored.assert_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_values_cannot_do_without_are_waited_for_however_many_are_silent() {
    // Long enough that all who fall silent at once are known to be before one is given up.
    let cluster = Cluster::start(|up| up.lost_after("4s")).await;
    let mut stored = Stored::new(&cluster, 3).await;
    let awake = cluster.awake().await;
    for count in [5, awake.len()] {
        let suspected = async || {
            let metrics = cluster.metrics().await;
            metrics.total("infinicache_proxy_nodes_suspected_total")
        };
        let before = suspected().await;
        let frozen = Random::new("silent").choose(count, &awake);
        frozen.iter().for_each(Node::freeze);
        until("all that are silent were suspected twice", async || {
            (suspected().await >= before + 2.0 * count as f64).then_some(())
        })
        .await;
        frozen.iter().for_each(Node::thaw);
        cluster.until_whole(stored.keys()).await;
        stored.assert_all().await;
    }
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    assert_eq!(metrics.total("infinicache_proxy_nodes_lost_total"), 0.0);
    assert_eq!(metrics.total("infinicache_proxy_unsafe_view_changes"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_takes_writes_while_nodes_that_were_given_up_do_not_wake() {
    let cluster = Cluster::start(|up| up.memory("2MiB").lost_after("3s")).await;
    let mut redis = cluster.redis().await;
    let mut fill = async |keys: std::ops::Range<u32>| {
        for key in keys {
            let value = Value::new(key, 3_000_000);
            let () = redis.set(key, value.bytes()).await.unwrap();
            value.assert_is(&redis.get::<_, Vec<u8>>(key).await.unwrap());
        }
    };
    // More than the pool holds: from here on a write must make its room.
    fill(0..12).await;
    let nodes = Random::new("full").choose(2, &cluster.awake().await);
    nodes.iter().for_each(Node::freeze);
    until("frozen nodes are given up", async || {
        let metrics = cluster.metrics().await;
        let lost = metrics.total("infinicache_proxy_nodes_lost_total");
        (lost >= 2.0).then_some(())
    })
    .await;
    // They are empty now as far as is known, and so more inviting than those that are full.
    fill(12..24).await;
}

//! Node processes exist for the bytes that are cached.

use std::{collections::BTreeSet, time::Duration};

use tokio::time;

use crate::{
    cluster::{Cluster, Node, until},
    processes::until_gone,
    values::Value,
};

async fn awake(cluster: &Cluster) -> BTreeSet<String> {
    let awake = cluster.awake().await.into_iter();
    awake.map(|node| node.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_stay_while_they_hold_something_and_go_when_they_do_not() {
    let cluster = Cluster::start(|up| up.idle_window("3s")).await;
    assert!(cluster.nodes().await.iter().all(|node| node.started == 0));
    let client = cluster.client().await;

    // Three nodes for a small value, twelve for a large one.
    let (small, large) = (Value::new(1, 5_000), Value::new(2, 3_000_000));
    client.put("small", small.bytes()).await.unwrap();
    client.put("large", large.bytes()).await.unwrap();
    assert!(awake(&cluster).await.len() >= 12);
    let stat = client.stat("small").await.unwrap();
    let holders: BTreeSet<String> = stat
        .chunks
        .into_iter()
        .filter_map(|chunk| chunk.node)
        .collect();
    assert_eq!(holders.len(), 3);
    let is_holder = |node: &Node| holders.contains(&node.name);
    let (stay, go): (Vec<Node>, Vec<Node>) = cluster.awake().await.into_iter().partition(is_holder);

    assert!(client.delete("large").await.unwrap());
    until("nodes that hold nothing go", async || {
        (awake(&cluster).await == holders).then_some(())
    })
    .await;
    for pid in go.iter().flat_map(|node| &node.pids) {
        until_gone(*pid).await;
    }
    // Those that stay are the same processes as before, not others in their place.
    for node in stay {
        assert_eq!(cluster.node(&node.name).await.pids, node.pids);
    }
    small.assert_is(&client.get("small").await.unwrap());

    assert!(client.delete("small").await.unwrap());
    until("all nodes go", async || {
        let nodes = cluster.nodes().await;
        nodes.iter().all(|node| node.pids.is_empty()).then_some(())
    })
    .await;
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);

    // Nodes that are gone are as good as nodes that never were.
    client.put("small", small.bytes()).await.unwrap();
    assert!(awake(&cluster).await.len() >= 3);
    small.assert_is(&client.get("small").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_holds_little_is_gathered_on_the_fewest_nodes() {
    let change = |up: crate::cluster::Options| {
        up.idle_window("3s")
            .env("INFINICACHE_CONSOLIDATE_AFTER", "300ms")
    };
    let cluster = Cluster::start(change).await;
    let client = cluster.client().await;
    let large = Value::new(0, 3_000_000);
    client.put("large", large.bytes()).await.unwrap();
    let small: Vec<Value> = (1..40).map(|number| Value::new(number, 5_000)).collect();
    for (number, value) in small.iter().enumerate() {
        let key = format!("small-{number}");
        client.put(&key, value.bytes()).await.unwrap();
    }
    assert!(awake(&cluster).await.len() >= 12);
    large.assert_is(&client.get("large").await.unwrap());
    assert!(client.delete("large").await.unwrap());

    until(
        "only as many nodes are awake as an object has chunks",
        async || (awake(&cluster).await.len() <= 3).then_some(()),
    )
    .await;
    for (number, value) in small.iter().enumerate() {
        value.assert_is(&client.get(&format!("small-{number}")).await.unwrap());
    }
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    let used = metrics.total("infinicache_proxy_node_seconds_total");
    let always_on = metrics.total("infinicache_proxy_node_always_on_seconds_total");
    let released = metrics.total("infinicache_proxy_members_scaled_down_total");
    println!("{used:.0} node-seconds of {always_on:.0} always on, {released} nodes released");
    assert!(used < always_on * 0.9, "{used} of {always_on}");
    assert!(released >= 6.0);

    // It grows again when it has to.
    client.put("large", large.bytes()).await.unwrap();
    large.assert_is(&client.get("large").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_fails_because_the_nodes_that_it_was_placed_on_are_stopped_while_they_are_empty() {
    let cluster = Cluster::start(|up| up).await;
    let client = cluster.client().await;
    let mut redis = cluster.redis().await;
    for round in 0..30 {
        let value = Value::new(round, [5_000, 3_000_000, 5 << 20][round as usize % 3]);
        let flushed = redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await;
        flushed.unwrap();
        let nodes = cluster.awake().await;
        // At another moment of the write each time.
        let stopping = async {
            time::sleep(Duration::from_micros(500) * (round / 3)).await;
            nodes.iter().for_each(Node::terminate);
        };
        let writing = async {
            match round % 2 {
                0 => client.put("key", value.bytes()).await.map(drop).unwrap(),
                _ => redis::cmd("SET")
                    .arg("key")
                    .arg(value.bytes())
                    .query_async::<()>(&mut redis)
                    .await
                    .unwrap(),
            }
        };
        tokio::join!(writing, stopping);
        value.assert_is(&client.get("key").await.unwrap());
        for pid in nodes.iter().flat_map(|node| &node.pids) {
            until_gone(*pid).await;
        }
        cluster.until_whole(["key"]).await;
    }
    let metrics = cluster.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
}

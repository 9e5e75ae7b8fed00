//! Values make room for others: as many as must, and none in vain.

use redis::{AsyncCommands, aio::MultiplexedConnection};

use crate::{
    cluster::{Cluster, until},
    values::Value,
};

const MIB: u64 = 1 << 20;

async fn removed(cluster: &Cluster, reason: &str) -> u32 {
    let metrics = cluster.metrics().await;
    metrics.of("infinicache_proxy_objects_removed_total", "reason", reason) as u32
}

/// Stores a value; what is refused is for want of memory.
async fn stored(redis: &mut MultiplexedConnection, key: &str, value: &Value) -> bool {
    match redis.set::<_, _, ()>(key, value.bytes()).await {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.code(), Some("OOM"), "{error}");
            false
        }
    }
}

#[tokio::test]
async fn a_value_makes_room_for_another_while_it_is_scrubbed() {
    let cluster = Cluster::start(|up| up.memory("8MiB")).await;
    let mut redis = cluster.redis().await;
    let size = 40 * MIB;
    let () = redis.set("a", Value::new(1, size).bytes()).await.unwrap();
    until("the value is being scrubbed", async || {
        let metrics = cluster.metrics().await;
        let scrubbed = metrics.total("infinicache_proxy_scrubbed_bytes_total");
        (scrubbed > 0.0).then_some(())
    })
    .await;
    let other = Value::new(2, size);
    assert!(stored(&mut redis, "b", &other).await);
    other.assert_is(&redis.get::<_, Vec<u8>>("b").await.unwrap());
    assert_eq!(redis.get::<_, Option<Vec<u8>>>("a").await.unwrap(), None);
    assert_eq!(removed(&cluster, "evicted").await, 1);
}

#[tokio::test]
async fn a_stalled_reader_of_a_deleted_value_costs_no_other_value() {
    const OTHERS: u32 = 10;
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2).memory("8MiB")).await;
    let mut redis = cluster.redis().await;
    let pinned = Value::new(100, 8 * MIB);
    let () = redis.set("pinned", pinned.bytes()).await.unwrap();
    let mut reader = cluster.raw().await;
    assert_eq!(reader.begin_get("pinned").await, Some(pinned.size));
    let () = redis.del("pinned").await.unwrap();
    for number in 0..OTHERS {
        let value = Value::new(number, MIB);
        let () = redis.set(number, value.bytes()).await.unwrap();
    }

    // Each node has room for 7.7 MiB, and the reader holds 2 MiB of them.
    assert!(!stored(&mut redis, "large", &Value::new(200, 24 * MIB)).await);
    assert_eq!(removed(&cluster, "evicted").await, 0, "it could not fit");
    // With a quarter MiB of each of the others, this one lacks room for some of them.
    assert!(stored(&mut redis, "large", &Value::new(201, 16 * MIB)).await);
    let evicted = removed(&cluster, "evicted").await;
    assert!((1..=4).contains(&evicted), "{evicted} values went");
    // What the reader has begun it can end.
    let read = reader.end_get(pinned.size, async || {}).await;
    assert_eq!(read, pinned);
}

#[tokio::test]
async fn a_value_larger_than_half_the_pool_is_overwritten_unless_the_old_one_is_asked_for() {
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2).memory("8MiB")).await;
    let mut redis = cluster.redis().await;
    let mut value = Value::new(1, 20 * MIB);
    assert!(stored(&mut redis, "key", &value).await);
    for times in 1..=2 {
        value = value.next(value.size);
        assert!(stored(&mut redis, "key", &value).await);
        value.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
        assert_eq!(removed(&cluster, "evicted").await, times);
    }
    for option in ["XX", "NX", "GET", "KEEPTTL"] {
        let mut set = redis::cmd("SET");
        set.arg("key")
            .arg(value.next(value.size).bytes())
            .arg(option);
        let refused = set.query_async::<()>(&mut redis).await.unwrap_err();
        assert_eq!(refused.code(), Some("OOM"), "{option}: {refused}");
        value.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    }

    let client = cluster.client().await;
    value = value.next(value.size);
    client.put("key", value.bytes()).await.unwrap();
    value.assert_is(&client.get("key").await.unwrap());
    assert_eq!(removed(&cluster, "lost").await, 0);
}

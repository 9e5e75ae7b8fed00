//! The Rust client, beside Redis clients.

use std::{io::Cursor, time::Duration};

use infinicache_client::{Client, Condition, Error, PutOptions};
use redis::{AsyncCommands, SetExpiry, SetOptions};
use tokio::task::JoinSet;

use crate::{
    cluster::{Cluster, dbsize, until},
    random::Random,
    values::{Check, Value},
};

const MIB: u64 = 1 << 20;

async fn streamed(client: &Client, key: &str) -> Value {
    let mut download = client.open(key).await.unwrap();
    let mut check = Check::default();
    let size = download.size();
    while let Some(piece) = download.next().await.unwrap() {
        check.feed(&piece);
    }
    let value = check.finish();
    assert_eq!(value.size, size);
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_kind_of_client_writes_the_other_reads_from_many_tasks() {
    let cluster = Cluster::start(|up| up).await;
    let client = cluster.client().await;
    let redis = cluster.redis().await;
    let mut tasks = JoinSet::new();
    for task in 0..16u32 {
        let (client, mut redis) = (client.clone(), redis.clone());
        let mut random = Random::new(&format!("clients-{task}"));
        tasks.spawn(async move {
            let key = format!("key-{task}");
            let mut value = Value::new(task, 0);
            for round in 0..4 {
                let sizes = [16, 5_000, 33_000, 400_000, MIB, 3 * MIB + 1];
                value = value.next(*random.pick(&sizes));
                match (round + task) % 3 {
                    0 => redis.set(&key, value.bytes()).await.unwrap(),
                    1 => drop(client.put(&key, value.bytes()).await.unwrap()),
                    _ => {
                        let size = *random.pick(&[None, Some(value.size)]);
                        let reader = Cursor::new(value.bytes());
                        let options = PutOptions::default();
                        let put = client.put_stream(&key, reader, size, options);
                        assert!(put.await.unwrap().is_some());
                    }
                }
                assert_eq!(client.stat(&key).await.unwrap().size, value.size);
                value.assert_is(&redis.get::<_, Vec<u8>>(&key).await.unwrap());
                value.assert_is(&client.get(&key).await.unwrap());
                assert_eq!(streamed(&client, &key).await, value);
                let start = random.below(value.size);
                let end = start + 1 + random.below(value.size);
                let part = client.get_range(&key, start..end).await.unwrap();
                assert!(part == value.part(start, end));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(dbsize(&mut redis.clone()).await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_there_or_not_for_both_kinds_of_client() {
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2)).await;
    let (client, mut redis) = (cluster.client().await, cluster.redis().await);
    assert!(matches!(client.get("key").await, Err(Error::Miss)));
    assert!(matches!(client.stat("key").await, Err(Error::Miss)));
    assert!(!client.delete("key").await.unwrap());

    let value = Value::new(1, 300_000);
    let absent = PutOptions {
        condition: Some(Condition::Absent),
        ..PutOptions::default()
    };
    let put = client.put_with("key", value.bytes(), absent);
    assert!(put.await.unwrap().is_some());
    let put = client.put_with("key", vec![0; 300_000], absent);
    assert!(put.await.unwrap().is_none());
    value.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    assert!(client.delete("key").await.unwrap());
    assert_eq!(redis.get::<_, Option<Vec<u8>>>("key").await.unwrap(), None);

    let () = redis.set("key", "value").await.unwrap();
    assert!(client.exists("key").await.unwrap());
    assert_eq!(redis.del::<_, u64>("key").await.unwrap(), 1);
    assert!(matches!(client.get("key").await, Err(Error::Miss)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_live_of_one_kind_of_client_holds_for_the_other() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let (client, mut redis) = (cluster.client().await, cluster.redis().await);
    let short = PutOptions {
        ttl: Some(Duration::from_millis(500)),
        ..PutOptions::default()
    };
    client.put_with("short", "value", short).await.unwrap();
    assert!((0..=500).contains(&redis.pttl::<_, i64>("short").await.unwrap()));
    let options = SetOptions::default().with_expiration(SetExpiry::PX(500));
    let () = redis.set_options("other", "value", options).await.unwrap();
    assert!(client.stat("other").await.unwrap().expires_at.is_some());
    until("both expire", async || {
        let short: Option<String> = redis.get("short").await.unwrap();
        let other = client.get("other").await;
        (short.is_none() && matches!(other, Err(Error::Miss))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_was_read_and_then_deleted_makes_room_at_once() {
    // A chunk is more than half a node: there is never room for two values.
    let cluster = Cluster::start(|up| up.nodes(3).code(2, 1).memory("2MiB")).await;
    let client = cluster.client().await;
    let mut value = Value::new(1, 2_400_000);
    for _ in 0..8 {
        value = value.next(value.size);
        client.put("key", value.bytes()).await.unwrap();
        value.assert_is(&client.get("key").await.unwrap());
        assert_eq!(streamed(&client, "key").await, value);
        assert!(client.delete("key").await.unwrap());
    }
    let metrics = cluster.metrics().await;
    let evicted = metrics.of(
        "infinicache_proxy_objects_removed_total",
        "reason",
        "evicted",
    );
    assert_eq!(evicted, 0.0);
}

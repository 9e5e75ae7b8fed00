//! More than fits: into one value, into the pool.

use redis::{AsyncCommands, aio::MultiplexedConnection};

use crate::{cluster::Cluster, values::Value};

const MIB: u64 = 1 << 20;

async fn refusal(redis: &mut MultiplexedConnection, value: &Value) -> (String, String) {
    let refused = redis
        .set::<_, _, ()>("key", value.bytes())
        .await
        .unwrap_err();
    (refused.code().unwrap().to_owned(), refused.to_string())
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let cluster = Cluster::start(|up| {
        up.nodes(4)
            .code(2, 1)
            .memory("16MiB")
            .max_object_bytes("1MiB")
    })
    .await;
    let mut redis = cluster.redis().await;
    let old = Value::new(1, MIB);
    let () = redis.set("key", old.bytes()).await.unwrap();
    for size in [MIB + 1, 5 * MIB, 30 * MIB] {
        let (code, text) = refusal(&mut redis, &Value::new(2, size)).await;
        assert_eq!(code, "ERR");
        assert!(text.contains("exceeds maximum allowed size"), "{text}");
        old.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    }
    let client = cluster.client().await;
    assert!(
        client
            .put("key", Value::new(3, MIB + 1).bytes())
            .await
            .is_err()
    );
    old.assert_is(&client.get("key").await.unwrap());
}

#[tokio::test]
async fn a_value_that_no_pool_can_hold_is_out_of_memory_and_the_connection_goes_on() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1).memory("4MiB")).await;
    let mut redis = cluster.redis().await;
    let old = Value::new(1, 100_000);
    let () = redis.set("key", old.bytes()).await.unwrap();
    for size in [12 * MIB, 40 * MIB] {
        let (code, text) = refusal(&mut redis, &Value::new(2, size)).await;
        assert_eq!(code, "OOM", "{text}");
        old.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    }
    let other = Value::new(3, MIB);
    let () = redis.set("other", other.bytes()).await.unwrap();
    other.assert_is(&redis.get::<_, Vec<u8>>("other").await.unwrap());
}

#[tokio::test]
async fn a_full_pool_lets_old_values_go_and_serves_on() {
    const COUNT: u32 = 60;
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2).memory("8MiB")).await;
    let mut redis = cluster.redis().await;
    // 60 MiB of values are 90 MiB with parity, for 48 MiB of nodes.
    let value = |number: u32| Value::new(number, MIB);
    for number in 0..COUNT {
        let () = redis.set(number, value(number).bytes()).await.unwrap();
        value(number).assert_is(&redis.get::<_, Vec<u8>>(number).await.unwrap());
    }
    let mut there = 0;
    for number in 0..COUNT {
        if let Some(bytes) = redis.get::<_, Option<Vec<u8>>>(number).await.unwrap() {
            value(number).assert_is(&bytes);
            there += 1;
        }
    }
    let metrics = cluster.metrics().await;
    let removed = |reason| metrics.of("infinicache_proxy_objects_removed_total", "reason", reason);
    assert_eq!(removed("evicted") as u32, COUNT - there);
    assert_eq!(removed("lost"), 0.0);
    // What was let go made room for what came, and for no more: some 30 fit.
    assert!((24..=32).contains(&there), "{there} values are left");
}

#[tokio::test]
async fn a_value_that_is_used_outlives_those_that_are_not() {
    let cluster = Cluster::start(|up| up.nodes(6).code(4, 2).memory("8MiB")).await;
    let mut redis = cluster.redis().await;
    let used = Value::new(1000, MIB);
    let () = redis.set("used", used.bytes()).await.unwrap();
    for number in 0..60 {
        let () = redis
            .set(number, Value::new(number, MIB).bytes())
            .await
            .unwrap();
        used.assert_is(&redis.get::<_, Vec<u8>>("used").await.unwrap());
    }
    assert_eq!(redis.get::<_, Option<Vec<u8>>>(0).await.unwrap(), None);
}

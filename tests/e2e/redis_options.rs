//! The options of `SET`, and keys that expire.

use std::time::Duration;

use redis::{AsyncCommands, RedisResult, aio::MultiplexedConnection};

use crate::cluster::{Cluster, dbsize, until};

/// A `SET` with options, and its reply: the value before, `OK` or nothing.
async fn set(redis: &mut MultiplexedConnection, line: &str) -> RedisResult<Option<String>> {
    let mut command = redis::cmd("SET");
    line.split(' ').for_each(|word| {
        command.arg(word);
    });
    command.query_async(redis).await
}

async fn get(redis: &mut MultiplexedConnection, key: &str) -> Option<String> {
    redis.get(key).await.unwrap()
}

#[tokio::test]
async fn conditions_decide_whether_a_value_is_set() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let redis = &mut cluster.redis().await;
    let ok = Some("OK".to_owned());
    assert_eq!(set(redis, "key one XX").await.unwrap(), None);
    assert_eq!(get(redis, "key").await, None);
    assert_eq!(set(redis, "key one NX").await.unwrap(), ok);
    assert_eq!(set(redis, "key two NX").await.unwrap(), None);
    assert_eq!(get(redis, "key").await.unwrap(), "one");
    assert_eq!(set(redis, "key two XX").await.unwrap(), ok);
    assert_eq!(get(redis, "key").await.unwrap(), "two");
    assert!(set(redis, "key three NX XX").await.is_err());
    assert_eq!(get(redis, "key").await.unwrap(), "two");
}

#[tokio::test]
async fn the_value_before_is_given_back_if_that_is_wanted() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let redis = &mut cluster.redis().await;
    assert_eq!(set(redis, "key one GET").await.unwrap(), None);
    assert_eq!(set(redis, "key two GET").await.unwrap().unwrap(), "one");
    assert_eq!(
        set(redis, "key three NX GET").await.unwrap().unwrap(),
        "two"
    );
    assert_eq!(get(redis, "key").await.unwrap(), "two");
    assert_eq!(
        set(redis, "key three XX GET").await.unwrap().unwrap(),
        "two"
    );
    assert_eq!(get(redis, "key").await.unwrap(), "three");
}

#[tokio::test]
async fn a_key_has_the_time_to_live_that_it_was_last_given() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let redis = &mut cluster.redis().await;
    let () = redis.set("key", "value").await.unwrap();
    assert_eq!(redis.ttl::<_, i64>("key").await.unwrap(), -1);
    assert_eq!(redis.ttl::<_, i64>("none").await.unwrap(), -2);

    set(redis, "key value EX 1000").await.unwrap();
    assert!((900..=1000).contains(&redis.ttl::<_, i64>("key").await.unwrap()));
    set(redis, "key other KEEPTTL").await.unwrap();
    assert!((900..=1000).contains(&redis.ttl::<_, i64>("key").await.unwrap()));
    set(redis, "key other PX 500000").await.unwrap();
    assert!((400_000..=500_000).contains(&redis.pttl::<_, i64>("key").await.unwrap()));

    assert!(redis.persist::<_, bool>("key").await.unwrap());
    assert!(!redis.persist::<_, bool>("key").await.unwrap());
    assert_eq!(redis.ttl::<_, i64>("key").await.unwrap(), -1);
    assert!(redis.expire::<_, bool>("key", 300).await.unwrap());
    assert!((200..=300).contains(&redis.ttl::<_, i64>("key").await.unwrap()));
    set(redis, "key plain").await.unwrap();
    assert_eq!(redis.ttl::<_, i64>("key").await.unwrap(), -1);
    for wrong in ["EX 0", "PX -1", "EX x", "EX", "EX 1 PX 1", "EX 1 KEEPTTL"] {
        assert!(
            set(redis, &format!("key value {wrong}")).await.is_err(),
            "{wrong}"
        );
    }
    assert_eq!(get(redis, "key").await.unwrap(), "plain");
}

#[tokio::test]
async fn what_expires_is_gone() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let redis = &mut cluster.redis().await;
    for key in ["set", "expire", "kept"] {
        set(redis, &format!("{key} value PX 700")).await.unwrap();
    }
    let () = redis.set("stays", "value").await.unwrap();
    assert!(redis.pexpire::<_, bool>("expire", 300).await.unwrap());
    assert!(redis.persist::<_, bool>("kept").await.unwrap());
    for key in ["expire", "set"] {
        until("a key expires", async || {
            // The last moment at which it may be there is known from before it was asked for.
            let left: i64 = redis.pttl(key).await.unwrap();
            let value = get(redis, key).await;
            assert!(left >= 0 || value.is_none(), "{key} outlives its time");
            value.is_none().then_some(())
        })
        .await;
        assert!(!redis.exists::<_, bool>(key).await.unwrap());
    }
    assert_eq!(get(redis, "kept").await.unwrap(), "value");
    // Nobody has to ask for a key that it may go.
    until("expired keys are removed", async || {
        (dbsize(redis).await == 2).then_some(())
    })
    .await;
    let metrics = cluster.metrics().await;
    let expired = metrics.of(
        "infinicache_proxy_objects_removed_total",
        "reason",
        "expired",
    );
    assert_eq!(expired, 2.0);
}

#[tokio::test]
async fn a_time_that_has_passed_deletes_the_key() {
    let cluster = Cluster::start(|up| up.nodes(4).code(2, 1)).await;
    let redis = &mut cluster.redis().await;
    for time in [-1, 0] {
        let () = redis.set("key", "value").await.unwrap();
        assert!(redis.expire::<_, bool>("key", time).await.unwrap());
        assert_eq!(get(redis, "key").await, None);
    }
    assert!(!redis.expire::<_, bool>("key", 10).await.unwrap());
    let past = std::time::SystemTime::now() - Duration::from_secs(10);
    let past = past
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    set(redis, &format!("key value EXAT {past}")).await.unwrap();
    assert_eq!(get(redis, "key").await, None);
}

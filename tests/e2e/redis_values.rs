//! Values of every size, through the `redis` crate.

use redis::{AsyncCommands, aio::MultiplexedConnection};

use crate::{
    cluster::{Cluster, dbsize},
    values::Value,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What one full stripe of 10 chunks holds.
const STRIPE: u64 = 10 * 256 * KIB;

/// Where the geometry changes, and a little beside.
const SIZES: [u64; 14] = [
    0,
    1,
    KIB,
    32 * KIB - 1,
    32 * KIB,
    32 * KIB + 1,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    STRIPE - 1,
    STRIPE,
    STRIPE + 1,
    10 * MIB,
    40 * MIB,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_size_come_back_as_they_were_set() {
    let cluster = Cluster::start(|up| up).await;
    let mut redis = cluster.redis().await;
    for (writer, size) in (0..).zip(SIZES) {
        let value = Value::new(writer, size);
        let () = redis.set(size, value.bytes()).await.unwrap();
        value.assert_is(&redis.get::<_, Vec<u8>>(size).await.unwrap());
    }
    // All of them together too, and in part.
    for (writer, size) in (0..).zip(SIZES) {
        assert_eq!(redis.strlen::<_, u64>(size).await.unwrap(), size);
        check_parts(&mut redis, &Value::new(writer, size)).await;
    }
    assert_eq!(dbsize(&mut redis).await, SIZES.len() as u64);
}

/// Reads the beginning, the middle, across a stripe's end, and the end.
async fn check_parts(redis: &mut MultiplexedConnection, value: &Value) {
    let size = value.size;
    for (start, end) in [
        (0, 10),
        (size / 2, size / 2 + 100_000),
        (STRIPE - 5, STRIPE + 5),
        (size.saturating_sub(10), size),
        (0, size.min(3 * MIB)),
    ] {
        // Of Redis, the last byte is part of the range.
        let (first, last) = (start as isize, end as isize - 1);
        if last < first {
            continue;
        }
        let part: Vec<u8> = redis.getrange(size, first, last).await.unwrap();
        assert!(
            part == value.part(start, end),
            "{start}..{end} of {value:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_replaces_a_longer_or_a_shorter_one_is_all_there_is() {
    let cluster = Cluster::start(|up| up).await;
    let mut redis = cluster.redis().await;
    let mut value = Value::new(1, 0);
    for size in [5 * MIB, KIB, 100 * KIB, 0, STRIPE + 1, 1, 5 * MIB] {
        value = value.next(size);
        let () = redis.set("key", value.bytes()).await.unwrap();
        value.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    }
    assert_eq!(dbsize(&mut redis).await, 1);
}

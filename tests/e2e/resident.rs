//! The resident memory of a node stays near what is accounted, and follows it down.

use std::{mem, ops::Range};

use redis::{AsyncCommands, aio::MultiplexedConnection};

use crate::{
    cluster::{Cluster, until},
    random::Random,
};

const MIB: u64 = 1 << 20;

/// What the node may hold.
const CAPACITY: u64 = 160 * MIB;

/// What its process may have besides a tenth more than is accounted.
const BESIDES: u64 = 24 * MIB;

/// Values are sent together up to so many bytes.
const BATCH: usize = 4 * MIB as usize;

/// The shortest and the longest values of a sort, in bytes.
///
/// Short ones share pages, longer ones end within one, and streams are cut into the longest units.
const SORTS: [(u64, u64); 5] = [
    (1000, 1000),
    (1000, 30_000),
    (100_000, 100_000),
    (20_000, 270_000),
    (3_000_000, 3_000_000),
];

/// Sets keys to values of these lengths.
async fn set(redis: &mut MultiplexedConnection, pairs: &[(u64, usize)]) {
    let longest = pairs.iter().map(|&(_, length)| length).max().unwrap();
    let payload = vec![7; longest];
    let (mut batch, mut bytes) = (redis::pipe(), 0);
    for (number, &(key, length)) in (1..).zip(pairs) {
        batch.set(key, &payload[..length]).ignore();
        bytes += length;
        if bytes >= BATCH || number == pairs.len() {
            bytes = 0;
            let batch = mem::replace(&mut batch, redis::pipe());
            batch.exec_async(redis).await.unwrap();
        }
    }
}

/// Waits until the node accounts for as many bytes as are `held`, and its process has little more.
async fn until_bounded(cluster: &Cluster, held: Range<u64>, when: &str) {
    until(when, async || {
        let metrics = cluster.metrics().await;
        let accounted = metrics.total("infinicache_node_used_bytes") as u64;
        let resident = metrics.total("infinicache_node_resident_bytes") as u64;
        let is_bounded = resident <= accounted / 10 * 11 + BESIDES;
        println!("{when}: {accounted} bytes accounted, {resident} resident");
        (held.contains(&accounted) && is_bounded).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_memory_of_a_node_stays_near_what_is_accounted_and_is_given_back() {
    let memory = format!("{}MiB", CAPACITY / MIB);
    let cluster = Cluster::start(|up| up.nodes(1).code(1, 0).memory(&memory)).await;
    let mut redis = cluster.redis().await;
    let mut random = Random::new("resident");
    for (shortest, longest) in SORTS {
        let mut length = || (shortest + random.below(longest - shortest + 1)) as usize;
        let (mut values, mut bytes) = (Vec::new(), 0);
        while bytes < CAPACITY {
            let length = length();
            values.push((values.len() as u64, length));
            bytes += length as u64;
        }
        redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
        let (full, little) = (CAPACITY / 2..CAPACITY + 1, 0..CAPACITY / 8);
        let sort = format!("values of {shortest} to {longest} bytes");
        set(&mut redis, &values).await;
        until_bounded(&cluster, full.clone(), &format!("{sort} fill the node")).await;

        // Each one's room is taken by another, of another length.
        for value in &mut values {
            value.1 = length();
        }
        let mut values = random.choose(values.len(), &values);
        set(&mut redis, &values).await;
        until_bounded(&cluster, full, &format!("{sort} were overwritten")).await;

        values.truncate(values.len() * 19 / 20);
        let keys: Vec<u64> = values.iter().map(|&(key, _)| key).collect();
        for keys in keys.chunks(1000) {
            redis.unlink::<_, ()>(keys).await.unwrap();
        }
        until_bounded(&cluster, little, &format!("most {sort} were deleted")).await;
    }
}

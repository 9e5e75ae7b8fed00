//! Memory is bounded, whatever clients do.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::task::JoinSet;

use crate::{cluster::Cluster, values::Value};

const MIB: u64 = 1 << 20;

/// Of each value.
const SIZE: u64 = 8 * MIB;

/// What of a value a stalled client sends: more than sockets hold.
const STALLED_AT: u64 = SIZE / 2;

/// Clients of each kind: they store, read, stall while they store, stall while they read.
const WRITERS: u32 = 10;
const READERS: u32 = 10;
const STALLED_WRITERS: u32 = 5;
const STALLED_READERS: u32 = 5;

/// How often a client stores or reads.
const ROUNDS: u32 = 2;

/// The most memory that a process ever had.
fn peak_memory(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stall_neither_fill_the_memory_nor_stop_the_others() {
    let cluster = Arc::new(Cluster::start(|up| up.buffer_bytes("64MiB")).await);
    let shared: Vec<Value> = (0..3).map(|number| Value::new(number, SIZE)).collect();
    for (key, value) in (0..).zip(&shared) {
        cluster
            .raw()
            .await
            .set(&format!("shared-{key}"), value)
            .await;
    }

    let mut stalled = Vec::new();
    for number in 0..STALLED_WRITERS {
        let mut raw = cluster.raw().await;
        raw.begin_set(&format!("stalled-{number}"), SIZE).await;
        raw.send_part(&Value::new(number, SIZE), 0, STALLED_AT)
            .await;
        stalled.push(raw);
    }
    for number in 0..STALLED_READERS {
        let mut raw = cluster.raw().await;
        let length = raw.begin_get(&format!("shared-{}", number % 3)).await;
        assert_eq!(length, Some(SIZE));
        stalled.push(raw);
    }

    let done = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(cluster.clone(), done.clone()));
    let mut clients = JoinSet::new();
    for number in 0..WRITERS {
        let cluster = cluster.clone();
        clients.spawn(async move {
            let mut raw = cluster.raw().await;
            let key = format!("own-{number}");
            let mut value = Value::new(100 + number, SIZE);
            for _ in 0..ROUNDS {
                value = value.next(SIZE);
                raw.set(&key, &value).await;
            }
            let length = raw.begin_get(&key).await.expect("it was set");
            assert_eq!(raw.end_get(length, async || {}).await, value);
        });
    }
    for number in 0..READERS {
        let (cluster, expected) = (cluster.clone(), shared[number as usize % 3]);
        clients.spawn(async move {
            let mut raw = cluster.raw().await;
            for _ in 0..ROUNDS {
                let length = raw.begin_get(&format!("shared-{}", number % 3)).await;
                let value = raw.end_get(length.expect("it was set"), async || {}).await;
                assert_eq!(value, expected);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    done.store(true, Relaxed);
    watching.await.unwrap();

    let metrics = cluster.metrics().await;
    let dropped = metrics.of(
        "infinicache_proxy_connections_closed_total",
        "reason",
        "stalled",
    );
    assert_eq!(dropped, 0.0, "they were there all the time");
    let peak = peak_memory(cluster.proxy().await);
    assert!(peak < 200 * MIB, "the proxy had {} MiB", peak / MIB);

    // Who stalled can go on, too: nothing of its value was thrown away.
    for (number, raw) in (0..STALLED_WRITERS).zip(&mut stalled) {
        let value = Value::new(number, SIZE);
        raw.send_part(&value, STALLED_AT, SIZE).await;
        raw.end_set().await;
    }
    for (number, raw) in (0..).zip(&mut stalled[STALLED_WRITERS as usize..]) {
        assert_eq!(raw.end_get(SIZE, async || {}).await, shared[number % 3]);
    }
}

/// Looks at the buffers until all is done.
async fn watch(cluster: Arc<Cluster>, done: Arc<AtomicBool>) {
    let mut looks = 0;
    while !done.load(Relaxed) {
        let metrics = cluster.metrics().await;
        let used = metrics.total("infinicache_proxy_buffer_used_bytes");
        let capacity = metrics.total("infinicache_proxy_buffer_capacity_bytes");
        assert_eq!(capacity, (64 * MIB) as f64);
        assert!(used <= capacity, "{used} bytes of {capacity}");
        looks += 1;
    }
    assert!(looks > 0);
}

//! Clients that do not finish what they began.

use std::{
    io,
    pin::Pin,
    process::Stdio,
    task::{Context, Poll},
};

use infinicache_client::PutOptions;
use redis::AsyncCommands;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    process::Command,
};

use crate::{
    cluster::{Cluster, until},
    values::Value,
};

const SIZE: u64 = 8 << 20;

/// The value before a write that is given up, which is then still the value.
async fn old_value(cluster: &Cluster) -> Value {
    let value = Value::new(1, 2_000_000);
    let () = cluster
        .redis()
        .await
        .set("key", value.bytes())
        .await
        .unwrap();
    value
}

/// Waits until no write is under way, and nothing of it is left.
async fn until_given_up(cluster: &Cluster, old: &Value) {
    until("the write is given up", async || {
        let metrics = cluster.metrics().await;
        let open = metrics.total("infinicache_proxy_open_writes");
        let abandoned = metrics.total("infinicache_proxy_writes_aborted_total");
        let pending = metrics.total("infinicache_node_pending_bytes");
        (open == 0.0 && abandoned > 0.0 && pending == 0.0).then_some(())
    })
    .await;
    let mut redis = cluster.redis().await;
    old.assert_is(&redis.get::<_, Vec<u8>>("key").await.unwrap());
    old.assert_is(&cluster.client().await.get("key").await.unwrap());
    let placed = async || {
        let metrics = cluster.metrics().await;
        metrics.total("infinicache_node_placed_bytes")
    };
    // 10+2, and a little for bookkeeping.
    until("what was sent is freed", async || {
        let most = old.size as f64 * 1.2 + 100_000.0;
        (placed().await < most).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_value_leaves_the_old_one() {
    let cluster = Cluster::start(|up| up).await;
    let old = old_value(&cluster).await;
    let new = Value::new(2, SIZE);
    let mut raw = cluster.raw().await;
    raw.begin_set("key", SIZE).await;
    raw.send_part(&new, 0, SIZE / 2).await;
    old.assert_is(&cluster.client().await.get("key").await.unwrap());
    drop(raw);
    until_given_up(&cluster, &old).await;
}

#[tokio::test]
async fn a_client_that_leaves_at_the_very_end_of_a_value_leaves_the_old_one() {
    let cluster = Cluster::start(|up| up).await;
    let old = old_value(&cluster).await;
    let mut raw = cluster.raw().await;
    raw.begin_set("key", SIZE).await;
    // All but the line end that ends the command.
    raw.send_part(&Value::new(2, SIZE), 0, SIZE).await;
    drop(raw);
    until_given_up(&cluster, &old).await;
}

#[tokio::test]
async fn a_client_that_stalls_in_the_middle_of_a_value_is_dropped_and_leaves_the_old_one() {
    let cluster = Cluster::start(|up| up.stall_timeout("1s")).await;
    let old = old_value(&cluster).await;
    let mut raw = cluster.raw().await;
    raw.begin_set("key", SIZE).await;
    raw.send_part(&Value::new(2, SIZE), 0, SIZE / 2).await;
    raw.closed().await;
    until_given_up(&cluster, &old).await;
    let metrics = cluster.metrics().await;
    let stalled = metrics.of(
        "infinicache_proxy_connections_closed_total",
        "reason",
        "stalled",
    );
    assert_eq!(stalled, 1.0);
}

/// Gives half of a value, and then nothing more.
struct Half(Vec<u8>);

impl AsyncRead for Half {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let most = buffer.remaining().min(self.0.len());
        buffer.put_slice(&self.0[..most]);
        self.0.drain(..most);
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_cancelled_leaves_the_old_value() {
    let cluster = Cluster::start(|up| up).await;
    let old = old_value(&cluster).await;
    let client = cluster.client().await;
    let half = Half(Value::new(2, SIZE).part(0, SIZE / 2));
    let put = client.put_stream("key", half, Some(SIZE), PutOptions::default());
    tokio::select! {
        _ = put => panic!("half a value was put"),
        () = until("the write is under way", async || {
            let metrics = cluster.metrics().await;
            let open = metrics.total("infinicache_proxy_open_writes");
            (open > 0.0).then_some(())
        }) => {}
    }
    until_given_up(&cluster, &old).await;
}

#[tokio::test]
async fn a_smart_client_that_dies_in_a_put_leaves_the_old_value_and_no_trace() {
    let cluster = Cluster::start(|up| up).await;
    let old = old_value(&cluster).await;
    let mut put = Command::new(env!("CARGO_BIN_EXE_infinicache"))
        .args(["put", "key", "-", "--quiet", "--server"])
        .arg(cluster.address().to_string())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let half = Value::new(2, SIZE).part(0, SIZE / 2);
    let mut input = put.stdin.take().unwrap();
    input.write_all(&half).await.unwrap();
    until("the write is under way", async || {
        let metrics = cluster.metrics().await;
        (metrics.total("infinicache_node_pending_bytes") > 0.0).then_some(())
    })
    .await;
    put.kill().await.unwrap();
    until_given_up(&cluster, &old).await;
}

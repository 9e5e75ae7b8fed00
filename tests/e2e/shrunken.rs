//! A node is gone for good, and the pool is too small for what it holds.

use redis::{AsyncCommands, SetExpiry, SetOptions};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    cluster::{Cluster, Node, SECRET, until},
    values::Value,
};

/// Passes connections on until it is dropped.
async fn detour(listener: TcpListener, to: std::net::SocketAddr) {
    let mut passed = JoinSet::new();
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        passed.spawn(async move {
            let mut to = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_are_too_few_nodes_for_is_written_anew_with_a_narrower_code() {
    let cluster = Cluster::start(|up| up.nodes(6).env("INFINICACHE_SECRET", SECRET)).await;
    let front = cluster.front();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap();
    let detour = tokio::spawn(detour(listener, front));
    let url = |number| format!("node-{number}=http://{front}/node-{number}");
    let mut urls: Vec<String> = (0..5).map(url).collect();
    urls.push(format!("node-5=http://{way}/node-5"));
    let urls = urls.join(",");
    let env = [
        ("INFINICACHE_NODES", urls.as_str()),
        ("INFINICACHE_DATA", "4"),
        ("INFINICACHE_PARITY", "2"),
        ("INFINICACHE_PREDECESSOR", "none"),
        ("INFINICACHE_NODE_LOST_AFTER", "3s"),
        ("INFINICACHE_REENCODE_AFTER", "3s"),
    ];
    let proxy = cluster.another_proxy(&env).await;
    let mut redis = proxy.redis().await;
    let values: Vec<Value> = (0..6).map(|number| Value::new(number, 700_001)).collect();
    let hour = SetOptions::default().with_expiration(SetExpiry::EX(3600));
    for (number, value) in values.iter().enumerate() {
        let key = format!("key-{number}");
        let () = redis
            .set_options(key, value.bytes(), hour.clone())
            .await
            .unwrap();
    }
    assert_eq!(cluster.awake().await.len(), 6);

    detour.abort();
    let _ = detour.await;
    let gone: Node = cluster.node("node-5").await;
    gone.kill();
    until("every object is written anew", async || {
        let metrics = proxy.metrics().await;
        let reencoded = metrics.total("infinicache_proxy_reencoded_objects_total");
        let degraded = metrics.total("infinicache_proxy_objects_degraded");
        (reencoded >= values.len() as f64 && degraded == 0.0).then_some(())
    })
    .await;
    for (number, value) in values.iter().enumerate() {
        let key = format!("key-{number}");
        let found: Vec<u8> = redis.get(&key).await.unwrap();
        value.assert_is(&found);
        let left: i64 = redis.ttl(&key).await.unwrap();
        assert!((3000..=3600).contains(&left), "{left}");
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.total("infinicache_proxy_objects_lost_total"), 0.0);
    assert_eq!(metrics.total("infinicache_proxy_repair_backlog_bytes"), 0.0);
}

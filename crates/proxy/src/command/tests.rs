//! Commands over a real socket, with a store in memory.

mod against_redis;
mod harness;
mod replies;
mod streams;

pub(crate) use harness::{Peer, Running, bulk, request};

#[tokio::test(flavor = "multi_thread")]
async fn manual_tmp() {
    if std::env::var("MANUAL").is_err() { return }
    let server = Running::start().await;
    eprintln!("PORT {}", server.address.port());
    std::fs::write("/tmp/resp-redis/port", server.address.port().to_string()).unwrap();
    std::future::pending::<()>().await;
}

//! More connections than there may be, and those whose peer vanishes.

use std::{collections::HashSet, fs, net::SocketAddr};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::{
    cluster::{Cluster, until},
    processes::kill,
    resp::Raw,
    values::Value,
};

/// What a client is told that is one too many.
const TOO_MANY: &str = "-ERR max number of clients reached";

/// Connects so many clients, and asks each for a sign of life; what they are told.
async fn crowd(cluster: &Cluster, count: usize) -> (Vec<Raw>, Vec<String>) {
    let (mut clients, mut told) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut client = cluster.raw().await;
        told.push(client.first_line("PING").await);
        clients.push(client);
    }
    (clients, told)
}

#[tokio::test]
async fn more_clients_are_served_than_the_soft_limit_of_open_files() {
    let cluster = Cluster::start(|up| up.open_files(256, 4096)).await;
    let (_clients, told) = crowd(&cluster, 300).await;
    assert!(told.iter().all(|line| line == "+PONG"), "{told:?}");
    assert_eq!(cluster.page("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_hard_limit_of_open_files_leaves_room_for_nodes_and_probes() {
    let cluster = Cluster::start(|up| up.open_files(256, 256)).await;
    let mut first = cluster.raw().await;
    let value = Value::new(1, 1_000_000);
    first.set("key", &value).await;
    assert_eq!(first.ask("CONFIG GET maxclients").await, "*2");
    let lines = [
        first.line().await,
        first.line().await,
        first.line().await,
        first.line().await,
    ];
    assert_eq!(lines, ["$10", "maxclients", "$3", "128"]);

    let (_clients, told) = crowd(&cluster, 200).await;
    let served = told.iter().filter(|line| *line == "+PONG").count();
    let refused = told.iter().filter(|line| *line == TOO_MANY).count();
    assert_eq!((served, refused), (127, 73), "{told:?}");
    assert_eq!(cluster.page("/readyz").await.0, 200);
    assert!(
        cluster
            .logged()
            .contains("the limit of open files allows fewer clients")
    );

    // A node has to get in, too.
    let node = cluster.awake().await.remove(0);
    kill(*node.pids.last().unwrap(), Signal::KILL);
    cluster.until_woken_again(&[node]).await;
    let length = first.begin_get("key").await.unwrap();
    let got = first.end_get(length, async || ()).await;
    assert_eq!((got.size, got.number), (value.size, value.number));
}

/// The connections of this machine that the system probes when they are silent, each by its own
/// end and the other one.
fn kept_alive() -> HashSet<(u16, u16)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |end: &str| u16::from_str_radix(end.split_once(':')?.1, 16).ok();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Which timer runs: 2 is that of keep-alive.
        let is_kept_alive = fields.get(5)?.starts_with("02:");
        is_kept_alive.then_some((port(fields[1])?, port(fields[2])?))
    };
    table.lines().filter_map(line).collect()
}

#[tokio::test]
async fn a_peer_that_vanishes_without_a_word_is_looked_for_on_every_port() {
    let cluster = Cluster::start(|up| up).await;
    let mut raw = cluster.raw().await;
    raw.set("key", &Value::new(1, 1_000_000)).await;
    for (what, address) in [("clients", cluster.address()), ("probes", cluster.admin())] {
        let stream = TcpStream::connect(address).await.unwrap();
        until_kept_alive(what, address, &stream).await;
    }
    for node in cluster.awake().await {
        let address = node.address.unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        until_kept_alive("wakes", address, &stream).await;
    }
}

async fn until_kept_alive(what: &str, address: SocketAddr, stream: &TcpStream) {
    let ends = (address.port(), stream.local_addr().unwrap().port());
    until(
        &format!("a connection of {what} is kept alive"),
        async || kept_alive().contains(&ends).then_some(()),
    )
    .await;
}

use std::io::ErrorKind;

use redis_protocol::resp2::types::BytesFrame;

use super::*;
use crate::command::tests::{Peer, Running, bulk, request};

/// Connects a client whose `SET` is under way: its value has not arrived in full.
async fn busy(server: &Running) -> (Peer, Vec<u8>) {
    let mut peer = server.connect().await;
    let mut sent = b"PING\r\n".to_vec();
    sent.extend(request(&[b"SET", b"k", &[7; 100_000]]));
    let rest = sent.split_off(10_000);
    peer.send(&sent).await;
    // Replies are sent before a value is waited for, so the server is there now.
    assert_eq!(
        peer.reply().await,
        Some(BytesFrame::SimpleString("PONG".into()))
    );
    (peer, rest)
}

#[tokio::test]
async fn a_request_in_flight_at_shutdown_is_answered() {
    let server = Running::start().await;
    let mut idle = server.connect().await;
    idle.ask("PING").await;
    let (mut busy, rest) = busy(&server).await;

    server.shutdown.cancel();
    assert_eq!(idle.until_closed().await, b"");
    let refused = tokio::net::TcpStream::connect(server.address)
        .await
        .map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);

    busy.send(&[&rest[..], b"GET k\r\n"].concat()).await;
    assert_eq!(
        busy.reply().await,
        Some(BytesFrame::SimpleString("OK".into()))
    );
    assert_eq!(busy.reply().await, Some(bulk([7; 100_000])));
    assert_eq!(busy.until_closed().await, b"");
    server.ended.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_does_not_end_in_time_is_abandoned() {
    let drain_timeout = Duration::from_millis(20);
    let server = Running::start_with(ServerConfig {
        drain_timeout,
        ..ServerConfig::default()
    })
    .await;
    let (busy, _) = busy(&server).await;
    server.shutdown.cancel();
    server.ended.await.unwrap();
    assert_eq!(busy.until_closed().await, b"");
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let max_connections = 1;
    let server = Running::start_with(ServerConfig {
        max_connections,
        ..ServerConfig::default()
    })
    .await;
    let mut first = server.connect().await;
    first.ask("PING").await;
    let second = server.connect().await;
    assert_eq!(
        second.until_closed().await,
        b"-ERR max number of clients reached\r\n"
    );

    first.ask("QUIT").await;
    first.until_closed().await;
    while !server.observer.told().contains(&"closed".to_owned()) {
        tokio::task::yield_now().await;
    }
    server.connect().await.ask("PING").await;
    assert!(server.observer.told().contains(&"refused".to_owned()));
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_value_is_counted() {
    let timeouts = Timeouts {
        stall: Duration::from_millis(20),
        idle: None,
    };
    let server = Running::start_with(ServerConfig {
        timeouts,
        ..ServerConfig::default()
    })
    .await;
    let (busy, _) = busy(&server).await;
    assert_eq!(busy.until_closed().await, b"");
    let told = server.observer.told();
    assert!(told.contains(&"stalled".to_owned()), "{told:?}");
}

/// A server whose clients may be idle for a moment, and stall for longer.
async fn impatient() -> Running {
    let timeouts = Timeouts {
        stall: Duration::from_secs(30),
        idle: Some(Duration::from_millis(20)),
    };
    Running::start_with(ServerConfig {
        timeouts,
        ..ServerConfig::default()
    })
    .await
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_is_dropped_without_a_word() {
    let server = impatient().await;
    assert_eq!(server.connect().await.until_closed().await, b"");
    let told = server.observer.told();
    assert!(told.contains(&"idle".to_owned()), "{told:?}");
}

#[tokio::test]
async fn a_client_is_not_idle_while_something_is_open_that_it_has_opened() {
    let server = impatient().await;
    server.store.own_for(3);
    assert_eq!(server.connect().await.until_closed().await, b"");
    assert_eq!(
        server.store.owned_for(),
        0,
        "it was asked until there was nothing"
    );
}

/// Connects a client that an event loop serves by now, for it has asked for a small value again and
/// again.
async fn settled(server: &Running) -> Peer {
    let mut peer = server.connect().await;
    assert_eq!(peer.ask("SET small value").await, ok());
    for _ in 0..SETTLED {
        assert_eq!(peer.ask("GET small").await, bulk("value"));
        assert!(!server.store.is_on_event_loop());
    }
    assert_eq!(peer.ask("GET small").await, bulk("value"));
    assert!(server.store.is_on_event_loop());
    peer
}

fn ok() -> BytesFrame {
    BytesFrame::SimpleString("OK".into())
}

#[tokio::test]
async fn a_client_that_asks_for_what_is_at_hand_is_served_by_a_lane_until_it_asks_for_more() {
    let server = Running::start().await;
    let mut peer = settled(&server).await;
    assert_eq!(peer.ask("GET nothing").await, BytesFrame::Null);
    assert!(server.store.is_on_event_loop());
    // Of this an event loop has read a part when it gives it back.
    peer.send(&request(&[b"SET", b"large", &[7; 100_000]]))
        .await;
    assert_eq!(peer.reply().await, Some(ok()));
    peer.send(b"GET large\r\nGET small\r\nPING\r\n").await;
    assert_eq!(peer.reply().await, Some(bulk([7; 100_000])));
    assert_eq!(peer.reply().await, Some(bulk("value")));
    let pong = BytesFrame::SimpleString("PONG".into());
    assert_eq!(peer.reply().await, Some(pong));
    assert_eq!(peer.ask("GET small").await, bulk("value"));
    assert!(!server.store.is_on_event_loop());
}

#[tokio::test]
async fn commands_that_come_together_are_left_to_the_workers() {
    let server = Running::start().await;
    let mut peer = settled(&server).await;
    for _ in 0..SETTLED {
        peer.send(b"GET small\r\nGET small\r\n").await;
        assert_eq!(peer.reply().await, Some(bulk("value")));
        assert_eq!(peer.reply().await, Some(bulk("value")));
    }
    assert_eq!(peer.ask("GET small").await, bulk("value"));
    assert!(!server.store.is_on_event_loop());
}

#[tokio::test]
async fn a_client_on_a_lane_sees_the_server_end_and_its_own_errors() {
    let server = Running::start().await;
    let mut broken = settled(&server).await;
    broken.send(b"*1\r\n$-9\r\n").await;
    let told = broken.until_closed().await;
    assert!(told.starts_with(b"-ERR Protocol error"), "{told:?}");
    let (idle, mut left) = (settled(&server).await, settled(&server).await);
    assert_eq!(left.ask("QUIT").await, ok());
    assert_eq!(left.until_closed().await, b"");
    server.shutdown.cancel();
    assert_eq!(idle.until_closed().await, b"");
    server.ended.await.unwrap();
}

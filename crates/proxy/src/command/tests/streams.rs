//! Large values, and what happens when they break off.

use redis_protocol::resp2::types::BytesFrame;

use super::harness::{Peer, Running, bulk, error, request, simple};
use crate::command::fake::{Faults, MAX_OBJECT, TOO_LONG};

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

fn value(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index / 3) as u8).collect()
}

async fn get(peer: &mut Peer, key: &str) -> BytesFrame {
    peer.ask(&format!("GET {key}")).await
}

#[tokio::test]
async fn values_of_any_length_come_back_as_they_went_in() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for length in [0, 1, 4_096, 65_536, 65_537, 100_000, 3_000_001] {
        let value = value(length);
        assert_eq!(
            peer.ask_args(&[b"SET", b"k", &value]).await,
            simple("OK"),
            "{length}"
        );
        assert_eq!(get(&mut peer, "k").await, bulk(value), "{length}");
    }
}

#[tokio::test]
async fn options_after_a_large_value_count() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let (old, new) = (value(200_000), value(300_000));
    assert_eq!(
        peer.ask_args(&[b"SET", b"k", &old, b"EX", b"100"]).await,
        simple("OK")
    );
    assert_eq!(peer.ask("TTL k").await, BytesFrame::Integer(100));
    assert_eq!(
        peer.ask_args(&[b"SET", b"k", &new, b"NX"]).await,
        BytesFrame::Null
    );
    assert_eq!(
        peer.ask_args(&[b"SET", b"k", &new, b"XX", b"GET"]).await,
        bulk(old)
    );
    assert_eq!(peer.ask("TTL k").await, BytesFrame::Integer(-1));
    assert_eq!(get(&mut peer, "k").await, bulk(new));
}

#[tokio::test]
async fn a_large_value_is_blind_if_no_option_can_ask_for_the_old_one() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let large = value(200_000);
    for (options, is_blind) in [
        (&[][..], true),
        (&[&b"EX"[..], b"100"], true),
        (&[b"XX"], false),
        (&[b"GET"], false),
        (&[b"KEEPTTL"], false),
        (&[b"EX", b"100", b"XX"], false),
    ] {
        let set = [&[&b"SET"[..], b"k", &large], options].concat();
        let reply = peer.ask_args(&set).await;
        assert!(!matches!(reply, BytesFrame::Error(_)), "{reply:?}");
        assert_eq!(server.store.was_blind(), is_blind, "{options:?}");
    }
}

#[tokio::test]
async fn a_large_value_with_wrong_options_is_given_up_and_the_connection_lives() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let (large, options) = (value(200_000), value(70_000));
    for (args, expected) in [
        (
            &[&b"SET"[..], b"k", &large, b"NX", b"XX"][..],
            "ERR syntax error",
        ),
        (
            &[b"SET", b"k", &large, b"EX", b"x"],
            "ERR value is not an integer or out of range",
        ),
        (
            &[b"SET", b"k", &large, b"EX", b"0"],
            "ERR invalid expire time in 'set' command",
        ),
        (&[b"SET", b"k", &large, &options, b"XX"], "ERR syntax error"),
        (&[b"SET", b"k", b"small", &options], "ERR syntax error"),
        (
            &[b"SET", &options, &large],
            "ERR key exceeds maximum allowed size (65536 bytes)",
        ),
    ] {
        assert_eq!(peer.ask_args(args).await, error(expected));
        assert_eq!(get(&mut peer, "k").await, BytesFrame::Null);
    }
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_and_the_connection_lives() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let refused = peer
        .ask_args(&[b"SET", b"k", &value(MAX_OBJECT as usize + 1)])
        .await;
    assert_eq!(refused, BytesFrame::Error(format!("ERR {TOO_LONG}").into()));
    assert_eq!(peer.ask("PING").await, simple("PONG"));
}

#[tokio::test]
async fn after_an_upload_fails_midway_the_connection_lives() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for upload_after in [0, 100_000, 1_900_000] {
        server.store.inject(Faults {
            upload_after: Some(upload_after),
            ..Faults::default()
        });
        let refused = peer
            .ask_args(&[b"SET", b"k", &value(2_000_000), b"EX", b"9"])
            .await;
        assert_eq!(refused, error(OOM));
        assert_eq!(get(&mut peer, "k").await, BytesFrame::Null);
    }
}

#[tokio::test]
async fn a_client_that_leaves_midway_has_stored_nothing() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let set = request(&[b"SET", b"k", &value(500_000)]);
    peer.send(&set[..400_000]).await;
    assert_eq!(peer.rest().await, b"");
    assert_eq!(
        server.connect().await.ask("EXISTS k").await,
        BytesFrame::Integer(0)
    );
}

#[tokio::test]
async fn a_lost_value_is_a_miss() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    peer.ask("SET k value").await;
    server.store.inject(Faults {
        lost: true,
        ..Faults::default()
    });
    assert_eq!(get(&mut peer, "k").await, BytesFrame::Null);
    assert_eq!(peer.ask("GETRANGE k 0 -1").await, bulk(""));
    assert_eq!(peer.ask("SET k other GET").await, BytesFrame::Null);
}

#[tokio::test]
async fn a_read_that_fails_before_its_first_byte_is_an_error() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    peer.ask("SET k value").await;
    server.store.inject(Faults {
        read_after: Some(0),
        ..Faults::default()
    });
    assert_eq!(get(&mut peer, "k").await, error("ERR injected"));
    assert_eq!(peer.ask("PING").await, simple("PONG"));
}

#[tokio::test]
async fn a_read_that_fails_midway_closes_the_connection_and_is_counted() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    peer.ask_args(&[b"SET", b"k", &value(500_000)]).await;
    server.store.inject(Faults {
        read_after: Some(200_000),
        ..Faults::default()
    });
    peer.send(b"GET k\r\nPING\r\n").await;
    let received = peer.until_closed().await;
    assert!(received.starts_with(b"$500000\r\n") && received.len() < 500_000);
    let told = server.observer.told();
    assert!(told.contains(&"aborted".to_owned()), "{told:?}");
    assert!(told.contains(&"get Error 500000".to_owned()), "{told:?}");
}

#[tokio::test]
async fn many_commands_may_be_sent_at_once() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let large = value(300_000);
    let mut requests = Vec::new();
    for _ in 0..5 {
        requests.extend(request(&[b"SET", b"small", b"1"]));
        requests.extend(request(&[b"SET", b"large", &large]));
        requests.extend(request(&[b"GET", b"small"]));
        requests.extend(request(&[b"STRLEN", b"large"]));
    }
    peer.send(&requests).await;
    for _ in 0..5 {
        assert_eq!(peer.reply().await, Some(simple("OK")));
        assert_eq!(peer.reply().await, Some(simple("OK")));
        assert_eq!(peer.reply().await, Some(bulk("1")));
        assert_eq!(peer.reply().await, Some(BytesFrame::Integer(300_000)));
    }
}

#[tokio::test]
async fn other_commands_take_arguments_that_can_be_held() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let (large, huge) = (value(100_000), value(2_000_000));
    assert_eq!(peer.ask_args(&[b"ECHO", &large]).await, bulk(large.clone()));
    for args in [&[&b"ECHO"[..], &huge][..], &[&huge, b"x"]] {
        let refused = error("ERR arguments exceed maximum allowed size (1 MiB)");
        assert_eq!(peer.ask_args(args).await, refused);
    }
    let refused = error("ERR key exceeds maximum allowed size (65536 bytes)");
    assert_eq!(peer.ask_args(&[b"GET", &large]).await, refused);
    assert_eq!(
        peer.ask_args(&[b"GET", b"k", &huge]).await,
        error("ERR wrong number of arguments for 'get' command")
    );
    assert_eq!(peer.ask("PING").await, simple("PONG"));
}

#[tokio::test]
async fn a_value_that_is_replaced_before_it_is_read_is_looked_for_again() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for length in [5, 500, 300_000] {
        let value = value(length);
        peer.ask_args(&[b"SET", b"k", &value]).await;
        let replaced = |replaced| Faults {
            replaced,
            ..Faults::default()
        };
        server.store.inject(replaced(3));
        assert_eq!(get(&mut peer, "k").await, bulk(value.clone()), "{length}");
        server.store.inject(replaced(3));
        let start = peer.ask("GETRANGE k 0 3").await;
        assert_eq!(start, bulk(&value[..4]), "{length}");

        // Not for ever.
        server.store.inject(replaced(1_000));
        assert!(
            matches!(get(&mut peer, "k").await, BytesFrame::Error(_)),
            "{length}"
        );
        assert!(
            matches!(peer.ask("SET k v GET").await, BytesFrame::Error(_)),
            "{length}"
        );
        server.store.inject(Faults::default());
        assert_eq!(get(&mut peer, "k").await, bulk("v"), "{length}");
    }
}

//! Replies for which there is no Redis 7.0 to compare with.

use redis_protocol::resp2::types::BytesFrame;

use crate::{password::Password, server::ServerConfig};

use super::harness::{Running, bulk, error, simple};

#[tokio::test]
async fn what_clients_send_when_they_connect_is_answered() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for line in [
        "CLIENT SETNAME worker",
        "CLIENT SETINFO LIB-NAME redis-py",
        "CLIENT SETINFO LIB-VER 8.1",
        "CLIENT NO-EVICT on",
        "CLIENT NO-TOUCH on",
        "SELECT 0",
    ] {
        assert_eq!(peer.ask(line).await, simple("OK"), "{line}");
    }
    assert_eq!(
        peer.ask("SELECT 1").await,
        error("ERR DB index is out of range")
    );

    let BytesFrame::Array(hello) = peer.ask("HELLO 2 AUTH default x SETNAME other").await else {
        panic!("HELLO is answered with an array");
    };
    assert_eq!(hello.len(), 14);
    assert_eq!(peer.ask("CLIENT GETNAME").await, bulk("other"));

    let BytesFrame::BulkString(info) = peer.ask("CLIENT INFO").await else {
        panic!("CLIENT INFO is answered with a line");
    };
    let info = String::from_utf8(info.to_vec()).unwrap();
    assert!(
        info.contains(" name=other ") && info.contains(" lib-name=redis-py lib-ver=8.1"),
        "{info}"
    );
}

#[tokio::test]
async fn who_has_not_given_the_password_gets_nothing() {
    let password = Password::new().unwrap();
    password.set(b"hunter2");
    let server = Running::guarded_by(password.clone(), ServerConfig::default()).await;
    let mut peer = server.connect().await;
    let unknown = error("NOAUTH Authentication required.");
    let nothing = [
        "SET k v",
        "GET k",
        "PING",
        "INFO",
        "DBSIZE",
        "FLUSHALL",
        "CONFIG GET *",
        "CLIENT ID",
        "COMMAND",
        "IC.NODES",
        "IC.LINK",
    ];
    for line in nothing {
        assert_eq!(peer.ask(line).await, unknown, "{line}");
    }
    // A value that is too large to be read with its command is not kept either.
    let large = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n",
        &*vec![b'x'; 3_000_000],
        b"\r\n",
    ];
    peer.send(&large.concat()).await;
    assert_eq!(peer.reply().await.unwrap(), unknown);
    let BytesFrame::Error(text) = peer.ask("HELLO 2").await else {
        panic!("it is refused");
    };
    assert!(text.starts_with("NOAUTH HELLO must be called"), "{text}");

    let wrong = error("WRONGPASS invalid username-password pair or user is disabled.");
    let attempts = [
        "AUTH hunter3",
        "AUTH somebody hunter2",
        "HELLO 2 AUTH default x",
    ];
    for line in attempts {
        assert_eq!(peer.ask(line).await, wrong, "{line}");
        assert_eq!(peer.ask("PING").await, unknown, "{line}");
    }
    assert_eq!(peer.ask("AUTH hunter2").await, simple("OK"));
    assert_eq!(peer.ask("SET k v").await, simple("OK"));
    assert_eq!(peer.ask("GET k").await, bulk("v"));
}

#[tokio::test]
async fn a_new_password_is_for_those_who_come_after_it() {
    let password = Password::new().unwrap();
    password.set(b"hunter2");
    let server = Running::guarded_by(password.clone(), ServerConfig::default()).await;
    let mut before = server.connect().await;
    let hello = before.ask("HELLO 2 AUTH default hunter2").await;
    assert!(matches!(hello, BytesFrame::Array(_)));
    password.set(b"hunter3");
    assert_eq!(before.ask("PING").await, simple("PONG"));
    let mut after = server.connect().await;
    let wrong = error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(after.ask("AUTH hunter2").await, wrong);
    assert_eq!(after.ask("AUTH default hunter3").await, simple("OK"));
}

#[tokio::test]
async fn an_integer_is_followed_by_the_next_reply_whatever_its_length() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for exponent in 3..=18 {
        let milliseconds = 10i64.pow(exponent);
        let set = format!("SET k v PX {milliseconds}");
        assert_eq!(peer.ask(&set).await, simple("OK"), "{set}");
        let BytesFrame::Integer(left) = peer.ask("PTTL k").await else {
            panic!("PTTL is answered with an integer");
        };
        assert!(
            left <= milliseconds && left > milliseconds / 10 * 9,
            "{left}"
        );
        assert_eq!(peer.ask("PING").await, simple("PONG"), "after {left}");
    }
}

#[tokio::test]
async fn benchmarks_learn_that_nothing_is_saved() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let expected = BytesFrame::Array(vec![bulk("save"), bulk("")]);
    assert_eq!(peer.ask("CONFIG GET save").await, expected);
}

#[tokio::test]
async fn the_table_is_told_in_full() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    let BytesFrame::Integer(count) = peer.ask("COMMAND COUNT").await else {
        panic!("COMMAND COUNT is answered with a number");
    };
    for (line, each) in [
        ("COMMAND", 1),
        ("COMMAND INFO", 1),
        ("COMMAND LIST", 1),
        ("COMMAND DOCS", 2),
    ] {
        let BytesFrame::Array(entries) = peer.ask(line).await else {
            panic!("{line} is answered with an array");
        };
        assert_eq!(entries.len() as i64, count * each, "{line}");
    }
}

#[tokio::test]
async fn every_command_is_reported_to_the_observer() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    for line in ["SET k value", "GET k", "GET", "nosuch", "QUIT"] {
        peer.ask(line).await;
    }
    peer.until_closed().await;
    let expected = [
        "opened",
        "set Ok 5",
        "get Ok 5",
        "get Error 0",
        "unknown Error 0",
        "quit Ok 0",
    ];
    assert_eq!(server.observer.told()[..6], expected);
}

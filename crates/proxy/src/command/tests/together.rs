//! Commands that come together, and are run together where none could tell.

use proptest::prelude::*;
use redis_protocol::resp2::types::BytesFrame;

use super::harness::{Running, bulk, error, request, simple};
use crate::command::fake::Faults;

/// Sends all of `requests` at once, to a server whose store is perhaps elsewhere; the answers to
/// them, and how many reads were counted that found a value, and that did not.
async fn answers(requests: &[Vec<&[u8]>], remote: bool) -> (Vec<BytesFrame>, (usize, usize)) {
    let server = Running::start().await;
    server.store.inject(Faults {
        remote,
        ..Faults::default()
    });
    let mut peer = server.connect().await;
    let bytes: Vec<u8> = requests.iter().flat_map(|args| request(args)).collect();
    peer.send(&bytes).await;
    let mut answers = Vec::new();
    for _ in requests {
        answers.push(peer.reply().await.expect("the connection is open"));
    }
    peer.until_closed_after_quit().await;
    (answers, server.observer.reads())
}

/// What is answered and counted if each is run after the one before it.
fn expected(requests: &[Vec<&[u8]>]) -> (Vec<BytesFrame>, (usize, usize)) {
    let mut values = std::collections::HashMap::<Vec<u8>, Vec<u8>>::new();
    let mut reads = (0, 0);
    let answer = |args: &Vec<&[u8]>| match (args[0], args.len()) {
        (b"GET", _) => match values.get(args[1]) {
            Some(value) => {
                reads.0 += 1;
                bulk(value.clone())
            }
            None => {
                reads.1 += 1;
                BytesFrame::Null
            }
        },
        (b"GETRANGE", _) => match values.get(args[1]) {
            Some(value) => {
                reads.0 += 1;
                bulk(&value[value.len().min(1)..value.len().min(9)])
            }
            None => {
                reads.1 += 1;
                bulk("")
            }
        },
        (b"SET", 4) if args[3] == b"GET" => {
            let before = values.insert(args[1].to_vec(), args[2].to_vec());
            before.map_or(BytesFrame::Null, bulk)
        }
        (b"SET", 4) if values.contains_key(args[1]) => BytesFrame::Null,
        (b"SET", _) => {
            values.insert(args[1].to_vec(), args[2].to_vec());
            simple("OK")
        }
        (b"STRLEN", _) => BytesFrame::Integer(values.get(args[1]).map_or(0, |it| it.len() as i64)),
        _ => error("ERR wrong number of arguments for 'del' command"),
    };
    let answers = requests.iter().map(answer).collect();
    (answers, reads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_answers_are_those_of_one_after_the_other(
        // Of lengths that are at hand, that have to be read, and that are not small.
        script in prop::collection::vec((0..8u8, 0..4usize, 0..5usize), 1..150),
        remote: bool,
    ) {
        let keys: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        let values: Vec<Vec<u8>> = [0, 1, 99, 700, 2_000]
            .map(|length| (0..length).map(|at| (at % 251) as u8).collect())
            .into();
        let requests: Vec<Vec<&[u8]>> = script
            .into_iter()
            .map(|(verb, key, value)| match verb {
                0 | 1 => vec![&b"GET"[..], keys[key]],
                2 | 3 => vec![&b"SET"[..], keys[key], &values[value]],
                4 => vec![&b"SET"[..], keys[key], &values[value], b"NX"],
                5 => vec![&b"SET"[..], keys[key], &values[value], b"GET"],
                6 => vec![&b"GETRANGE"[..], keys[key], b"1", b"8"],
                _ if value == 0 => vec![&b"DEL"[..]],
                _ => vec![&b"STRLEN"[..], keys[key]],
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answered = runtime.block_on(answers(&requests, remote));
        prop_assert_eq!(answered, expected(&requests));
    }
}

#[tokio::test]
async fn what_came_before_garbage_is_answered_before_it_is_refused() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    peer.send(b"SET a 1\r\nSET b 2\r\nGET a\r\n*1\r\n!\r\n")
        .await;
    let received = peer.until_closed().await;
    let text = String::from_utf8_lossy(&received);
    assert!(
        text.starts_with("+OK\r\n+OK\r\n$1\r\n1\r\n-ERR Protocol error"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_asked_of_a_store_that_is_elsewhere_is_waited_for_by_the_workers() {
    let server = Running::start().await;
    server.store.inject(Faults {
        remote: true,
        ..Faults::default()
    });
    let mut peer = server.connect().await;
    assert_eq!(peer.ask("SET k value").await, simple("OK"));
    for _ in 0..200 {
        assert_eq!(peer.ask("GET k").await, bulk("value"));
        assert!(!server.store.is_on_event_loop());
    }
    assert_eq!(peer.ask("STRLEN k").await, BytesFrame::Integer(5));
    assert_eq!(peer.ask("DBSIZE").await, BytesFrame::Integer(1));
}

#[tokio::test]
async fn each_is_refused_and_counted_alone() {
    let server = Running::start().await;
    let mut peer = server.connect().await;
    peer.ask_args(&[b"SET", b"read", &[7; 500]]).await;
    server.store.inject(Faults {
        read_after: Some(0),
        ..Faults::default()
    });
    peer.send(b"SET a 1\r\nGET read\r\nGET none\r\nSET b 22\r\n")
        .await;
    for reply in [
        simple("OK"),
        error("ERR injected"),
        BytesFrame::Null,
        simple("OK"),
    ] {
        assert_eq!(peer.reply().await, Some(reply));
    }
    let told = server.observer.told();
    let counted = ["set Ok 1", "get Error 0", "get Ok 0", "set Ok 2"];
    assert!(told.ends_with(&counted.map(String::from)), "{told:?}");
}

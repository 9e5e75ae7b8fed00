//! The client library against a proxy on real sockets.

mod proxy;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use infinicache_client::{Client, Condition, Error, Options, PutOptions};
use infinicache_engine::PAUSES;
use proxy::{FakeProxy, LEASES};
use support::{FakePool, Mood, stripe, value};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

async fn start() -> (Client, FakeProxy) {
    let proxy = FakeProxy::start(FakePool::new("4+2", 1)).await;
    (Client::connect([proxy.address()]).await.unwrap(), proxy)
}

fn sizes() -> [usize; 7] {
    [
        0,
        1,
        5_000,
        32 * 1024,
        100_000,
        stripe(4) + 1,
        5 * stripe(4) + 77,
    ]
}

#[tokio::test]
async fn what_is_put_is_got_in_every_way() {
    let (client, proxy) = start().await;
    for size in sizes() {
        let value = value(size);
        client.put("key", value.clone()).await.unwrap();
        proxy
            .pool()
            .assert_exact(&proxy.pool().found("key").unwrap(), &value);
        assert_eq!(client.get("key").await.unwrap(), value);

        let (from, to) = (size / 3, size / 2);
        let range = client
            .get_range("key", from as u64..to as u64)
            .await
            .unwrap();
        assert_eq!(range, value[from..to]);
        assert_eq!(
            client
                .get_range("key", size as u64..u64::MAX)
                .await
                .unwrap(),
            b""[..]
        );

        let mut written = Vec::new();
        assert_eq!(
            client.get_into("key", &mut written).await.unwrap(),
            size as u64
        );
        assert_eq!(written, value);

        let mut download = client.open("key").await.unwrap();
        assert_eq!(download.size(), size as u64);
        let mut read = 0;
        while let Some(piece) = download.next().await.unwrap() {
            assert!(!piece.is_empty());
            assert_eq!(piece, value[read..read + piece.len()]);
            read += piece.len();
        }
        assert_eq!(read, size);

        for told in [None, Some(size as u64)] {
            let options = PutOptions::default();
            client
                .put_stream("stream", &value[..], told, options)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(client.get("stream").await.unwrap(), value);
        }
    }
    assert_eq!(client.buffered_bytes(), 0);
}

#[tokio::test]
async fn a_key_without_a_value_is_a_miss() {
    let (client, _proxy) = start().await;
    assert!(matches!(client.get("key").await, Err(Error::Miss)));
    assert!(matches!(
        client.get_range("key", 1..2).await,
        Err(Error::Miss)
    ));
    assert!(matches!(client.open("key").await, Err(Error::Miss)));
    assert!(matches!(
        client.get_into("key", Vec::new()).await,
        Err(Error::Miss)
    ));
    assert!(matches!(client.stat("key").await, Err(Error::Miss)));
    assert!(!client.exists("key").await.unwrap());
    assert!(!client.delete("key").await.unwrap());
}

#[tokio::test]
async fn a_value_that_is_deleted_is_gone() {
    let (client, proxy) = start().await;
    client.put("key", value(10)).await.unwrap();
    assert!(client.exists("key").await.unwrap());
    assert!(client.delete("key").await.unwrap());
    assert!(!client.exists("key").await.unwrap());
    assert!(matches!(client.get("key").await, Err(Error::Miss)));
    proxy.pool().assert_empty();
}

#[tokio::test]
async fn terms_travel_with_the_commit() {
    let (client, proxy) = start().await;
    let absent = PutOptions {
        condition: Some(Condition::Absent),
        ..PutOptions::default()
    };
    let first = client.put_with("key", "one", absent).await.unwrap();
    assert!(first.is_some());
    assert_eq!(client.put_with("key", "two", absent).await.unwrap(), None);
    assert_eq!(client.get("key").await.unwrap(), "one");

    let present = PutOptions {
        condition: Some(Condition::Present),
        ttl: Some(Duration::from_secs(60)),
        keep_ttl: false,
    };
    assert!(client.put_with("key", "three", present).await.unwrap() > first);
    let keep = PutOptions {
        keep_ttl: true,
        ..PutOptions::default()
    };
    client.put_with("key", "four", keep).await.unwrap();

    let commits = proxy.received("IC.COMMIT");
    assert!(commits[0].ends_with(" 3 NX"), "{commits:?}");
    assert!(commits[2].ends_with(" 5 XX PX 60000"), "{commits:?}");
    assert!(commits[3].ends_with(" 4 KEEPTTL"), "{commits:?}");
}

#[tokio::test]
async fn members_are_proposed_from_what_is_known_of_the_pool() {
    let (client, proxy) = start().await;
    client.put("key", value(stripe(4))).await.unwrap();
    let opens = proxy.received("IC.OPEN");
    let proposal = opens[0].split(' ').nth(3).expect("a proposal");
    assert_eq!(proposal.split(',').count(), 6);
    assert_eq!(
        proxy.received("IC.NODES").len(),
        1,
        "asked once, at the beginning"
    );
}

#[tokio::test]
async fn a_write_whose_terms_ask_nothing_of_the_old_value_is_blind() {
    let (client, proxy) = start().await;
    let put = async |options| client.put_with("key", "value", options).await.unwrap();
    let ttl = Some(Duration::from_secs(60));
    put(PutOptions::default()).await;
    put(PutOptions {
        ttl,
        ..PutOptions::default()
    })
    .await;
    put(PutOptions {
        keep_ttl: true,
        ..PutOptions::default()
    })
    .await;
    put(PutOptions {
        condition: Some(Condition::Present),
        ..PutOptions::default()
    })
    .await;
    let opens = proxy.received("IC.OPEN");
    let is_blind: Vec<bool> = opens.iter().map(|open| open.ends_with(" BLIND")).collect();
    assert_eq!(is_blind, [true, true, false, false], "{opens:?}");
}

#[tokio::test]
async fn a_small_value_that_is_kept_does_not_weigh_on_the_budget() {
    let proxy = FakeProxy::start(FakePool::new("4+2", 0)).await;
    let options = Options::default().budget(6 * 256 * 1024);
    let client = options.connect([proxy.address()]).await.unwrap();
    client.put("key", value(30_000)).await.unwrap();
    let mut kept: Vec<Bytes> = Vec::new();
    for _ in 0..100 {
        kept.push(client.get("key").await.unwrap());
    }
    assert_eq!(client.buffered_bytes(), 0);
    assert!(kept.iter().all(|kept| *kept == kept[..]));
}

#[tokio::test]
async fn connections_that_were_closed_while_idle_are_made_anew() {
    let (client, proxy) = start().await;
    let value = value(2 * stripe(4));
    for _ in 0..5 {
        client.put("key", value.clone()).await.unwrap();
        assert_eq!(client.get("key").await.unwrap(), value);
        proxy.hang_up();
    }
    assert!(proxy.received("IC.LINK").len() >= 5);
}

#[tokio::test]
async fn links_that_break_in_mid_transfer_are_made_anew() {
    let (client, proxy) = start().await;
    let value = value(40 * stripe(4));
    client.put("key", value.clone()).await.unwrap();
    let mut download = client.open("key").await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        read.extend_from_slice(&piece);
        if read.len() % (16 * stripe(4)) < piece.len() {
            proxy.hang_up();
        }
    }
    assert_eq!(read, value);
}

#[tokio::test]
async fn a_value_that_was_replaced_before_it_was_read_is_located_anew() {
    let (client, proxy) = start().await;
    for size in [10, 100_000, 3 * stripe(4)] {
        client.put("key", value(size + 1)).await.unwrap();
        let old = proxy.pool().found("key").unwrap();
        client.delete("key").await.unwrap();
        let newer = value(size);
        client.put("key", newer.clone()).await.unwrap();

        proxy.locate_next(&old);
        assert_eq!(client.get("key").await.unwrap(), newer);
        proxy.locate_next(&old);
        assert_eq!(client.open("key").await.unwrap().size(), size as u64);
        proxy.locate_next(&old);
        let mut written = Vec::new();
        client.get_into("key", &mut written).await.unwrap();
        assert_eq!(written, newer);
        proxy.locate_next(&old);
        client.delete("key").await.unwrap();
        assert!(matches!(client.get("key").await, Err(Error::Miss)));
    }
}

#[tokio::test]
async fn a_value_of_which_too_much_is_gone_is_lost() {
    let (client, proxy) = start().await;
    client.put("key", value(stripe(4))).await.unwrap();
    let found = proxy.pool().found("key").unwrap();
    (0..3).for_each(|index| proxy.pool().holder(&found, index).lose(found.chunk(index)));
    let failed = client.get("key").await;
    assert!(
        matches!(failed, Err(Error::Lost { have: 3, need: 4 })),
        "{failed:?}"
    );
    let asked = proxy.received("IC.LOCATE").len();
    assert_eq!(asked, 2 + PAUSES.len(), "a few times, and not for ever");
}

#[tokio::test]
async fn a_read_that_had_a_lease_releases_it() {
    let (client, proxy) = start().await;
    client.put("small", value(100_000)).await.unwrap();
    client.get("small").await.unwrap();
    client.put("large", value(3 * stripe(4))).await.unwrap();
    client.get("large").await.unwrap();
    proxy.receives("IC.RELEASE", 1).await;
    drop(client.open("large").await.unwrap());
    proxy.receives("IC.RELEASE", 2).await;
    let lease = LEASES + proxy.pool().found("large").unwrap().write.sequence;
    assert_eq!(
        proxy.received("IC.RELEASE"),
        vec![format!("IC.RELEASE {lease}"); 2]
    );
}

/// A client with one connection for requests, and over it a request that is cancelled midway.
async fn cancel_a_request(client: &Client, proxy: &FakeProxy) {
    proxy.silence("EXISTS");
    tokio::select! {
        answer = client.exists("other") => panic!("{answer:?}"),
        () = proxy.receives("EXISTS", 1) => {}
    }
    // The next request takes another connection.
    assert!(!client.exists("other").await.unwrap());
}

async fn start_with_one_connection() -> (Client, FakeProxy) {
    let proxy = FakeProxy::start(FakePool::new("4+2", 1)).await;
    let options = Options::default().connections(1);
    (options.connect([proxy.address()]).await.unwrap(), proxy)
}

#[tokio::test]
async fn a_put_outlives_a_request_that_is_cancelled_on_the_connection_that_opened_it() {
    let (client, proxy) = start_with_one_connection().await;
    let value = value(3 * stripe(4));
    let (mut writer, reader) = tokio::io::duplex(1 << 16);
    let put = client.put_stream("key", reader, None, PutOptions::default());
    let between = async {
        writer.write_all(&value[..stripe(4)]).await.unwrap();
        writer
            .write_all(&value[stripe(4)..2 * stripe(4)])
            .await
            .unwrap();
        proxy.receives("IC.OPEN", 1).await;
        cancel_a_request(&client, &proxy).await;
        writer.write_all(&value[2 * stripe(4)..]).await.unwrap();
        drop(writer);
    };
    let (stored, ()) = tokio::join!(put, between);
    assert!(stored.unwrap().is_some());
    assert_eq!(client.get("key").await.unwrap(), value);
    proxy.is_left(1).await;
}

#[tokio::test]
async fn a_read_keeps_the_connection_to_which_its_lease_belongs() {
    let (client, proxy) = start_with_one_connection().await;
    client.put("key", value(3 * stripe(4))).await.unwrap();
    let download = client.open("key").await.unwrap();
    cancel_a_request(&client, &proxy).await;
    assert_eq!(proxy.left(), 0);
    drop(download);
    proxy.is_left(1).await;
    proxy.receives("IC.RELEASE", 1).await;
}

#[tokio::test]
async fn refusals_are_errors_that_say_what_to_do() {
    let (client, proxy) = start().await;
    proxy.refuse("IC.OPEN", "OOM full");
    assert!(matches!(
        client.put("key", "x").await,
        Err(Error::OutOfMemory(_))
    ));
    proxy.refuse("IC.COMMIT", "NOWRITE gone");
    assert!(matches!(client.put("key", "x").await, Err(Error::NoWrite)));
    proxy.refuse("IC.LOCATE", "TRYAGAIN starting");
    assert!(matches!(
        client.get("key").await,
        Err(Error::Unreachable(_))
    ));
    proxy.refuse("DEL", "ERR no");
    assert!(matches!(client.delete("key").await, Err(Error::Refused(_))));
    proxy.receives("IC.ABORT", 1).await;
}

#[tokio::test]
async fn a_put_that_is_given_up_is_aborted() {
    let (client, proxy) = start().await;
    let (reader, _writer) = tokio::io::duplex(1024);
    let putting = client.put_stream("key", reader, Some(1 << 20), PutOptions::default());
    assert!(timeout(Duration::from_millis(50), putting).await.is_err());
    proxy.receives("IC.ABORT", 1).await;
    proxy.pool().assert_empty();
}

#[tokio::test]
async fn a_source_that_stalls_fails_the_put() {
    let proxy = FakeProxy::start(FakePool::new("4+2", 0)).await;
    let options = Options::default().deadline(Duration::from_millis(50));
    let client = options.connect([proxy.address()]).await.unwrap();
    let (reader, _writer) = tokio::io::duplex(1024);
    let failed = client
        .put_stream("key", reader, Some(1 << 20), PutOptions::default())
        .await;
    let Err(Error::Io(error)) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_node_that_fails_in_mid_write_is_replaced() {
    let (client, proxy) = start().await;
    proxy.pool().nodes()[2].set_after(2, Mood::Full);
    let value = value(5 * stripe(4) + 77);
    client.put("key", value.clone()).await.unwrap();
    proxy
        .pool()
        .assert_exact(&proxy.pool().found("key").unwrap(), &value);
    assert_eq!(client.get("key").await.unwrap(), value);
    assert_eq!(proxy.received("IC.REPLACE").len(), 1);
}

#[tokio::test]
async fn what_is_known_of_a_value_names_its_nodes() {
    let (client, proxy) = start().await;
    client.put("key", value(stripe(4) + 1)).await.unwrap();
    let mut found = proxy.pool().found("key").unwrap();
    found.members[1] = None;
    proxy.locate_next(&found);
    let stat = client.stat("key").await.unwrap();
    assert_eq!(
        (stat.size, stat.code.to_string()),
        (stripe(4) as u64 + 1, "4+2".into())
    );
    assert_eq!(stat.chunks_held(), 5);
    assert_eq!(stat.chunks[1].node, None);
    assert_eq!(stat.chunks[5].node.as_deref(), Some("node-5"));
    assert!(stat.chunks[5].is_parity && !stat.chunks[3].is_parity);
    assert_eq!(client.pool().await.unwrap().nodes.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_use_one_client() {
    let (client, proxy) = start().await;
    let tasks = (0..64).map(|number: usize| {
        let client = client.clone();
        tokio::spawn(async move {
            let key = format!("key:{number}");
            let value = value(number * 20_011);
            client.put(&key, value.clone()).await.unwrap();
            assert_eq!(client.get(&key).await.unwrap(), value);
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
    assert_eq!(client.buffered_bytes(), 0);
    assert_eq!(proxy.received("IC.LINK").len(), 2);
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_concerns_its_own_keys_only() {
    let (one, other) = (
        FakeProxy::start(FakePool::new("4+2", 0)).await,
        FakeProxy::start(FakePool::new("4+2", 0)).await,
    );
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let client = Client::connect([one.address(), gone, other.address()])
        .await
        .unwrap();
    let (mut put, mut failed) = (0, 0);
    let begun = Instant::now();
    for number in 0..60 {
        let key = format!("key:{number}");
        match client.put(&key, value(100)).await {
            Ok(_) => {
                put += 1;
                assert_eq!(client.get(&key).await.unwrap(), value(100));
            }
            Err(Error::Unreachable(_)) => failed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(put > 20 && failed > 5, "{put} put, {failed} failed");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(!one.received("IC.OPEN").is_empty() && !other.received("IC.OPEN").is_empty());
    assert_eq!(
        client
            .pools()
            .await
            .iter()
            .filter(|(_, view)| view.is_err())
            .count(),
        1
    );
}

#[tokio::test]
async fn a_client_without_a_proxy_that_answers_is_refused() {
    assert!(matches!(
        Client::connect([""; 0]).await,
        Err(Error::Refused(_))
    ));
    assert!(matches!(
        Client::connect(["rediss://x"]).await,
        Err(Error::Refused(_))
    ));
    assert!(matches!(
        Client::connect(["127.0.0.1:1"]).await,
        Err(Error::Unreachable(_))
    ));
}

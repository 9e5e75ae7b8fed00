//! A node and a proxy that is a test, over real sockets.

mod support;

use bytes::Bytes;
use infinicache_wire::{
    Frame, Header, Kind, MAX_PAYLOAD, MemberId, Reply, Request, Secret, handshake::Welcome,
};
use support::{Link, Proxy, TestNode, chunk, finish, get, held, put, secret, soon};
use tokio::io::AsyncWriteExt;

const LENGTHS: [usize; 6] = [1, 100, 4095, 5000, 16 << 10, MAX_PAYLOAD];

/// Stores a chunk of one unit.
async fn store(link: &mut Link, sequence: u64) {
    assert_eq!(link.ask(put(sequence, 0, 1000)).await, Reply::DONE);
    assert_eq!(link.ask(finish(sequence, 1)).await, Reply::DONE);
}

/// Whether that chunk is there.
async fn is_there(link: &mut Link, sequence: u64) -> bool {
    link.ask(get(sequence, 0, 1000)).await == held(sequence, 0, 1000)
}

#[tokio::test]
async fn units_of_every_length_come_back_bit_for_bit() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    for (unit, length) in (0..).zip(LENGTHS) {
        assert_eq!(link.ask(put(1, unit, length)).await, Reply::DONE);
    }
    let count = LENGTHS.len() as u32;
    assert_eq!(link.ask(finish(1, count + 1)).await, Reply::Incomplete);
    assert_eq!(link.ask(finish(1, count)).await, Reply::DONE);
    for (unit, length) in (0..).zip(LENGTHS) {
        assert_eq!(link.ask(get(1, unit, length)).await, held(1, unit, length));
    }
    assert_eq!(link.ask(put(1, 0, 1)).await, Reply::Conflict);
    assert_eq!(link.ask(get(1, count, 1)).await, Reply::NotFound);

    let delete = Request::Delete { chunk: chunk(1) };
    assert_eq!(link.ask(delete).await, Reply::DONE);
    assert_eq!(link.ask(get(1, 0, 1)).await, held(1, 0, 1));
    assert_eq!(link.report().await.chunks, 0);
    let free = Request::Free { chunk: chunk(1) };
    assert_eq!(link.ask(free).await, Reply::DONE);
    assert_eq!(link.ask(get(1, 0, 1)).await, Reply::NotFound);
    assert_eq!(link.report().await.used_bytes, 0);
}

#[tokio::test]
async fn small_units_do_not_hold_on_to_the_buffer_they_came_in() {
    let node = TestNode::start(&["--memory=1MiB"]).await;
    let (_proxy, mut link) = node.linked().await;
    let puts = (0..).map(|unit| put(1, unit, 10)).take(2000).collect();
    assert!(
        link.ask_all(puts)
            .await
            .iter()
            .all(|put| *put == Reply::DONE)
    );
    let used = link.report().await.used_bytes;
    assert!(used < 1 << 20, "{used}");
}

#[tokio::test]
async fn a_full_node_refuses_units_and_keeps_what_it_has() {
    let node = TestNode::start(&["--memory=600KiB"]).await;
    let (_proxy, mut link) = node.linked().await;
    for unit in 0..2 {
        assert_eq!(link.ask(put(1, unit, MAX_PAYLOAD)).await, Reply::DONE);
    }
    assert_eq!(link.ask(put(1, 2, MAX_PAYLOAD)).await, Reply::Full);
    assert_eq!(
        link.ask(get(1, 1, MAX_PAYLOAD)).await,
        held(1, 1, MAX_PAYLOAD)
    );
    let report = link.report().await;
    assert_eq!((report.puts, report.full), (2, 1));
    assert!(report.used_bytes <= report.capacity_bytes);
    assert!(report.resident_bytes > 0 || !cfg!(target_os = "linux"));
}

#[tokio::test]
async fn many_requests_under_way_are_all_answered() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    let mut requests = Vec::new();
    for sequence in 0..3000 {
        requests.push(put(sequence, 0, 100));
        requests.push(finish(sequence, 1));
        requests.push(get(sequence, 0, 100));
    }
    let replies = link.ask_all(requests).await;
    for (sequence, replies) in (0..).zip(replies.chunks(3)) {
        assert_eq!(*replies, [Reply::DONE, Reply::DONE, held(sequence, 0, 100)]);
    }
}

#[tokio::test]
async fn a_proxy_that_reads_late_gets_every_reply() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    for unit in 0..16 {
        link.ask(put(1, unit, MAX_PAYLOAD)).await;
    }
    // 250 MiB of replies, far more than may wait in the node and in the kernel.
    let gets = (0..1000).map(|n| get(1, n % 16, MAX_PAYLOAD)).collect();
    for (n, reply) in (0..).zip(link.ask_all(gets).await) {
        assert!(reply == held(1, n % 16, MAX_PAYLOAD), "reply {n}");
    }
}

#[tokio::test]
async fn frames_that_come_in_pieces_are_put_together() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    let Request::Put { bytes, .. } = put(1, 0, 20_000) else {
        unreachable!()
    };
    let frame = put(1, 0, 20_000).into_frame(7, MemberId(1));
    for byte in frame.header.encode() {
        link.stream.write_all(&[byte]).await.unwrap();
    }
    for piece in bytes.chunks(777) {
        link.stream.write_all(piece).await.unwrap();
    }
    assert_eq!(link.reply().await, (7, Reply::DONE));
    assert_eq!(link.ask(get(1, 0, 20_000)).await, held(1, 0, 20_000));
}

#[tokio::test]
async fn requests_right_behind_the_welcome_are_answered() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    node.wake(&proxy.wake("s1")).await;
    let mut link = proxy.greeted().await;
    let welcome = proxy.welcome(true).signed(&secret(), &link.hello);
    let mut bytes = Vec::new();
    for frame in [
        welcome.to_frame(),
        Request::Ping {
            now_ms: 1,
            lease: infinicache_wire::LeaseOffer::default(),
        }
        .into_frame(9, MemberId(1)),
    ] {
        bytes.extend_from_slice(&frame.header.encode());
        bytes.extend_from_slice(&frame.payload);
    }
    link.stream.write_all(&bytes).await.unwrap();
    assert_eq!(link.reply().await.0, 9);
}

#[tokio::test]
async fn what_is_no_request_closes_the_link_and_costs_no_chunk() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    store(&mut link, 1).await;

    link.stream.write_all(&[0xff; 48]).await.unwrap();
    assert!(link.closes().await, "an unknown kind");

    let mut link = proxy.accept(false).await;
    assert_eq!(link.hello.session, "s1");
    assert!(link.hello.used > 1000);
    let reply = Frame::new(Header::of(Kind::Reply), Bytes::new());
    link.send_frame(reply).await;
    assert!(link.closes().await, "a reply to nothing");

    let mut link = proxy.accept(false).await;
    assert!(is_there(&mut link, 1).await);
}

#[tokio::test]
async fn a_lost_link_is_redialled_and_every_chunk_is_still_there() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    store(&mut link, 1).await;
    link.ask(put(2, 0, 1000)).await;
    let instance = link.hello.instance;
    drop(link);

    let mut link = proxy.accept(false).await;
    assert_eq!(link.hello.instance, instance);
    assert_eq!(link.hello.epoch, 1);
    assert!(is_there(&mut link, 1).await);
    assert!(is_there(&mut link, 2).await, "pending ones as well");
}

#[tokio::test]
async fn a_fresh_welcome_drops_every_chunk() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    store(&mut link, 1).await;
    drop(link);
    let mut link = proxy.accept(true).await;
    assert!(!is_there(&mut link, 1).await);
    assert_eq!(link.report().await.used_bytes, 0);
}

#[tokio::test]
async fn a_new_session_replaces_the_link_once_it_is_welcomed() {
    let node = TestNode::start(&[]).await;
    let (_old, mut link) = node.linked().await;
    store(&mut link, 1).await;

    let new = Proxy::bind().await;
    assert_eq!(node.wake(&new.wake("s2")).await.0, 200);
    let mut greeted = new.greeted().await;
    assert_eq!(greeted.hello.session, "s2");
    assert!(
        is_there(&mut link, 1).await,
        "the old link lives on meanwhile"
    );

    let welcome = new.welcome(false).signed(&secret(), &greeted.hello);
    greeted.send_frame(welcome.to_frame()).await;
    assert!(is_there(&mut greeted, 1).await);
    assert!(link.closes().await);
}

#[tokio::test]
async fn only_a_genuine_welcome_of_our_protocol_is_followed() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    store(&mut link, 1).await;
    drop(link);

    let stranger = Secret::new(b"some other secret").unwrap();
    let mut link = proxy.greeted().await;
    let forged = proxy.welcome(true).signed(&stranger, &link.hello);
    link.send_frame(forged.to_frame()).await;
    assert!(link.closes().await);

    let mut link = proxy.greeted().await;
    let strange = Welcome {
        protocol: 99,
        ..proxy.welcome(true)
    };
    let strange = strange.signed(&secret(), &link.hello);
    link.send_frame(strange.to_frame()).await;
    assert!(link.closes().await);

    let mut link = proxy.greeted().await;
    link.stream.write_all(&[0; 100]).await.unwrap();
    assert!(link.closes().await);

    let mut link = proxy.accept(false).await;
    assert!(is_there(&mut link, 1).await);
}

#[tokio::test]
async fn a_proxy_of_an_earlier_epoch_is_not_followed() {
    let node = TestNode::start(&[]).await;
    let mut proxy = Proxy::bind().await;
    proxy.epoch = 7;
    node.wake(&proxy.wake("s1")).await;
    let mut link = proxy.accept(true).await;
    store(&mut link, 1).await;
    drop(link);

    proxy.epoch = 6;
    let link = proxy.accept(true).await;
    assert_eq!(link.hello.epoch, 7);
    assert!(link.closes().await);

    proxy.epoch = 8;
    let mut link = proxy.accept(false).await;
    assert!(is_there(&mut link, 1).await);
}

#[tokio::test]
async fn a_proxy_that_comes_up_late_is_reached() {
    let node = TestNode::start(&[]).await;
    let absent = Proxy::bind().await;
    let wake = absent.wake("s1");
    let address = wake.proxy.clone();
    drop(absent);
    node.wake(&wake).await;

    let listener = soon(tokio::net::TcpListener::bind(address)).await.unwrap();
    soon(listener.accept()).await.unwrap();
}

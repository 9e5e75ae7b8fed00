//! Units between nodes, and between clients and nodes, without the proxy in between.

mod support;

use infinicache_wire::{
    Decoder, Frame, InstanceId, Outbox, Reply, Request, Secret,
    copy::Target,
    direct::{DirectAnswer, DirectCall},
    token::{Permission, Token},
};
use support::{Link, TestNode, chunk, finish, get, held, payload, put, secret, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn copy(sequence: u64, units: u32, to: &Link) -> Request {
    Request::Copy {
        chunk: chunk(sequence),
        units,
        target: Target {
            address: to.hello.direct.clone(),
            instance: to.hello.instance,
            longest: 100_000,
            deadline_ms: 5_000,
        },
    }
}

/// Stores a complete chunk of units of 50,000 bytes.
async fn store(link: &mut Link, sequence: u64, units: u32) {
    for unit in 0..units {
        assert_eq!(link.ask(put(sequence, unit, 50_000)).await, Reply::DONE);
    }
    assert_eq!(link.ask(finish(sequence, units)).await, Reply::DONE);
}

#[tokio::test]
async fn a_copied_chunk_is_whole_and_pending_on_the_other_node() {
    let (source, target) = (TestNode::start(&[]).await, TestNode::start(&[]).await);
    let ((_one, mut from), (_other, mut to)) = (source.linked().await, target.linked().await);
    store(&mut from, 1, 30).await;
    assert_eq!(from.ask(copy(1, 30, &to)).await, Reply::DONE);
    assert_eq!(
        to.report().await.pending_bytes,
        to.report().await.used_bytes
    );
    assert_eq!(to.ask(finish(1, 29)).await, Reply::Incomplete);
    assert_eq!(to.ask(finish(1, 30)).await, Reply::DONE);
    for unit in 0..30 {
        assert_eq!(to.ask(get(1, unit, 50_000)).await, held(1, unit, 50_000));
    }
}

#[tokio::test]
async fn many_chunks_are_copied_at_once() {
    let (source, target) = (TestNode::start(&[]).await, TestNode::start(&[]).await);
    let ((_one, mut from), (_other, mut to)) = (source.linked().await, target.linked().await);
    for sequence in 1..=100 {
        store(&mut from, sequence, (sequence % 3) as u32).await;
    }
    let copies = (1..=100).map(|sequence| copy(sequence, (sequence % 3) as u32, &to));
    let replies = from.ask_all(copies.collect()).await;
    assert!(replies.iter().all(|reply| *reply == Reply::DONE));
    let finishes = (1..=100).map(|sequence| finish(sequence, (sequence % 3) as u32));
    let replies = to.ask_all(finishes.collect()).await;
    assert!(replies.iter().all(|reply| *reply == Reply::DONE));
}

#[tokio::test]
async fn why_a_chunk_was_not_copied_is_told() {
    let (source, target) = (
        TestNode::start(&[]).await,
        TestNode::start(&["--memory=1MiB"]).await,
    );
    let ((_one, mut from), (_other, mut to)) = (source.linked().await, target.linked().await);
    store(&mut from, 1, 2).await;
    store(&mut from, 2, 40).await;
    assert_eq!(from.ask(copy(1, 3, &to)).await, Reply::NotFound);
    assert_eq!(from.ask(copy(9, 1, &to)).await, Reply::NotFound);
    assert_eq!(from.ask(copy(2, 40, &to)).await, Reply::Full);
    let incomplete = Request::Free { chunk: chunk(2) };
    assert_eq!(to.ask(incomplete).await, Reply::DONE);
    store(&mut to, 1, 2).await;
    assert_eq!(from.ask(copy(1, 2, &to)).await, Reply::Conflict);

    to.hello.instance = InstanceId(5);
    assert_eq!(from.ask(copy(1, 2, &to)).await, Reply::Unreachable);
    to.hello.direct = "127.0.0.1:1".into();
    to.hello.instance = InstanceId(6);
    assert_eq!(from.ask(copy(1, 2, &to)).await, Reply::Unreachable);
    assert_eq!(from.ask(get(1, 0, 50_000)).await, held(1, 0, 50_000));
}

#[tokio::test]
async fn a_target_that_takes_nothing_is_waited_for_no_longer_than_was_said() {
    let source = TestNode::start(&[]).await;
    let (_proxy, mut from) = source.linked().await;
    store(&mut from, 1, 1).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let request = Request::Copy {
        chunk: chunk(1),
        units: 1,
        target: Target {
            address: silent.local_addr().unwrap().to_string(),
            instance: InstanceId(1),
            longest: 100_000,
            deadline_ms: 200,
        },
    };
    assert_eq!(from.ask(request).await, Reply::Late);
}

#[tokio::test]
async fn a_node_without_a_direct_port_says_so() {
    let node = TestNode::start(&["--direct-port=off"]).await;
    let (_proxy, link) = node.linked().await;
    assert_eq!(link.hello.direct, "");
}

/// A direct link by hand, sealed with `secret`.
async fn dial(link: &Link, with: &Secret) -> (TcpStream, Decoder) {
    let mut stream = TcpStream::connect(&link.hello.direct).await.unwrap();
    let mut decoder = Decoder::new();
    let call = DirectCall::new(link.hello.instance, [1, 2]);
    send(&mut stream, call.to_frame()).await;
    let answer = next(&mut stream, &mut decoder).await.expect("an answer");
    let answer = DirectAnswer::from_frame(&answer).unwrap();
    let mut seal = call.seal(&answer, &secret()).expect("a genuine answer");
    if with.prove("", &[]) != secret().prove("", &[]) {
        seal.proof = with.prove("direct seal", &[]);
    }
    send(&mut stream, seal.to_frame()).await;
    (stream, decoder)
}

async fn send(stream: &mut TcpStream, frame: Frame) {
    let mut outbox = Outbox::new();
    outbox.push(frame);
    soon(stream.write_all_buf(&mut outbox)).await.unwrap();
}

async fn next(stream: &mut TcpStream, decoder: &mut Decoder) -> Option<Frame> {
    soon(async {
        loop {
            if let Some(frame) = decoder.decode().unwrap() {
                return Some(frame);
            }
            match stream.read_buf(&mut decoder.buffer()).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    })
    .await
}

async fn ask(stream: &mut TcpStream, decoder: &mut Decoder, request: Request) -> Option<Reply> {
    send(stream, request.into_frame(7, infinicache_wire::MemberId(0))).await;
    let frame = next(stream, decoder).await?;
    Some(Reply::from_frame(frame).unwrap())
}

#[tokio::test]
async fn over_a_direct_link_units_move_and_nothing_is_decided() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    store(&mut link, 1, 1).await;
    let (mut stream, mut decoder) = dial(&link, &secret()).await;
    let stored = ask(&mut stream, &mut decoder, put(2, 0, 1000)).await;
    assert_eq!(stored, Some(Reply::DONE));
    let given = ask(&mut stream, &mut decoder, get(1, 0, 50_000)).await;
    assert_eq!(given, Some(held(1, 0, 50_000)));
    for forbidden in [
        Request::Free { chunk: chunk(1) },
        Request::Delete { chunk: chunk(1) },
        Request::Ping {
            now_ms: 1,
            lease: infinicache_wire::LeaseOffer::default(),
        },
        finish(2, 1),
        copy(1, 1, &link),
    ] {
        let (mut stream, mut decoder) = dial(&link, &secret()).await;
        assert_eq!(ask(&mut stream, &mut decoder, forbidden).await, None);
    }
    assert_eq!(link.ask(get(1, 0, 50_000)).await, held(1, 0, 50_000));
}

#[tokio::test]
async fn whoever_does_not_know_the_secret_gets_nothing() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    store(&mut link, 1, 1).await;
    let stranger = Secret::new(b"a secret of somebody else").unwrap();
    let (mut stream, mut decoder) = dial(&link, &stranger).await;
    assert_eq!(next(&mut stream, &mut decoder).await, None);

    let mut stream = TcpStream::connect(&link.hello.direct).await.unwrap();
    let flood = Frame::new(
        infinicache_wire::Header::of(infinicache_wire::Kind::Direct),
        payload(1, 1, 100_000),
    );
    let mut outbox = Outbox::new();
    outbox.push(flood);
    // It may be closed before all of it is written.
    let _ = soon(stream.write_all_buf(&mut outbox)).await;
    assert_eq!(next(&mut stream, &mut Decoder::new()).await, None);
}

/// A client's link, with a token for one write.
async fn client(
    link: &Link,
    sequence: u64,
    right: Permission,
    with: &Secret,
) -> (TcpStream, Decoder) {
    let mut stream = TcpStream::connect(&link.hello.direct).await.unwrap();
    let token = token(link, sequence, right, with);
    send(&mut stream, token.to_frame()).await;
    (stream, Decoder::new())
}

fn token(link: &Link, sequence: u64, right: Permission, with: &Secret) -> Token {
    let write = chunk(sequence).write;
    Token::new(with, link.hello.instance, write, right, u64::MAX)
}

#[tokio::test]
async fn a_client_exchanges_the_units_that_it_has_passes_for() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    store(&mut link, 1, 1).await;
    store(&mut link, 3, 1).await;
    let (mut stream, mut decoder) = client(&link, 1, Permission::Get, &secret()).await;
    let given = ask(&mut stream, &mut decoder, get(1, 0, 50_000)).await;
    assert_eq!(given, Some(held(1, 0, 50_000)));
    for uncovered in [put(1, 1, 1000), put(2, 0, 1000), get(3, 0, 50_000)] {
        let refused = ask(&mut stream, &mut decoder, uncovered).await;
        assert_eq!(refused, Some(Reply::Unreachable));
    }
    send(
        &mut stream,
        token(&link, 2, Permission::Put, &secret()).to_frame(),
    )
    .await;
    let stored = ask(&mut stream, &mut decoder, put(2, 0, 1000)).await;
    assert_eq!(stored, Some(Reply::DONE));
    assert_eq!(link.ask(finish(2, 1)).await, Reply::DONE);
    let decided = ask(&mut stream, &mut decoder, finish(2, 1)).await;
    assert_eq!(decided, None, "what exists is not a client's to decide");
}

#[tokio::test]
async fn a_client_s_unit_that_comes_after_its_chunk_was_freed_is_not_kept() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    let (mut stream, mut decoder) = client(&link, 1, Permission::Put, &secret()).await;
    let first = ask(&mut stream, &mut decoder, put(1, 0, 1000)).await;
    assert_eq!(first, Some(Reply::DONE));
    let free = Request::Free { chunk: chunk(1) };
    assert_eq!(link.ask(free).await, Reply::DONE);
    let late = ask(&mut stream, &mut decoder, put(1, 1, 1000)).await;
    assert_eq!(late, Some(Reply::Conflict));
    assert_eq!(link.report().await.used_bytes, 0);
    // What the proxy sends after it has freed the chunk is meant.
    assert_eq!(link.ask(put(1, 0, 1000)).await, Reply::DONE);
    assert_eq!(link.ask(finish(1, 1)).await, Reply::DONE);
}

#[tokio::test]
async fn a_client_whose_pass_is_no_good_gets_nothing() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    store(&mut link, 1, 1).await;
    let stranger = Secret::new(b"a secret of somebody else").unwrap();
    let (mut stream, mut decoder) = client(&link, 1, Permission::Get, &stranger).await;
    assert_eq!(next(&mut stream, &mut decoder).await, None);
    // One more that is no good ends a link that has been used.
    let (mut stream, mut decoder) = client(&link, 1, Permission::Get, &secret()).await;
    let given = ask(&mut stream, &mut decoder, get(1, 0, 50_000)).await;
    assert_eq!(given, Some(held(1, 0, 50_000)));
    send(
        &mut stream,
        token(&link, 2, Permission::Put, &stranger).to_frame(),
    )
    .await;
    assert_eq!(next(&mut stream, &mut decoder).await, None);
}

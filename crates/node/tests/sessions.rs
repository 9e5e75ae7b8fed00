//! Sessions that end, in both modes: wakes answered at once, and held open.

mod support;

use std::time::Duration;

use infinicache_wire::{
    ByeReason, Reply,
    wake::{Lifetimes, Wake},
    wake_answer::{SessionEnd, WakeAnswer},
};
use support::{Link, Proxy, TestNode, finish, get, held, http, put, secret, soon};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::Instant,
};

/// A session that ends 100 ms before the end of each half second, and after 5 s at the latest.
const SHORT: Lifetimes = Lifetimes {
    held: false,
    cycle_ms: 500,
    extension_ms: 300,
    guard_ms: 100,
    maximum_ms: 5_000,
};

const HELD: Lifetimes = Lifetimes {
    held: true,
    ..SHORT
};

/// Of a session that nothing ends within a test.
const LONG: Lifetimes = Lifetimes {
    held: true,
    cycle_ms: 0,
    extension_ms: 0,
    guard_ms: 0,
    maximum_ms: 600_000,
};

fn wake(proxy: &Proxy, session: &str, lifetimes: Lifetimes) -> Wake {
    let wake = Wake {
        lifetimes,
        ..proxy.wake(session)
    };
    wake.signed(&secret())
}

async fn says_session_over(link: &mut Link) -> bool {
    let frame = link.frame().await.expect("a goodbye");
    ByeReason::from_frame(&frame) == Some(ByeReason::SessionOver)
}

/// A response that was held open, of which the head and the answer have been read.
struct Response {
    stream: BufReader<TcpStream>,
    answer: WakeAnswer,
}

impl Response {
    async fn to(node: &TestNode, wake: &Wake) -> Self {
        soon(async {
            let body = serde_json::to_vec(wake).unwrap();
            let head = format!(
                "POST /wake HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut stream = TcpStream::connect(node.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
            let mut response = BufReader::new(stream);
            let status = line(&mut response).await;
            assert!(status.contains(" 200 "), "{status}");
            let mut headers = Vec::new();
            while let header = line(&mut response).await
                && !header.is_empty()
            {
                headers.push(header.to_ascii_lowercase());
            }
            assert!(headers.contains(&"transfer-encoding: chunked".to_owned()));
            assert!(!headers.iter().any(|it| it.starts_with("content-length")));
            let answer = chunk(&mut response).await.expect("an answer");
            let answer = WakeAnswer::parse(answer.as_bytes(), wake, &secret()).unwrap();
            assert!(answer.held);
            Self {
                stream: response,
                answer,
            }
        })
        .await
    }

    /// Why it ended.
    async fn ended(mut self) -> String {
        soon(async {
            let last = chunk(&mut self.stream).await.expect("a last line");
            assert_eq!(chunk(&mut self.stream).await, None);
            SessionEnd::find(last.as_bytes()).expect("an end").ended
        })
        .await
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

async fn chunk(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let length = usize::from_str_radix(&line(stream).await, 16).unwrap();
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes.truncate(length);
    (length > 0).then(|| String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_session_without_traffic_ends_with_a_goodbye_and_costs_no_chunk() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let before = Instant::now();
    node.wake(&wake(&proxy, "s1", SHORT)).await;
    let mut link = proxy.accept(true).await;
    link.ask(put(1, 0, 1000)).await;
    link.ask(finish(1, 1)).await;
    assert!(says_session_over(&mut link).await);
    assert!(before.elapsed() >= Duration::from_millis(400));

    assert_eq!(link.ask(get(1, 0, 1000)).await, held(1, 0, 1000));
    assert_eq!(link.report().await.chunks, 1, "the link lives on");
    assert_eq!(http(node.address, "GET", "/readyz", b"").await.0, 200);

    let (status, body) = node.wake(&wake(&proxy, "s1", SHORT)).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"linked\":true"), "{body}");
    assert!(says_session_over(&mut link).await, "a session of its own");
    assert_eq!(link.ask(get(1, 0, 1000)).await, held(1, 0, 1000));
}

#[tokio::test]
async fn traffic_keeps_a_session_from_ending_and_pings_do_not() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    node.wake(&wake(&proxy, "s1", SHORT)).await;
    let mut link = proxy.accept(true).await;
    // Served every 100 ms, it is never without a reason to go on; `ask` fails on a goodbye.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(link.ask(put(1, 0, 1000)).await, Reply::DONE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let mut pings = 0;
    loop {
        link.send([infinicache_wire::Request::Ping {
            now_ms: 1,
            lease: infinicache_wire::LeaseOffer::default(),
        }])
        .await;
        let frame = link.frame().await.unwrap();
        if ByeReason::from_frame(&frame) == Some(ByeReason::SessionOver) {
            break;
        }
        pings += 1;
        assert!(pings < 400, "pings keep a session from ending");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn a_node_that_rests_says_so_again_over_a_new_link() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    node.wake(&wake(&proxy, "s1", SHORT)).await;
    let mut link = proxy.accept(true).await;
    assert!(says_session_over(&mut link).await);
    drop(link);
    let mut link = proxy.accept(false).await;
    assert!(says_session_over(&mut link).await);
    link.report().await;
}

#[tokio::test]
async fn a_wake_held_open_is_answered_at_once_and_ends_with_its_session() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let before = Instant::now();
    let response = Response::to(&node, &wake(&proxy, "s1", HELD)).await;
    let mut link = proxy.accept(true).await;
    assert_eq!(response.answer.instance, link.hello.instance);
    assert_eq!(response.ended().await, "session_over");
    assert!(before.elapsed() >= Duration::from_millis(400));
    assert!(says_session_over(&mut link).await);
    link.report().await;
}

#[tokio::test]
async fn a_later_wake_takes_over_the_session_of_one_held_open() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let first = Response::to(&node, &wake(&proxy, "s1", LONG)).await;
    let mut link = proxy.accept(true).await;
    let second = Response::to(&node, &wake(&proxy, "s1", HELD)).await;
    assert_eq!(first.ended().await, "renewed");
    assert_eq!(second.ended().await, "session_over");
    assert!(says_session_over(&mut link).await);
}

#[tokio::test]
async fn a_node_that_is_told_to_go_ends_the_wake_that_it_holds_open() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let response = Response::to(&node, &wake(&proxy, "s1", LONG)).await;
    let mut link = proxy.accept(true).await;
    link.ask(put(1, 0, 1000)).await;
    let ended = node.terminate();
    assert_eq!(response.ended().await, "terminated");
    assert!(support::is_bye(&link.frame().await.unwrap()));
    assert_eq!(link.ask(get(1, 0, 1000)).await, held(1, 0, 1000));
    let free = infinicache_wire::Request::Free {
        chunk: support::chunk(1),
    };
    link.ask(free).await;
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_goes_on_when_whoever_held_its_wake_open_leaves() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let response = Response::to(&node, &wake(&proxy, "s1", HELD)).await;
    let mut link = proxy.accept(true).await;
    drop(response);
    assert!(says_session_over(&mut link).await);
    link.report().await;
}

#[tokio::test]
async fn while_replies_wait_to_be_written_a_session_does_not_end() {
    let node = TestNode::start(&[]).await;
    let proxy = Proxy::bind().await;
    let response = Response::to(&node, &wake(&proxy, "s1", HELD)).await;
    let mut link = proxy.accept(true).await;
    for unit in 0..16 {
        link.ask(put(1, unit, 128 << 10)).await;
    }
    // Far more replies than the kernel takes, and nobody reads them.
    link.send((0..200).map(|n| get(1, n % 16, 128 << 10))).await;
    let mut response = Box::pin(response.ended());
    let early = tokio::time::timeout(Duration::from_secs(2), &mut response).await;
    assert!(early.is_err(), "it ended while it served");
    for _ in 0..200 {
        assert!(matches!(link.reply().await.1, Reply::Done { .. }));
    }
    assert_eq!(response.await, "session_over");
}

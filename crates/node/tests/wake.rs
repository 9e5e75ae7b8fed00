//! The wake endpoint over real HTTP.

mod support;

use infinicache_wire::{
    LeaseOffer, Request, Secret,
    wake::{Lifetimes, MAX_WAKE, Wake},
    wake_answer::{WakeAnswer, WakeRefusalKind},
};
use support::{Proxy, TestNode, http, refusal, secret};

#[tokio::test]
async fn a_genuine_wake_is_answered_at_once_and_dialled() {
    let node = TestNode::start(&["--host=h", "--zone=z", "--pod=p"]).await;
    let proxy = Proxy::bind().await;
    let wake = proxy.wake("s1");
    let (status, body) = node.wake(&wake).await;
    assert_eq!(status, 200);
    let answer = WakeAnswer::parse(body.as_bytes(), &wake, &secret()).unwrap();
    assert!(!answer.linked && !answer.held);

    let hello = proxy.greeted().await.hello;
    assert_eq!(answer.instance, hello.instance);
    assert_eq!(hello.session, "s1");
    assert_eq!((hello.node.as_str(), hello.pod.as_str()), ("n", "p"));
    assert_eq!((hello.host.as_str(), hello.zone.as_str()), ("h", "z"));
    assert_eq!((hello.capacity, hello.used, hello.epoch), (64 << 20, 0, 0));
}

#[tokio::test]
async fn a_wake_of_the_linked_session_only_answers() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    link.report().await;
    let (status, body) = node.wake(&proxy.wake("s1")).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"linked\":true"), "{body}");
    link.report().await;
}

#[tokio::test]
async fn what_is_no_wake_for_this_node_is_refused_with_its_reason() {
    let node = TestNode::start(&[]).await;
    let wake = Proxy::bind().await.wake("s1");

    let other_secret = Secret::new(b"some other secret").unwrap();
    let (status, body) = node.wake(&wake.clone().signed(&other_secret)).await;
    assert_eq!(status, 401);
    let refused = refusal(&body);
    assert_eq!(refused.refused, WakeRefusalKind::Forged);
    assert_eq!(refused.reason, "wake document without proof of the secret");

    let redirected = Wake {
        proxy: "10.6.6.6:6".into(),
        ..wake.clone()
    };
    assert_eq!(node.wake(&redirected).await.0, 401);

    let unnamed = Wake {
        session: String::new(),
        ..wake.clone()
    };
    assert_eq!(node.wake(&unnamed).await.0, 400);

    let endless = Lifetimes {
        maximum_ms: u32::MAX,
        ..Lifetimes::default()
    };
    let endless = Wake {
        lifetimes: endless,
        ..wake.clone()
    };
    assert_eq!(node.wake(&endless.signed(&secret())).await.0, 400);

    let newer = Wake {
        version: 99,
        ..wake.clone()
    };
    let (status, body) = node.wake(&newer).await;
    assert_eq!(status, 409);
    assert_eq!(refusal(&body).refused, WakeRefusalKind::Version);

    let elsewhere = Wake {
        node: "m".into(),
        ..wake
    }
    .signed(&secret());
    let (status, body) = node.wake(&elsewhere).await;
    assert_eq!(status, 409);
    let refused = refusal(&body);
    assert_eq!(refused.refused, WakeRefusalKind::OtherNode);
    assert_eq!(refused.reason, "wake for \"m\", but this is \"n\"");
}

#[tokio::test]
async fn a_wake_of_an_earlier_epoch_is_refused_with_proof_of_the_later_one() {
    let node = TestNode::start(&[]).await;
    let mut proxy = Proxy::bind().await;
    proxy.epoch = 7;
    node.wake(&proxy.wake("s1")).await;
    let mut link = proxy.accept(true).await;
    link.report().await;

    proxy.epoch = 6;
    for session in ["s1", "s2"] {
        let wake = proxy.wake(session);
        let (status, body) = node.wake(&wake).await;
        assert_eq!(status, 409);
        assert_eq!(refusal(&body).supersedes(&wake, &secret()), Some(7));
    }
    link.report().await;
    proxy.epoch = 7;
    assert_eq!(node.wake(&proxy.wake("s1")).await.0, 200);
}

#[tokio::test]
async fn a_second_proxy_is_refused_while_the_first_one_leads_and_is_heard_from() {
    let node = TestNode::start(&[]).await;
    let first = Proxy::bind().await;
    node.wake(&first.wake("s1")).await;
    let mut link = first.accept(true).await;
    let ping = |leads| Request::Ping {
        now_ms: 1,
        lease: LeaseOffer { ms: 60_000, leads },
    };
    link.ask(ping(true)).await;

    let mut second = Proxy::bind().await;
    second.epoch = 7;
    let wake = second.wake("s2");
    let (status, body) = node.wake(&wake).await;
    assert_eq!(status, 409);
    assert_eq!(refusal(&body).led_by(&wake, &secret()), Some(1));
    assert_eq!(refusal(&body).supersedes(&wake, &secret()), None);
    assert_eq!(node.wake(&first.wake("s1")).await.0, 200);

    // A run that has lost its majority leads no more.
    link.ask(ping(false)).await;
    assert_eq!(node.wake(&second.wake("s3")).await.0, 200);
    let mut other = second.accept(false).await;
    other.ask(ping(true)).await;
    assert!(link.closes().await);
    // One that has died is not waited for.
    drop(other);
    let mut third = Proxy::bind().await;
    third.epoch = 8;
    while node.wake(&third.wake("s4")).await.0 != 200 {}
    third.accept(false).await.report().await;
}

#[tokio::test]
async fn garbage_and_endless_bodies_are_refused() {
    let node = TestNode::start(&[]).await;
    let post = async |body: &[u8]| http(node.address, "POST", "/wake", body).await.0;
    assert_eq!(post(b"").await, 400);
    assert_eq!(post(b"{\"version\":").await, 400);
    assert_eq!(post(&[0xff; 100]).await, 400);
    assert_eq!(post(&[b' '; MAX_WAKE + 1]).await, 413);
    assert_eq!(post(&vec![b' '; 4 << 20]).await, 413);
    assert_eq!(http(node.address, "GET", "/wake", b"").await.0, 405);
}

#[tokio::test]
async fn health_and_metrics_are_told() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    link.ask(support::put(1, 0, 100)).await;
    node.wake(&proxy.wake("s1")).await;
    http(node.address, "POST", "/wake", b"garbage").await;

    let get = async |path: &str| http(node.address, "GET", path, b"").await;
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    assert_eq!(get("/other").await.0, 404);
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "infinicache_node_capacity_bytes 67108864",
        "infinicache_node_puts_total 1",
        "infinicache_node_received_bytes_total 100",
        "infinicache_node_accepted_wakes_total 2",
        "infinicache_node_refused_wakes_total 1",
        "infinicache_node_established_links_total 1",
    ] {
        assert!(
            metrics.lines().any(|told| told == line),
            "{line}: {metrics}"
        );
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("infinicache_node_"), "{line}");
    }
}

#[tokio::test]
async fn a_wake_without_proof_starts_nothing() {
    let node = TestNode::start(&[]).await;
    let (stranger, proxy) = (Proxy::bind().await, Proxy::bind().await);
    let other_secret = Secret::new(b"some other secret").unwrap();
    let forged = Wake {
        epoch: u64::MAX,
        ..stranger.wake("s1")
    };
    let unsigned = Wake {
        proof: String::new(),
        ..stranger.wake("s2")
    };
    for wake in [forged.signed(&other_secret), unsigned] {
        assert_eq!(node.wake(&wake).await.0, 401);
    }
    // It has heard of no epoch, and no session.
    assert_eq!(node.wake(&proxy.wake("s1")).await.0, 200);
    let link = proxy.greeted().await;
    assert_eq!((link.hello.epoch, &*link.hello.session), (0, "s1"));
    assert!(stranger.is_left_alone().await);
}

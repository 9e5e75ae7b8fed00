//! What SIGTERM does.

mod support;

use infinicache_wire::{Reply, Request, wake_answer::WakeRefusalKind};
use support::{TestNode, chunk, finish, get, held, http, is_bye, put, refusal, soon};

#[tokio::test]
async fn a_node_that_was_never_woken_goes_at_once() {
    let node = TestNode::start(&[]).await;
    soon(node.terminate()).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_empty_node_says_goodbye_and_goes() {
    let node = TestNode::start(&[]).await;
    let (_proxy, mut link) = node.linked().await;
    link.report().await;
    let ended = node.terminate();
    assert!(is_bye(&link.frame().await.unwrap()));
    assert!(link.closes().await);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_answers_until_it_is_emptied_and_then_goes() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    let address = node.address;
    link.ask(put(1, 0, 1000)).await;
    link.ask(finish(1, 1)).await;
    link.ask(put(2, 0, 1000)).await;

    let ended = node.terminate();
    assert!(is_bye(&link.frame().await.unwrap()));
    let wake = serde_json::to_vec(&proxy.wake("s2")).unwrap();
    let (status, body) = http(address, "POST", "/wake", &wake).await;
    assert_eq!(status, 503);
    assert_eq!(refusal(&body).refused, WakeRefusalKind::Leaving);
    assert_eq!(http(address, "GET", "/readyz", b"").await.0, 503);
    assert_eq!(http(address, "GET", "/healthz", b"").await.0, 200);

    assert_eq!(link.ask(get(1, 0, 1000)).await, held(1, 0, 1000));
    assert_eq!(link.ask(put(2, 1, 1000)).await, Reply::DONE);
    let delete = |sequence| Request::Delete {
        chunk: chunk(sequence),
    };
    assert_eq!(link.ask(delete(1)).await, Reply::DONE);
    assert_eq!(link.ask(get(2, 1, 1000)).await, held(2, 1, 1000));
    assert_eq!(link.ask(delete(2)).await, Reply::DONE);
    assert!(link.closes().await);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_nobody_empties_goes_when_its_time_is_over() {
    let node = TestNode::start(&["--drain=300ms"]).await;
    let (_proxy, mut link) = node.linked().await;
    link.ask(put(1, 0, 1000)).await;
    let ended = node.terminate();
    assert!(is_bye(&link.frame().await.unwrap()));
    assert!(link.closes().await);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_draining_node_that_loses_its_link_redials_and_says_goodbye_again() {
    let node = TestNode::start(&[]).await;
    let (proxy, mut link) = node.linked().await;
    link.ask(put(1, 0, 1000)).await;
    let ended = node.terminate();
    assert!(is_bye(&link.frame().await.unwrap()));
    drop(link);

    let mut link = proxy.accept(false).await;
    assert!(is_bye(&link.frame().await.unwrap()));
    assert_eq!(link.ask(get(1, 0, 1000)).await, held(1, 0, 1000));
    let free = Request::Free { chunk: chunk(1) };
    assert_eq!(link.ask(free).await, Reply::DONE);
    assert!(link.closes().await);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_last_words_are_read_even_if_requests_are_left_unanswered() {
    let node = TestNode::start(&["--drain=0s"]).await;
    let (_proxy, mut link) = node.linked().await;
    for unit in 0..16 {
        link.ask(put(1, unit, 128 << 10)).await;
    }
    link.send((0..500).map(|unit| get(1, unit % 16, 128 << 10)))
        .await;
    let ended = node.terminate();
    let mut said_bye = false;
    while let Some(frame) = link.frame().await {
        said_bye |= is_bye(&frame);
    }
    assert!(said_bye);
    drop(link);
    soon(ended).await.unwrap().unwrap();
}

use infinicache_wire::{
    ByeReason, PROTOCOL_VERSION, wake::Lifetimes, wake_answer::WakeRefusalKind,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const LONG: Duration = Duration::from_secs(30);
const INSTANCE: InstanceId = InstanceId(5);

fn secret() -> Secret {
    Secret::new(b"a secret of the tests").unwrap()
}

fn wake(held: bool) -> Wake {
    Wake {
        version: PROTOCOL_VERSION,
        node: "n".into(),
        proxy: "127.0.0.1:1".into(),
        session: "s".into(),
        epoch: 7,
        lifetimes: Lifetimes {
            held,
            ..Lifetimes::default()
        },
        proof: String::new(),
    }
}

fn answer() -> WakeAnswer {
    WakeAnswer {
        version: PROTOCOL_VERSION,
        node: "n".into(),
        instance: INSTANCE,
        session: "s".into(),
        linked: false,
        held: false,
        proof: String::new(),
    }
}

/// What follows the answer.
enum Then {
    Close,
    Hang,
    Repeat,
}

/// A server that answers one request with `status`, unless that is empty, and `body`.
async fn server(status: &'static str, body: impl Into<Vec<u8>>, then: Then) -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/n", listener.local_addr().unwrap());
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
    let body = body.into();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 << 10];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"POST /n/wake "));
        if status.is_empty() {
            return std::future::pending().await;
        }
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        match then {
            Then::Close => {}
            Then::Hang => std::future::pending().await,
            Then::Repeat => while stream.write_all(&body).await.is_ok() {},
        }
    });
    url.parse().unwrap()
}

async fn post(url: &Uri, held: bool, patience: Duration) -> Result<Woken, WakeError> {
    let waker = WakeClient::new(LONG, secret());
    waker.wake(url, wake(held), Instant::now() + patience).await
}

/// Why a wake that is answered like that fails.
async fn failure(status: &'static str, body: impl Into<Vec<u8>>, then: Then) -> WakeFailure {
    let url = server(status, body, then).await;
    post(&url, false, LONG).await.unwrap_err().failure()
}

#[tokio::test]
async fn a_node_that_signs_its_answer_is_woken() {
    for then in [Then::Close, Then::Hang] {
        let signed = answer().signed(&secret());
        let url = server("200 OK", signed.to_line(), then).await;
        let Ok(Woken::Answered(read)) = post(&url, false, LONG).await else {
            panic!("it answered");
        };
        assert_eq!(read, signed);
    }
}

#[tokio::test]
async fn a_200_that_is_no_answer_wakes_nobody() {
    for body in ["", "OK", "<html>welcome</html>", "{}", "{\"version\":1}"] {
        assert_eq!(
            failure("200 OK", body, Then::Close).await,
            WakeFailure::Malformed,
            "{body}"
        );
    }
    let unsigned = answer().to_line();
    assert_eq!(
        failure("200 OK", unsigned, Then::Close).await,
        WakeFailure::Forged
    );
    let other = WakeAnswer {
        node: "m".into(),
        ..answer()
    };
    let other = other.signed(&secret()).to_line();
    assert_eq!(
        failure("200 OK", other, Then::Close).await,
        WakeFailure::OtherNode
    );
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let garbage = failure("200 OK", vec![b'x'; 4096], Then::Repeat).await;
    assert_eq!(garbage, WakeFailure::Malformed);
    let refused = failure("500 Oops", vec![b'\n'; 4096], Then::Repeat).await;
    assert_eq!(refused, WakeFailure::Refused);
}

#[tokio::test]
async fn whoever_does_not_answer_is_waited_for_until_the_deadline() {
    let patience = Duration::from_millis(100);
    for (status, body) in [("", ""), ("200 OK", "{\"version\"")] {
        let url = server(status, body, Then::Hang).await;
        let error = post(&url, false, patience).await.unwrap_err();
        assert_eq!(error.failure(), WakeFailure::TimedOut, "{status}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = post(&url.parse().unwrap(), false, LONG).await.unwrap_err();
    assert_eq!(error.failure(), WakeFailure::Unreachable);
}

#[tokio::test]
async fn a_refusal_because_of_a_later_epoch_is_told_apart() {
    let superseded = WakeRefusal::fenced(&wake(false), 9, &secret());
    let url = server("409 Conflict", superseded.to_line(), Then::Close).await;
    let error = post(&url, false, LONG).await.unwrap_err();
    assert!(matches!(error, WakeError::Fenced(9)), "{error}");

    let stranger = Secret::new(b"some other secret").unwrap();
    let unproven = WakeRefusal::fenced(&wake(false), 9, &stranger);
    let other = WakeRefusal::new(WakeRefusalKind::OtherNode, "not me");
    for body in [unproven.to_line(), other.to_line(), b"conflict".to_vec()] {
        assert_eq!(
            failure("409 Conflict", body, Then::Close).await,
            WakeFailure::Refused
        );
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_its_own_words_if_they_are_few() {
    let refusal = WakeRefusal::new(WakeRefusalKind::Leaving, "going");
    let url = server("503 Busy", refusal.to_line(), Then::Close).await;
    let error = post(&url, false, LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "answered 503 Service Unavailable: going");
    let url = server("502 Bad", vec![b'x'; 5_000], Then::Close).await;
    assert!(post(&url, false, LONG).await.unwrap_err().to_string().len() < 300);
}

/// A response held open, of which the headers and `body` have come.
async fn held(body: impl Into<Vec<u8>>, then: Then) -> HeldWake {
    let url = server("200 OK", body, then).await;
    match post(&url, true, LONG).await {
        Ok(Woken::Held(held)) => held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_headers_of_a_response_held_open_are_the_answer() {
    let url = server("200 OK", "", Then::Hang).await;
    assert!(matches!(post(&url, true, LONG).await, Ok(Woken::Held(_))));
}

#[tokio::test]
async fn the_end_of_a_session_is_read_whatever_the_platform_appends() {
    let over = SessionEnd::because(&ByeReason::SessionOver);
    let lines = [answer().signed(&secret()).to_line(), over.to_line()].concat();
    for junk in ["", "activator request timeout", "\nrequest timeout\n"] {
        let body = [&lines[..], junk.as_bytes()].concat();
        let mut held = held(body, Then::Close).await;
        assert_eq!(held.answer().await.unwrap().instance, INSTANCE);
        assert_eq!(held.ended().await, Some(over.clone()));
    }
}

#[tokio::test]
async fn a_response_that_the_platform_cut_has_ended_without_a_reason() {
    let line = answer().signed(&secret()).to_line();
    let body = [&line[..], b"activator request timeout"].concat();
    let mut cut = held(body, Then::Close).await;
    cut.answer().await.unwrap();
    assert_eq!(cut.ended().await, None);
}

#[tokio::test]
async fn what_is_said_over_a_response_held_open_has_to_be_an_answer() {
    for (body, then) in [("OK\n", Then::Hang), ("garbage", Then::Repeat)] {
        let error = held(body, then).await.answer().await.unwrap_err();
        assert_eq!(error.failure(), WakeFailure::Malformed);
    }
}

#[tokio::test]
async fn a_response_held_open_is_read_no_longer_than_its_session_can_last() {
    let mut held = held(answer().signed(&secret()).to_line(), Then::Hang).await;
    let rest = held.until.saturating_duration_since(Instant::now());
    let maximum = Duration::from_millis(held.wake.lifetimes.maximum_ms.into());
    assert!(rest > maximum && rest <= maximum + MARGIN);
    held.until = Instant::now() + Duration::from_millis(100);
    held.answer().await.unwrap();
    assert_eq!(held.ended().await, None);
}

#[test]
fn an_ingress_is_asked_for_the_host_without_the_default_port() {
    for (url, expected) in [
        (
            "http://node-0.cache.svc.cluster.local",
            "node-0.cache.svc.cluster.local",
        ),
        ("http://node-0.cache:80/", "node-0.cache"),
        ("http://127.0.0.1:8080/node-0", "127.0.0.1:8080"),
    ] {
        assert_eq!(host(&url.parse().unwrap()), expected);
    }
}

//! Wakes a node without the secret, to see whether a wake reaches it.
//!
//! The node has to refuse that with 401: then the whole way works - name, ingress,
//! activator, a pod that starts - and no caller without the secret gets further.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Uri, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use infinicache_wire::{
    PROTOCOL_VERSION,
    wake::{Lifetimes, Wake},
    wake_answer::{WakeRefusal, WakeRefusalKind},
};
use tokio::time;

use super::facts::WakeSeen;

/// How long a node may take: it may have to be scheduled, and its image pulled.
const DEADLINE: Duration = Duration::from_secs(30);

/// Most bytes of an answer.
const MOST: usize = 8 * 1024;

/// How much of one is shown.
const SHOWN: usize = 120;

/// Posts a wake that proves nothing to the node of this name at `url`.
pub(super) async fn try_wake(node: &str, url: &str) -> WakeSeen {
    let seen = time::timeout(DEADLINE, post(node, url)).await;
    seen.unwrap_or_else(|_| WakeSeen::Unreachable(format!("no answer in {DEADLINE:?}")))
}

async fn post(node: &str, url: &str) -> WakeSeen {
    let target = format!("{}/wake", url.trim_end_matches('/'));
    let target: Uri = match target.parse() {
        Ok(target) => target,
        Err(error) => return WakeSeen::Unreachable(format!("{url}: {error}")),
    };
    let request = Request::post(target)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(forged(node))))
        .expect("a URL and a body make a request");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (head, body) = match client.request(request).await {
        Ok(response) => response.into_parts(),
        Err(error) => return WakeSeen::Unreachable(causes(&error)),
    };
    let body = Limited::new(body, MOST).collect().await;
    let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    read(head.status.as_u16(), &body)
}

/// What an answer means.
fn read(status: u16, body: &[u8]) -> WakeSeen {
    let refusal = WakeRefusal::parse(body);
    let is_forged = |refusal: &WakeRefusal| refusal.refused == WakeRefusalKind::Forged;
    if status == 401 && refusal.as_ref().is_some_and(is_forged) {
        return WakeSeen::AsksForProof;
    }
    let text = String::from_utf8_lossy(body);
    WakeSeen::Answered(status, text.trim().chars().take(SHOWN).collect())
}

/// A document that is right in all but its proof.
fn forged(node: &str) -> Vec<u8> {
    let wake = Wake {
        version: PROTOCOL_VERSION,
        node: node.to_owned(),
        proxy: "doctor.invalid:1".into(),
        session: "doctor".into(),
        epoch: 0,
        lifetimes: Lifetimes::default(),
        proof: String::new(),
    };
    serde_json::to_vec(&wake).expect("plain data has a JSON form")
}

/// An error with all that led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{Secret, wake::WakeError};

    use super::*;

    #[test]
    fn only_a_node_that_asks_for_proof_is_one() {
        let refusal = WakeRefusal::new(WakeRefusalKind::Forged, "no proof").to_line();
        assert_eq!(read(401, &refusal), WakeSeen::AsksForProof);
        assert_eq!(
            read(401, b"who are you"),
            WakeSeen::Answered(401, "who are you".into())
        );
        assert!(matches!(read(200, &refusal), WakeSeen::Answered(200, _)));
        let superseded = WakeRefusal::new(WakeRefusalKind::OtherNode, "other").to_line();
        assert!(matches!(read(409, &superseded), WakeSeen::Answered(409, _)));
    }

    #[test]
    fn the_document_lacks_nothing_but_proof() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let refused = Wake::parse(&forged("n"), &secret);
        assert!(matches!(refused, Err(WakeError::Forged)));
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_its_cause() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let seen = try_wake("n", &format!("http://127.0.0.1:{port}")).await;
        let WakeSeen::Unreachable(text) = seen else {
            panic!("{seen:?}")
        };
        assert!(text.contains("refused"), "{text}");
        assert!(matches!(
            try_wake("n", "not a url").await,
            WakeSeen::Unreachable(_)
        ));
    }
}

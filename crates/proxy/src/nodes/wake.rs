//! The POST that wakes a node.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use infinicache_wire::wake::Wake;
use tokio::time;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 8 * 1024;

/// Why a node could not be woken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    #[error("cannot be reached: {0}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("did not answer in time")]
    TimedOut,
}

/// Sends wake documents.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    http: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
}

impl Waker {
    pub(crate) fn new(deadline: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(deadline));
        connector.set_nodelay(true);
        Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            deadline,
        }
    }

    /// Posts `wake` to the node at `url`.
    pub(crate) async fn wake(&self, url: &Uri, wake: &Wake) -> Result<(), WakeError> {
        let posting = self.post(url, wake);
        time::timeout(self.deadline, posting)
            .await
            .unwrap_or(Err(WakeError::TimedOut))
    }

    async fn post(&self, url: &Uri, wake: &Wake) -> Result<(), WakeError> {
        let target = format!("{}/wake", url.to_string().trim_end_matches('/'));
        let body = serde_json::to_vec(wake).expect("plain data has a JSON form");
        let request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .expect("a node's URL was checked when it was configured");
        let answer = self.http.request(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let text = text.map(|body| body.to_bytes()).unwrap_or_default();
        Err(WakeError::Refused {
            status,
            text: String::from_utf8_lossy(&text).trim().to_owned(),
        })
    }
}

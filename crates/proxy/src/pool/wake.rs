//! The POST that wakes a node, and what is made of its answer.
//!
//! Anything may stand behind a URL: a platform that says 200 by itself, a node
//! of another name, a body without an end. So an answer counts only if the node
//! that was meant has signed it. The one exception are wakes held open for their
//! session: there the headers are the answer, as platforms may keep the body
//! back; what the body says is looked at when it comes, in the background.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri, body::Incoming, client::conn::http1::handshake, header, http::uri,
};
use hyper_util::rt::TokioIo;
use infinicache_host::{clock, task};
use infinicache_socket::{Keepalive, Stream};
use infinicache_wire::{
    InstanceId, Secret,
    control::WakeFailure,
    wake::Wake,
    wake_answer::{AnswerError, MAX_ANSWER, SessionEnd, WakeAnswer, WakeRefusal},
};
use tokio::time;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

#[cfg(test)]
mod tests;

/// How much longer than the maximum of its session a response may stay open.
const MARGIN: Duration = Duration::from_secs(10);

/// How much of a refusal is shown.
const MAX_TEXT: usize = 200;

/// Why a node could not be woken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    #[error("cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    #[error("the answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("is not in the pool any more")]
    Unlisted,
    #[error("did not answer in time")]
    TimedOut,
    #[error("answered {status}: {text}")]
    Refused { status: StatusCode, text: String },
    #[error("follows a proxy of epoch {0}")]
    Fenced(u64),
    #[error("is led by another proxy, of epoch {0}")]
    OtherLeader(u64),
    #[error("answered more than {MAX_ANSWER} bytes")]
    TooLong,
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("instance {found} answered for {member}")]
    OtherInstance {
        member: InstanceId,
        found: InstanceId,
    },
}

impl WakeError {
    /// What went wrong, in one word.
    pub(crate) fn failure(&self) -> WakeFailure {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::Unlisted => WakeFailure::Unreachable,
            Self::TimedOut => WakeFailure::TimedOut,
            Self::Refused { .. } => WakeFailure::Refused,
            Self::Fenced(_) => WakeFailure::Fenced,
            Self::OtherLeader(_) => WakeFailure::OtherLeader,
            Self::TooLong | Self::Answer(AnswerError::Malformed(_) | AnswerError::Version(_)) => {
                WakeFailure::Malformed
            }
            Self::Answer(AnswerError::OtherNode(_)) => WakeFailure::OtherNode,
            Self::Answer(AnswerError::Forged) => WakeFailure::Forged,
            Self::OtherInstance { .. } => WakeFailure::OtherInstance,
        }
    }
}

/// The host that a URL names, as an ingress knows it: without the port that HTTP has by default.
fn host(url: &Uri) -> &str {
    match url.port_u16() {
        None | Some(80) => url.host().unwrap_or_default(),
        Some(_) => url.authority().map_or("", uri::Authority::as_str),
    }
}

/// A wake that was accepted.
#[derive(Debug)]
pub(crate) enum Woken {
    /// The node said who it is.
    Answered(WakeAnswer),
    /// It was let in, and will say so while its session lasts.
    Held(HeldWake),
}

/// Sends wake documents.
#[derive(Clone, Debug)]
pub(crate) struct WakeClient {
    connect_deadline: Duration,
    secret: Secret,
}

impl WakeClient {
    pub(crate) fn new(connect_deadline: Duration, secret: Secret) -> Self {
        Self {
            connect_deadline,
            secret,
        }
    }

    /// Posts `wake` to the node at `url`, and waits `until` then for the answer.
    pub(crate) async fn wake(
        &self,
        url: &Uri,
        wake: Wake,
        until: Instant,
    ) -> Result<Woken, WakeError> {
        time::timeout_at(until.into(), self.post(url, wake))
            .await
            .unwrap_or(Err(WakeError::TimedOut))
    }

    async fn post(&self, url: &Uri, wake: Wake) -> Result<Woken, WakeError> {
        let wake = wake.signed(&self.secret);
        let body = serde_json::to_vec(&wake).expect("plain data has a JSON form");
        let request = Request::post(format!("{}/wake", url.path().trim_end_matches('/')))
            .header(header::HOST, host(url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::new(body.into()))
            .expect("a node's URL was checked when it was configured");

        // Wakes of a node are seconds apart: a connection that is kept would be closed meanwhile.
        let stream = TokioIo::new(self.connect(url).await?);
        let (mut sender, connection) = handshake(stream).await?;
        let connection = AbortOnDropHandle::new(task::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection of a wake failed");
            }
        }));
        let (head, body) = sender.send_request(request).await?.into_parts();
        let mut lines = ResponseLines::of(body, connection);
        if !head.status.is_success() {
            return Err(self.refused(head.status, &lines.rest().await, &wake));
        }
        if wake.lifetimes.held {
            let open = Duration::from_millis(wake.lifetimes.maximum_ms.into()) + MARGIN;
            return Ok(Woken::Held(HeldWake {
                lines,
                wake,
                secret: self.secret.clone(),
                until: clock::now() + open,
            }));
        }
        let answer = WakeAnswer::parse(&lines.line().await?, &wake, &self.secret)?;
        Ok(Woken::Answered(answer))
    }

    async fn connect(&self, url: &Uri) -> io::Result<Stream> {
        let host = url.host().unwrap_or_default();
        let address = format!("{host}:{}", url.port_u16().unwrap_or(80));
        let connecting = infinicache_socket::connect(&address, Keepalive::PROMPT, |_| Ok(()));
        time::timeout(self.connect_deadline, connecting).await?
    }

    fn refused(&self, status: StatusCode, body: &[u8], wake: &Wake) -> WakeError {
        let refusal = WakeRefusal::parse(body);
        if let Some(refusal) = refusal.as_ref().filter(|_| status == StatusCode::CONFLICT) {
            if let Some(epoch) = refusal.supersedes(wake, &self.secret) {
                return WakeError::Fenced(epoch);
            }
            if let Some(epoch) = refusal.led_by(wake, &self.secret) {
                return WakeError::OtherLeader(epoch);
            }
        }
        let text = refusal.map_or_else(
            || String::from_utf8_lossy(body).trim().to_owned(),
            |refusal| refusal.reason,
        );
        let text = text.chars().take(MAX_TEXT).collect();
        WakeError::Refused { status, text }
    }
}

/// A response that stays open while its session lasts.
#[derive(Debug)]
pub(crate) struct HeldWake {
    lines: ResponseLines,
    wake: Wake,
    secret: Secret,
    until: Instant,
}

impl HeldWake {
    /// Who answered.
    pub(crate) async fn answer(&mut self) -> Result<WakeAnswer, WakeError> {
        let line = time::timeout_at(self.until.into(), self.lines.line()).await;
        let line = line.unwrap_or(Err(WakeError::TimedOut))?;
        Ok(WakeAnswer::parse(&line, &self.wake, &self.secret)?)
    }

    /// Waits for the end of the response; why the session ended, if the node said so.
    pub(crate) async fn ended(mut self) -> Option<SessionEnd> {
        let rest = time::timeout_at(self.until.into(), self.lines.rest()).await;
        SessionEnd::find(&rest.ok()?)
    }
}

/// A body that is read line by line, up to a limit.
#[derive(Debug)]
struct ResponseLines {
    body: Incoming,
    read: Vec<u8>,
    total: usize,
    _connection: AbortOnDropHandle<()>,
}

impl ResponseLines {
    fn of(body: Incoming, connection: AbortOnDropHandle<()>) -> Self {
        Self {
            body,
            read: Vec::new(),
            total: 0,
            _connection: connection,
        }
    }

    /// The next line, or what there is of it when the body ends.
    async fn line(&mut self) -> Result<Vec<u8>, WakeError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            if !self.more().await? {
                return Ok(std::mem::take(&mut self.read));
            }
        }
    }

    /// All that follows, as far as it can be had.
    async fn rest(&mut self) -> Vec<u8> {
        while let Ok(true) = self.more().await {}
        std::mem::take(&mut self.read)
    }

    async fn more(&mut self) -> Result<bool, WakeError> {
        let Some(frame) = self.body.frame().await else {
            return Ok(false);
        };
        if let Ok(data) = frame?.into_data() {
            self.total += data.len();
            if self.total > MAX_ANSWER {
                return Err(WakeError::TooLong);
            }
            self.read.extend_from_slice(&data);
        }
        Ok(true)
    }
}

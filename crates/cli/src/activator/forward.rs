//! Requests in, answers out: bodies are streamed both ways and never held.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, Uri, header},
};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::{
    net::TcpStream,
    time::{self, Instant},
};
use tracing::debug;

use super::{
    lifecycle::Refusal,
    node::{Admission, NodeHandle},
    nodes::Activator,
};
use crate::http::{self, HttpError};

/// How long a request looks for a process that accepts its connection.
///
/// A process that was just killed refuses connections some moments before the
/// system says that it is dead. Nothing has been sent yet, so the request may
/// as well wait for the next process.
const LOOKING: Duration = Duration::from_secs(2);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a process may take to say whether it is about to go. One that is stopped says
/// nothing, and gets the request all the same.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends a request for `/<node>/<path>` to the node, as one for `/<path>`.
pub(super) async fn forward(
    State(activator): State<Arc<Activator>>,
    mut request: Request,
) -> Response<Body> {
    let Some((name, uri)) = split(request.uri()) else {
        return text(StatusCode::NOT_FOUND, "a path is /<node>/<path>");
    };
    let Some(node) = activator.nodes.get(&name) else {
        return text(StatusCode::NOT_FOUND, format!("no node {name:?}"));
    };
    *request.uri_mut() = uri;
    if let Some(answer) = node.wakes().answer(request.uri().path()).await {
        return answer;
    }
    strip_hop_by_hop(request.headers_mut());
    match exchange(node, request, activator.timing.answer).await {
        Ok(response) => response,
        Err(failure) => {
            debug!(node = name, %failure, "request failed");
            failure.response()
        }
    }
}

async fn exchange(
    node: &NodeHandle,
    request: Request,
    deadline: Duration,
) -> Result<Response<Body>, Failure> {
    let (admission, stream) = reach(node).await?;
    let answer = time::timeout(deadline, http::exchange(stream, request))
        .await
        .map_err(|_| HttpError::Late(deadline))??;
    let mut response = answer.map(|body| {
        Body::new(Counted {
            body,
            _admission: admission,
        })
    });
    strip_hop_by_hop(response.headers_mut());
    Ok(response)
}

/// Finds a process that is not about to go, and connects to it.
///
/// A process that got SIGTERM from elsewhere is succeeded by another one: once for a request, so
/// that one which is never ready does not start processes without end.
async fn reach(node: &NodeHandle) -> Result<(Admission, TcpStream), Failure> {
    let give_up = Instant::now() + LOOKING;
    let mut is_successor = false;
    loop {
        let admission = node.admit().await?;
        match http::connect(admission.address).await {
            Ok(_) if !is_successor && is_terminating(admission.address).await => {
                admission.terminating();
                is_successor = true;
                continue;
            }
            Ok(stream) => return Ok((admission, stream)),
            Err(error) if Instant::now() >= give_up => return Err(error.into()),
            Err(_) => {}
        }
        drop(admission);
        time::sleep(PAUSE).await;
    }
}

/// Whether a process says that it is about to go, as Knative's activator asks before it forwards.
async fn is_terminating(address: SocketAddr) -> bool {
    let answer = http::get(address, "/readyz", PROBE_TIMEOUT).await;
    matches!(answer, Ok((StatusCode::SERVICE_UNAVAILABLE, _)))
}

/// Why a request was not answered by its node.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Failure {
    fn response(&self) -> Response<Body> {
        let status = match self {
            Self::Refused(Refusal::Late(_)) | Self::Http(HttpError::Late(_)) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Refused(Refusal::Busy(_) | Refusal::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(Refusal::Failed(_)) | Self::Http(_) => StatusCode::BAD_GATEWAY,
        };
        text(status, self)
    }
}

fn text(status: StatusCode, line: impl ToString) -> Response<Body> {
    let mut response = Response::new(Body::from(line.to_string() + "\n"));
    *response.status_mut() = status;
    response
}

/// Splits `/<node>/<path>?<query>` into the node and `/<path>?<query>`.
fn split(uri: &Uri) -> Option<(String, Uri)> {
    let (path, query) = match uri.path_and_query()?.as_str().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (uri.path(), None),
    };
    let (name, rest) = path
        .strip_prefix('/')?
        .split_once('/')
        .unwrap_or((&path[1..], ""));
    let uri = match query {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    };
    Some((name.to_owned(), uri.parse().ok()?))
}

/// Removes what describes a connection rather than a message.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// The body of an answer; until it has passed, the request is in flight.
struct Counted {
    body: Incoming,
    _admission: Admission,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_a_node_and_its_path() {
        for (uri, name, rest) in [
            ("/node-1/wake", "node-1", "/wake"),
            ("/node-1/a/b?c=/d?e", "node-1", "/a/b?c=/d?e"),
            ("/node-1/", "node-1", "/"),
            ("/node-1", "node-1", "/"),
            ("/node-1?q", "node-1", "/?q"),
            ("http://host:1/node-1/wake", "node-1", "/wake"),
            ("//wake", "", "/wake"),
        ] {
            let (found, path) = split(&uri.parse().unwrap()).unwrap();
            assert_eq!(
                (found.as_str(), path.to_string().as_str()),
                (name, rest),
                "{uri}"
            );
        }
        assert!(split(&"*".parse().unwrap()).is_none());
    }

    #[test]
    fn headers_of_the_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for name in ["connection", "x-hop", "keep-alive", "te", "content-type"] {
            headers.insert(name, "x-hop, close".parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(left, ["content-type"]);
    }
}

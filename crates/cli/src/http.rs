//! One HTTP request over one fresh connection.
//!
//! No connection is kept: the peers are on this machine, requests are rare,
//! and a kept connection to a process that has died since would cost more than
//! it saves.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time};

/// Most bytes of an answer that [`get`] reads.
const MAX_ANSWER: usize = 1 << 20;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No server listens: nothing has been sent.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke: the request may or may not have been received.
    #[error("connection broken")]
    Broken(#[from] hyper::Error),
    /// The answer did not end well.
    #[error("unusable answer")]
    Answer(#[source] Box<dyn Error + Send + Sync>),
    /// It took too long.
    #[error("no answer in {0:?}")]
    Late(Duration),
}

/// Connects.
///
/// # Errors
///
/// If no server listens.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, HttpError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(HttpError::Connect)?;
    stream.set_nodelay(true).map_err(HttpError::Connect)?;
    Ok(stream)
}

/// Sends a request, with its body streamed, and waits for the head of the answer.
///
/// # Errors
///
/// If the connection breaks before the answer.
///
/// # Cancellation
///
/// The connection is closed.
pub async fn exchange(
    stream: TcpStream,
    request: Request<Body>,
) -> Result<Response<Incoming>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or when the one who waits for it has left.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// Gets a page as a whole, within `deadline`.
///
/// # Errors
///
/// If there is no whole answer in time.
pub async fn get(
    address: SocketAddr,
    path: &str,
    deadline: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    let get = async {
        let request = Request::get(path)
            .header(HOST, address.to_string())
            .body(Body::empty())
            .expect("a path of ours is well-formed");
        let response = exchange(connect(address).await?, request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(HttpError::Answer)?;
        Ok((status, body.to_bytes()))
    };
    time::timeout(deadline, get)
        .await
        .map_err(|_| HttpError::Late(deadline))?
}

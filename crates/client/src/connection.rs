//! One connection to a proxy's Redis port: requests out, answers in, one at a time.
//!
//! To the proxy, what is opened over a connection belongs to it, and ends with
//! it. Here a connection may be closed because a request over it was cancelled,
//! which has nothing to do with what was opened over it before. So a caller that
//! opens something gets an [`Owner`], and the socket stays open for as long as
//! that.

use std::{io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use infinicache_resp::{reply, request};
use infinicache_socket::Stream;
use redis_protocol::resp2::types::BytesFrame;

/// Longest answer: the nodes of a pool of some ten thousand.
const MOST_ANSWER: usize = 16 << 20;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Arc<Stream>,
    buffer: BytesMut,
}

/// Keeps a connection open, whether it is of use for requests or not.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "it is only held")]
pub(crate) struct Owner(Arc<Stream>);

impl Connection {
    /// Speaks over `stream`.
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream: Arc::new(stream),
            buffer: BytesMut::new(),
        }
    }

    /// What keeps it open.
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.stream.clone())
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// The connection is of no use then. [`io::ErrorKind::UnexpectedEof`] if the peer closed it.
    ///
    /// # Cancellation
    ///
    /// Not safe: the answer would be taken for that of the next request.
    pub(crate) async fn exchange(&mut self, request: &[Bytes]) -> io::Result<BytesFrame> {
        let mut encoded = BytesMut::new();
        request::encode(&mut encoded, request);
        self.send(encoded).await?;
        loop {
            let taken = reply::take(&mut self.buffer, MOST_ANSWER);
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some(answer) = taken.map_err(invalid)? {
                return Ok(answer);
            }
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn send(&self, mut bytes: BytesMut) -> io::Result<()> {
        while bytes.has_remaining() {
            self.stream.writable().await?;
            match self.stream.try_write(&bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => bytes.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
    }

    /// Whether the peer has neither closed the connection nor said anything out of turn.
    pub(crate) fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        let nothing = matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        nothing && self.buffer.is_empty()
    }

    /// The bare stream, and what was read of it but belongs to no answer.
    ///
    /// # Panics
    ///
    /// If anything was opened over it.
    pub(crate) fn into_inner(self) -> (Stream, BytesMut) {
        let stream = Arc::into_inner(self.stream).expect("nothing was opened over it");
        (stream, self.buffer)
    }
}

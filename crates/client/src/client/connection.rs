//! One connection to a proxy's Redis port: requests out, answers in, one at a time.

use std::io;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{
    decode::decode_bytes_mut, encode::extend_encode, types::BytesFrame,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Longest answer: the nodes of a pool of some ten thousand.
const MOST_ANSWER: usize = 16 << 20;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// Speaks over `stream`.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
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
    pub(super) async fn exchange(&mut self, request: &[Bytes]) -> io::Result<BytesFrame> {
        let words = request.iter().cloned().map(BytesFrame::BulkString).collect();
        let mut encoded = BytesMut::new();
        extend_encode(&mut encoded, &BytesFrame::Array(words), false).map_err(invalid)?;
        self.stream.write_all(&encoded).await?;
        loop {
            if let Some((answer, ..)) = decode_bytes_mut(&mut self.buffer).map_err(invalid)? {
                return Ok(answer);
            }
            if self.buffer.len() > MOST_ANSWER {
                return Err(invalid("the answer is too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether the peer has neither closed the connection nor said anything out of turn.
    pub(super) fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        let nothing = matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        nothing && self.buffer.is_empty()
    }

    /// The bare stream, and what was read of it but belongs to no answer.
    pub(super) fn into_inner(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

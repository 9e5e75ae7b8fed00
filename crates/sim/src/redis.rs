//! A Redis client: one connection, one command at a time.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use infinicache_resp::{reply, request};
use infinicache_socket::{Stream, simulation};
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest reply: of values up to 1.4 MB.
const MOST_REPLY: usize = 4 << 20;

/// A connection to a proxy.
#[derive(Debug)]
pub(crate) struct Redis {
    stream: Stream,
    received: BytesMut,
}

impl Redis {
    pub(crate) async fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = simulation::connect(to).await?;
        Ok(Self {
            stream: Stream::Simulated(stream),
            received: BytesMut::new(),
        })
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&mut self, words: &[&[u8]]) -> io::Result<BytesFrame> {
        let mut command = BytesMut::new();
        request::encode(&mut command, words);
        self.stream.write_all(&command).await?;
        loop {
            if let Some(reply) =
                reply::take(&mut self.received, MOST_REPLY).map_err(io::Error::other)?
            {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

//! A Redis client: one connection, one command at a time.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use infinicache_socket::{Stream, simulation};
use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let mut command = BytesMut::from(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&command).await?;
        loop {
            if let Some((reply, ..)) =
                decode_bytes_mut(&mut self.received).map_err(io::Error::other)?
            {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

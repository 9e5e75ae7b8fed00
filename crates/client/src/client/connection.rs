//! One connection to a proxy's Redis port: requests out, answers in, one at a time.
//!
//! To the proxy, what is opened over a connection belongs to it, and ends with it.
//! Here a connection may be closed because a request over it was cancelled, which
//! has nothing to do with what was opened over it before. So whoever opens
//! something gets an [`Owner`], and the socket stays open for as long as that.

use std::{io, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use infinicache_socket::Stream;
use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};

/// Longest answer: the nodes of a pool of some ten thousand.
const MOST_ANSWER: usize = 16 << 20;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Arc<Stream>,
    buffer: BytesMut,
}

/// Keeps a connection open, whether it is of use for requests or not.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "it is only held")]
pub(super) struct Owner(Arc<Stream>);

impl Connection {
    /// Speaks over `stream`.
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Arc::new(stream),
            buffer: BytesMut::new(),
        }
    }

    /// What keeps it open.
    pub(super) fn owner(&self) -> Owner {
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
    pub(super) async fn exchange(&mut self, request: &[Bytes]) -> io::Result<BytesFrame> {
        self.send(encode(request)).await?;
        loop {
            if let Some(answer) = take_answer(&mut self.buffer)? {
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
    pub(super) fn is_quiet(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        let nothing = matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        nothing && self.buffer.is_empty()
    }

    /// The bare stream, and what was read of it but belongs to no answer.
    ///
    /// # Panics
    ///
    /// If anything was opened over it.
    pub(super) fn into_inner(self) -> (Stream, BytesMut) {
        let stream = Arc::into_inner(self.stream).expect("nothing was opened over it");
        (stream, self.buffer)
    }
}

/// A request as an array of bulk strings.
fn encode(request: &[Bytes]) -> BytesMut {
    let mut encoded = BytesMut::from(format!("*{}\r\n", request.len()).as_bytes());
    for word in request {
        encoded.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        encoded.extend_from_slice(word);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}

/// Takes an answer off what was received, or `None` if more bytes are needed.
fn take_answer(buffer: &mut BytesMut) -> io::Result<Option<BytesFrame>> {
    // No command is answered with an array, and the decoder would follow arrays in
    // arrays until the stack ends.
    if buffer.first() == Some(&b'*') {
        return Err(invalid("an array is no answer"));
    }
    match decode_bytes_mut(buffer).map_err(invalid)? {
        Some((answer, ..)) => Ok(Some(answer)),
        None if buffer.len() > MOST_ANSWER => Err(invalid("the answer is too long")),
        None => Ok(None),
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(fuzzing)]
#[expect(missing_docs, reason = "for the fuzz targets alone")]
pub mod fuzzing {
    use super::*;

    pub fn take_answer(buffer: &mut BytesMut) -> io::Result<Option<BytesFrame>> {
        super::take_answer(buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_is_read_as_another_implementation_reads_it(
            request in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..120),
        ) {
            let request: Vec<Bytes> = request.into_iter().map(Bytes::from).collect();
            let mut encoded = encode(&request);
            let read = decode_bytes_mut(&mut encoded).unwrap().map(|(frame, ..)| frame);
            let words = request.into_iter().map(BytesFrame::BulkString).collect();
            prop_assert_eq!(read, Some(BytesFrame::Array(words)));
            prop_assert!(encoded.is_empty());
        }
    }

    #[test]
    fn answers_within_answers_are_refused_however_deep() {
        let mut deep = BytesMut::from(&b"*1\r\n".repeat(MOST_ANSWER / 4)[..]);
        let refused = take_answer(&mut deep).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}

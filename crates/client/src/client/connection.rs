//! One connection to a proxy's Redis port: requests out, answers in, one at a time.

use std::io;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};
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
        Self {
            stream,
            buffer: BytesMut::new(),
        }
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
        self.stream.write_all(&encode(request)).await?;
        loop {
            if let Some(answer) = take_answer(&mut self.buffer)? {
                return Ok(answer);
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

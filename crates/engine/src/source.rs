//! Where the bytes of a value come from.

use std::{future::Future, io};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Gives a value piece by piece.
pub trait Source: Send {
    /// The next `length` bytes; fewer only at the end of the value.
    fn read(&mut self, length: usize) -> impl Future<Output = io::Result<Bytes>> + Send;
}

impl<S: Source> Source for &mut S {
    fn read(&mut self, length: usize) -> impl Future<Output = io::Result<Bytes>> + Send {
        S::read(self, length)
    }
}

/// A whole value: its pieces refer to it, nothing is copied.
impl Source for Bytes {
    async fn read(&mut self, length: usize) -> io::Result<Self> {
        Ok(self.split_to(length.min(self.len())))
    }
}

/// A stream: each piece is read straight into a buffer of its own.
#[derive(Debug)]
pub struct Stream<R>(pub R);

impl<R: AsyncRead + Unpin + Send> Source for Stream<R> {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        use bytes::BufMut;
        let mut piece = BytesMut::with_capacity(length);
        while piece.len() < length {
            let rest = length - piece.len();
            if self.0.read_buf(&mut (&mut piece).limit(rest)).await? == 0 {
                break;
            }
        }
        Ok(piece.freeze())
    }
}

/// What was read ahead of a source, and then the source itself.
#[derive(Debug)]
pub(crate) struct Chained<S> {
    pub(crate) head: Bytes,
    pub(crate) tail: S,
}

impl<S: Source> Source for Chained<S> {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        if self.head.is_empty() {
            return self.tail.read(length).await;
        }
        // The head is whole stripes, so that a piece never spans both in practice.
        let head = self.head.split_to(length.min(self.head.len()));
        if head.len() == length {
            return Ok(head);
        }
        let tail = self.tail.read(length - head.len()).await?;
        Ok([head, tail].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_as_long_as_asked_until_the_end() {
        let value: Vec<u8> = (0..100).collect();
        let mut stream = Stream(&value[..]);
        assert_eq!(stream.read(60).await.unwrap(), value[..60]);
        assert_eq!(stream.read(60).await.unwrap(), value[60..]);
        assert_eq!(stream.read(60).await.unwrap(), b""[..]);

        let mut chained = Chained {
            head: Bytes::from(value[..50].to_vec()),
            tail: Stream(&value[50..]),
        };
        assert_eq!(chained.read(30).await.unwrap(), value[..30]);
        assert_eq!(chained.read(30).await.unwrap(), value[30..60]);
        assert_eq!(chained.read(90).await.unwrap(), value[60..]);
    }
}

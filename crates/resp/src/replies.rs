//! The receiving half of a client's connection, of a size that does not grow.
//!
//! A value is not held: its bytes are shown piece by piece, where they were read, and forgotten.
//! So a client that only looks at them, or not even that, reads values of any size in the same
//! memory, and copies none of them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::reply::{Head, ReplyError};

/// What was received and not yet understood.
#[derive(Debug)]
pub struct Replies {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Why no more replies can be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer does not speak RESP.
    #[error("protocol error: {0}")]
    Protocol(#[from] ReplyError),
    /// The socket failed, or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Replies {
    /// What reads up to `size` bytes at once. It has to be more than the longest line, or that is
    /// [too long](ReplyError::LineTooLong).
    pub fn new(size: usize) -> Self {
        Self {
            buffer: vec![0; size].into(),
            start: 0,
            end: 0,
        }
    }

    /// The next reply, or its head: then [`Self::value`] is to be read before the one after it.
    ///
    /// # Errors
    ///
    /// The connection is of no use then.
    ///
    /// # Cancellation
    ///
    /// Safe: what was received is kept.
    pub async fn head(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
    ) -> Result<Head<'_>, ReceiveError> {
        let line = loop {
            match Head::read(self.received())? {
                Some((_, line)) => break line,
                None => self.fill(socket).await?,
            }
        };
        let line = self.start..self.start + line;
        self.start = line.end;
        Ok(Head::of_line(&self.buffer[line])?)
    }

    /// Reads a value to its end, and shows its bytes as they come.
    ///
    /// # Errors
    ///
    /// As of [`Self::head`].
    ///
    /// # Cancellation
    ///
    /// Not safe: a part of the value has been shown.
    pub async fn value(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        length: u64,
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), ReceiveError> {
        let mut rest = length;
        while rest > 0 {
            if self.start == self.end {
                self.fill(socket).await?;
            }
            let piece = rest.min(self.received().len() as u64) as usize;
            show(&self.received()[..piece]);
            self.start += piece;
            rest -= piece as u64;
        }
        while self.received().len() < 2 {
            self.fill(socket).await?;
        }
        if !self.received().starts_with(b"\r\n") {
            return Err(ReplyError::Malformed.into());
        }
        self.start += 2;
        Ok(())
    }

    fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads whatever there is, behind what was not understood yet.
    async fn fill(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> Result<(), ReceiveError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            return Err(ReplyError::LineTooLong.into());
        }
        match socket.read(&mut self.buffer[self.end..]).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_larger_than_the_buffer_is_shown_in_pieces() {
        let mut socket = b"$20\r\n0123456789"
            .chain(&b"0123456789\r"[..])
            .chain(&b"\n:1\r\n$-1"[..])
            .chain(&b"\r\n"[..]);
        let mut replies = Replies::new(12);
        assert_eq!(replies.head(&mut socket).await.unwrap(), Head::Bulk(20));
        let mut shown = Vec::new();
        let show = |piece: &[u8]| shown.extend_from_slice(piece);
        replies.value(&mut socket, 20, show).await.unwrap();
        assert_eq!(shown, b"0123456789".repeat(2));
        assert_eq!(replies.head(&mut socket).await.unwrap(), Head::Integer(1));
        assert_eq!(replies.head(&mut socket).await.unwrap(), Head::Null);
        let ended = replies.head(&mut socket).await;
        assert!(
            matches!(ended, Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
        );
    }

    #[tokio::test]
    async fn what_does_not_end_where_it_should_is_refused() {
        let mut socket: &[u8] = b"$2\r\n12345";
        let mut replies = Replies::new(100);
        assert_eq!(replies.head(&mut socket).await.unwrap(), Head::Bulk(2));
        let value = replies.value(&mut socket, 2, |_| {}).await;
        assert!(matches!(
            value,
            Err(ReceiveError::Protocol(ReplyError::Malformed))
        ));
        let mut replies = Replies::new(10);
        let endless = replies.head(&mut &[b'+'; 11][..]).await;
        assert!(matches!(
            endless,
            Err(ReceiveError::Protocol(ReplyError::LineTooLong))
        ));
    }
}

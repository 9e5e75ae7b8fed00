//! Frames to bytes: a queue that is drained by vectored writes.

use std::io::IoSlice;

use bytes::Buf;

use crate::frame::{Frame, HEADER_LEN};

/// Frames on their way out, as one [`Buf`].
///
/// Payload is referred to, never copied: a vectored write takes headers and
/// payloads from where they are. A payload is let go as soon as its last byte
/// has been written.
#[derive(Debug, Default)]
pub struct Outbox(infinicache_outbox::Outbox<[u8; HEADER_LEN]>);

impl Outbox {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.0.push(frame.header.encode(), frame.payload);
    }

    /// How many frames have not been written to their end.
    pub fn frames(&self) -> usize {
        self.0.len()
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.0.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::frame::{Header, Kind};

    #[test]
    fn frames_are_written_header_first_and_counted_until_their_end() {
        let frame = |payload| Frame::new(Header::of(Kind::Put), Bytes::from_static(payload));
        let mut outbox = Outbox::new();
        outbox.push(frame(b"one"));
        outbox.push(frame(b""));
        assert_eq!(outbox.remaining(), 2 * HEADER_LEN + 3);
        assert_eq!(outbox.chunk(), frame(b"one").header.encode());
        outbox.advance(HEADER_LEN + 2);
        assert_eq!((outbox.chunk(), outbox.frames()), (&b"e"[..], 2));
        outbox.advance(1 + HEADER_LEN - 1);
        assert_eq!(outbox.frames(), 1);
        outbox.advance(1);
        assert_eq!(outbox.frames(), 0);
    }
}

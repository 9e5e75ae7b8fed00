//! Frames to bytes: a queue that is drained by vectored writes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

use crate::frame::{Frame, HEADER_LEN};

/// Frames on their way out, as one [`Buf`].
///
/// Payload is referred to, never copied: a vectored write takes headers and
/// payloads from where they are. A payload is let go as soon as its last byte
/// has been written.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<([u8; HEADER_LEN], Bytes)>,
    /// How much of the first frame's header has been written.
    header_written: usize,
    remaining: usize,
}

impl Outbox {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Frame) {
        self.remaining += HEADER_LEN + frame.payload.len();
        self.frames
            .push_back((frame.header.encode(), frame.payload));
    }

    /// How many frames have not been written to their end.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.frames.front() {
            None => &[],
            Some((header, _)) if self.header_written < HEADER_LEN => &header[self.header_written..],
            Some((_, payload)) => payload,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut skip = self.header_written;
        for (header, payload) in &self.frames {
            for part in [&header[skip..], &payload[..]] {
                if filled == slices.len() {
                    return filled;
                }
                if !part.is_empty() {
                    slices[filled] = IoSlice::new(part);
                    filled += 1;
                }
            }
            skip = 0;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(
            count <= self.remaining,
            "advanced by {count} of {}",
            self.remaining
        );
        self.remaining -= count;
        while let Some((_, payload)) = self.frames.front_mut() {
            let of_header = count.min(HEADER_LEN - self.header_written);
            self.header_written += of_header;
            count -= of_header;

            let of_payload = count.min(payload.len());
            payload.advance(of_payload);
            count -= of_payload;

            if self.header_written < HEADER_LEN || !payload.is_empty() {
                return;
            }
            self.frames.pop_front();
            self.header_written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Header, Kind};

    fn frame(payload: Vec<u8>) -> Frame {
        Frame::new(Header::of(Kind::Put), payload.into())
    }

    proptest! {
        #[test]
        fn however_it_is_drained_the_bytes_are_the_frames_in_order(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..8),
            steps in prop::collection::vec((1usize..200, 1usize..6), 1..200),
        ) {
            let mut outbox = Outbox::new();
            let mut expected = Vec::new();
            for payload in payloads {
                let frame = frame(payload);
                expected.extend_from_slice(&frame.header.encode());
                expected.extend_from_slice(&frame.payload);
                outbox.push(frame);
            }

            let mut written = Vec::new();
            for (step, width) in steps.into_iter().cycle() {
                if !outbox.has_remaining() {
                    break;
                }
                let mut slices = vec![IoSlice::new(&[]); width];
                let filled = outbox.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(seen.starts_with(outbox.chunk()));
                let taken = step.min(seen.len());
                written.extend_from_slice(&seen[..taken]);
                drop(slices);
                outbox.advance(taken);
            }
            prop_assert_eq!(written, expected);
            prop_assert_eq!(outbox.frames(), 0);
        }
    }

    #[test]
    fn a_payload_is_let_go_once_written() {
        let owner = std::sync::Arc::new([7u8; 10]);
        struct Shared(std::sync::Arc<[u8; 10]>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                &*self.0
            }
        }
        let mut outbox = Outbox::new();
        let payload = Bytes::from_owner(Shared(owner.clone()));
        outbox.push(Frame::new(Header::of(Kind::Put), payload));
        outbox.push(frame(vec![1]));
        outbox.advance(HEADER_LEN + 10);
        assert_eq!(std::sync::Arc::strong_count(&owner), 1);
        assert_eq!(outbox.frames(), 1);
    }
}

//! Bytes on their way out: a queue that is drained by vectored writes.
//!
//! What is sent alternates between heads, which are few bytes made for it, and payload, which is
//! somewhere already:
//!
//! ```text
//! push(head, payload)  push(head, payload)
//!      |       |            |       |
//!      v       v            v       v
//! [ head ][ payload ...... ][ head ][ payload ... ]      one vectored write takes as much as it can
//! ```
//!
//! Payload is referred to, never copied: a write takes it from where it is, and it is let go as
//! soon as its last byte has been written. Heads are as their protocol has them: an array of fixed
//! size lies in the queue itself, and costs no allocation.
#![forbid(unsafe_code)]

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Heads and payloads on their way out, as one [`Buf`].
#[derive(Debug)]
pub struct Outbox<H> {
    entries: VecDeque<(H, Bytes)>,
    /// How much of the first head has been written.
    head_written: usize,
    remaining: usize,
}

impl<H> Default for Outbox<H> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            head_written: 0,
            remaining: 0,
        }
    }
}

impl<H: AsRef<[u8]>> Outbox<H> {
    /// Appends a head and the payload that follows it; one of them may be empty, but not both.
    pub fn push(&mut self, head: H, payload: Bytes) {
        let length = head.as_ref().len() + payload.len();
        debug_assert!(length > 0, "nothing would be written of it");
        self.remaining += length;
        self.entries.push_back((head, payload));
    }

    /// How many of those that were pushed have not been written to their end.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all has been written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<H: AsRef<[u8]>> Buf for Outbox<H> {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        let Some((head, payload)) = self.entries.front() else {
            return &[];
        };
        match &head.as_ref()[self.head_written..] {
            [] => payload,
            head => head,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut skip = self.head_written;
        for (head, payload) in &self.entries {
            for part in [&head.as_ref()[skip..], &payload[..]] {
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
        while let Some((head, payload)) = self.entries.front_mut() {
            let head = head.as_ref().len();
            let of_head = count.min(head - self.head_written);
            self.head_written += of_head;
            count -= of_head;

            let of_payload = count.min(payload.len());
            payload.advance(of_payload);
            count -= of_payload;

            if self.head_written < head || !payload.is_empty() {
                return;
            }
            self.entries.pop_front();
            self.head_written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn however_it_is_drained_the_bytes_are_those_pushed_in_order(
            entries in vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..100)), 0..8),
            steps in vec((1usize..200, 1usize..6), 1..200),
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (head, payload) in entries {
                if head.is_empty() && payload.is_empty() {
                    continue;
                }
                expected.extend_from_slice(&head);
                expected.extend_from_slice(&payload);
                outbox.push(head, payload.into());
            }

            let mut written = Vec::new();
            for (step, width) in steps.into_iter().cycle() {
                prop_assert_eq!(written.len() + outbox.remaining(), expected.len());
                if !outbox.has_remaining() {
                    break;
                }
                let mut slices = vec![IoSlice::new(&[]); width];
                let filled = outbox.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(!outbox.chunk().is_empty() && seen.starts_with(outbox.chunk()));
                let taken = step.min(seen.len());
                written.extend_from_slice(&seen[..taken]);
                drop(slices);
                outbox.advance(taken);
            }
            prop_assert_eq!(written, expected);
            prop_assert!(outbox.is_empty());
        }
    }

    #[test]
    fn payload_is_let_go_once_written() {
        let payload = Bytes::from(vec![7; 10]);
        let mut outbox = Outbox::default();
        outbox.push([1, 2], payload.clone());
        outbox.push([3, 4], Bytes::new());
        outbox.advance(11);
        assert!(!payload.is_unique(), "it is referred to, not copied");
        outbox.advance(1);
        assert!(payload.is_unique());
        assert_eq!(outbox.len(), 1);
    }
}

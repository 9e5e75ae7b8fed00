//! Replies on their way out, as one [`Buf`].

use std::{collections::VecDeque, fmt::Write, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::{
    resp2::{self, types::BytesFrame},
    resp3,
};

use super::Protocol;

/// Payload up to this length is copied behind the replies before it: that costs
/// less than an entry of its own in the vectored write.
const COPY_UP_TO: usize = 4 * 1024;

/// A queue of replies.
///
/// Larger payload is referred to, not copied: a vectored write takes it from
/// where it is, and lets it go once its last byte is written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: VecDeque<Bytes>,
    /// Follows the last of `parts`.
    tail: BytesMut,
    remaining: usize,
    pub(super) protocol: Protocol,
}

impl Outbox {
    /// Appends a whole reply.
    pub(super) fn frame(&mut self, frame: &BytesFrame) {
        if let BytesFrame::BulkString(value) = frame {
            self.begin_bulk(value.len() as u64);
            self.part(value.clone());
            self.end_bulk();
            return;
        }
        // What `extend_encode` returns counts the bytes that were there before.
        let before = self.tail.len();
        let encoded = match (self.protocol, frame) {
            (Protocol::Resp3, BytesFrame::Null | BytesFrame::Array(_)) => {
                let frame = frame.clone().into_resp3();
                resp3::encode::complete::extend_encode(&mut self.tail, &frame, false)
            }
            _ => resp2::encode::extend_encode(&mut self.tail, frame, false),
        };
        encoded.expect("the buffer is extended to fit");
        self.remaining += self.tail.len() - before;
    }

    /// Appends an array of names and values as a map, where the protocol has maps.
    pub(super) fn map(&mut self, frame: &BytesFrame) {
        match (self.protocol, frame) {
            (Protocol::Resp3, BytesFrame::Array(items)) => {
                self.copy(format!("%{}\r\n", items.len() / 2).as_bytes());
                items.iter().for_each(|item| self.frame(item));
            }
            _ => self.frame(frame),
        }
    }

    /// Appends the head of a bulk string, of which `length` bytes will follow.
    pub(super) fn begin_bulk(&mut self, length: u64) {
        let before = self.tail.len();
        write!(self.tail, "${length}\r\n").expect("the buffer is extended to fit");
        self.remaining += self.tail.len() - before;
    }

    /// Appends a part of a bulk string.
    pub(super) fn part(&mut self, part: Bytes) {
        if part.len() <= COPY_UP_TO {
            return self.copy(&part);
        }
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
        self.remaining += part.len();
        self.parts.push_back(part);
    }

    /// Appends the end of a bulk string.
    pub(super) fn end_bulk(&mut self) {
        self.copy(b"\r\n");
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.remaining += bytes.len();
        self.tail.extend_from_slice(bytes);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.tail, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let parts = self.parts.iter().map(|part| &part[..]).chain(tail);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            filled += 1;
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
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                return part.advance(count);
            }
            count -= part.len();
            self.parts.pop_front();
        }
        self.tail.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2::decode::decode_bytes;

    use super::*;

    fn replies() -> impl Strategy<Value = Vec<BytesFrame>> {
        let length = prop_oneof![0..200usize, COPY_UP_TO - 2..COPY_UP_TO + 3];
        let reply = prop_oneof![
            any::<i64>().prop_map(BytesFrame::Integer),
            "[ -~]{0,30}".prop_map(|text| BytesFrame::SimpleString(text.into())),
            Just(BytesFrame::Null),
            (length, any::<u8>())
                .prop_map(|(length, fill)| BytesFrame::BulkString(vec![fill; length].into())),
        ];
        prop::collection::vec(reply, 0..12)
    }

    proptest! {
        #[test]
        fn however_it_is_drained_the_bytes_are_the_replies_in_order(
            replies in replies(),
            steps in prop::collection::vec((1usize..5_000, 1usize..6), 1..50),
        ) {
            let mut outbox = Outbox::default();
            replies.iter().for_each(|reply| outbox.frame(reply));

            let mut written = Vec::new();
            for (step, width) in steps.into_iter().cycle() {
                if !outbox.has_remaining() {
                    break;
                }
                let mut slices = vec![IoSlice::new(&[]); width];
                let filled = outbox.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(!outbox.chunk().is_empty() && seen.starts_with(outbox.chunk()));
                let taken = step.min(seen.len());
                written.extend_from_slice(&seen[..taken]);
                outbox.advance(taken);
            }

            let mut written = Bytes::from(written);
            for reply in replies {
                let (decoded, length) = decode_bytes(&written).unwrap().unwrap();
                prop_assert_eq!(decoded, reply);
                written.advance(length);
            }
            prop_assert!(written.is_empty());
        }
    }

    #[test]
    fn payload_is_let_go_once_written() {
        let payload = Bytes::from(vec![7; COPY_UP_TO + 1]);
        let mut outbox = Outbox::default();
        outbox.frame(&BytesFrame::BulkString(payload.clone()));
        assert!(!payload.is_unique(), "it is referred to, not copied");
        outbox.advance(outbox.remaining() - 2);
        assert!(payload.is_unique());
    }
}

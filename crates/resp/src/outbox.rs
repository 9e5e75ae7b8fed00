//! Replies on their way out, as one [`Buf`].

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::types::BytesFrame;

use super::{line, protocol::Protocol};

/// Payload up to this length is copied behind the replies before it: that costs
/// less than an entry of its own in the vectored write.
const COPY_UP_TO: usize = 4 * 1024;

/// A queue of replies.
///
/// Larger payload is referred to, not copied, behind all that was copied before it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: infinicache_outbox::Outbox<Bytes>,
    /// Follows the last of `parts`.
    tail: BytesMut,
    pub(super) protocol: Protocol,
}

impl Outbox {
    /// Appends a whole reply.
    pub(super) fn frame(&mut self, frame: &BytesFrame) {
        match frame {
            BytesFrame::SimpleString(text) => self.line('+', text),
            BytesFrame::Error(text) => self.line('-', text.as_bytes()),
            BytesFrame::Integer(number) => line::integer(&mut self.tail, *number),
            BytesFrame::BulkString(value) => {
                self.begin_bulk(value.len() as u64);
                self.part(value.clone());
                self.end_bulk();
            }
            BytesFrame::Array(items) => {
                line::head(&mut self.tail, b'*', items.len() as u64);
                items.iter().for_each(|item| self.frame(item));
            }
            BytesFrame::Null => self.copy(match self.protocol {
                Protocol::Resp2 => b"$-1\r\n",
                Protocol::Resp3 => b"_\r\n",
            }),
        }
    }

    /// Appends an array of names and values as a map, where the protocol has maps.
    pub(super) fn map(&mut self, frame: &BytesFrame) {
        match (self.protocol, frame) {
            (Protocol::Resp3, BytesFrame::Array(items)) => {
                line::head(&mut self.tail, b'%', items.len() as u64 / 2);
                items.iter().for_each(|item| self.frame(item));
            }
            _ => self.frame(frame),
        }
    }

    /// Appends the head of a bulk string, of which `length` bytes will follow.
    pub(super) fn begin_bulk(&mut self, length: u64) {
        line::head(&mut self.tail, b'$', length);
    }

    /// Appends a part of a bulk string.
    pub(super) fn part(&mut self, part: Bytes) {
        if part.len() <= COPY_UP_TO {
            return self.copy(&part);
        }
        self.parts.push(self.tail.split().freeze(), part);
    }

    /// Appends the end of a bulk string.
    pub(super) fn end_bulk(&mut self) {
        self.copy(b"\r\n");
    }

    /// Appends a line of a type and a text without line ends.
    fn line(&mut self, kind: char, text: &[u8]) {
        self.copy(&[kind as u8]);
        self.copy(text);
        self.copy(b"\r\n");
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.parts.remaining() + self.tail.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.parts.chunk() {
            [] => &self.tail,
            part => part,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.parts.chunks_vectored(slices);
        filled + self.tail.chunks_vectored(&mut slices[filled..])
    }

    fn advance(&mut self, count: usize) {
        let of_parts = count.min(self.parts.remaining());
        self.parts.advance(of_parts);
        self.tail.advance(count - of_parts);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::{resp2, resp3};

    use super::*;

    fn reply() -> impl Strategy<Value = BytesFrame> {
        let length = prop_oneof![0..200usize, COPY_UP_TO - 2..COPY_UP_TO + 3];
        prop_oneof![
            any::<i64>().prop_map(BytesFrame::Integer),
            "[ -~]{0,30}".prop_map(|text| BytesFrame::SimpleString(text.into())),
            "[ -~]{0,30}".prop_map(|text| BytesFrame::Error(text.into())),
            Just(BytesFrame::Null),
            (length, any::<u8>())
                .prop_map(|(length, fill)| BytesFrame::BulkString(vec![fill; length].into())),
        ]
    }

    fn replies() -> impl Strategy<Value = Vec<BytesFrame>> {
        let array = prop::collection::vec(reply(), 0..12).prop_map(BytesFrame::Array);
        prop::collection::vec(prop_oneof![4 => reply(), 1 => array], 0..12)
    }

    /// What is queued for a reply.
    fn queued(protocol: Protocol, append: impl FnOnce(&mut Outbox)) -> Bytes {
        let mut outbox = Outbox {
            protocol,
            ..Outbox::default()
        };
        append(&mut outbox);
        let length = outbox.remaining();
        outbox.copy_to_bytes(length)
    }

    /// Integers near which a length could be miscounted: the powers of ten and of two, and the ends.
    fn tricky() -> impl Iterator<Item = i64> {
        let powers = (0..=18).map(|exponent| 10i64.pow(exponent));
        let powers = powers.chain((0..=62).map(|exponent| 1i64 << exponent));
        let near = powers.flat_map(|power| (-70..=70).map(move |off| power.saturating_add(off)));
        let near = near.flat_map(|number| [number, -number]);
        near.chain([i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX])
    }

    #[test]
    fn an_integer_is_written_with_its_digits_and_nothing_else() {
        for number in tricky() {
            let reply = BytesFrame::Integer(number);
            let written = queued(Protocol::Resp2, |outbox| outbox.frame(&reply));
            assert_eq!(written, format!(":{number}\r\n"));
            let read = resp2::decode::decode_bytes(&written).unwrap();
            assert_eq!(read, Some((reply.clone(), written.len())));
            let within = BytesFrame::Array(vec![reply; 2]);
            for protocol in [Protocol::Resp2, Protocol::Resp3] {
                let written = queued(protocol, |outbox| outbox.frame(&within));
                assert_eq!(written, format!("*2\r\n:{number}\r\n:{number}\r\n"));
            }
        }
    }

    #[test]
    fn a_length_is_written_with_its_digits_and_nothing_else() {
        for length in tricky().map(i64::unsigned_abs).chain([u64::MAX]) {
            let written = queued(Protocol::Resp2, |outbox| outbox.begin_bulk(length));
            assert_eq!(written, format!("${length}\r\n"));
        }
        for count in [0, 1, 9, 10, 11, 99, 100, 101, 9_999, 10_000, 10_001] {
            let array = BytesFrame::Array(vec![BytesFrame::Null; 2 * count]);
            for (protocol, head, null) in [
                (Protocol::Resp2, format!("*{}\r\n", 2 * count), "$-1\r\n"),
                (Protocol::Resp3, format!("%{count}\r\n"), "_\r\n"),
            ] {
                let written = queued(protocol, |outbox| outbox.map(&array));
                assert_eq!(written, head + &null.repeat(2 * count));
            }
        }
    }

    proptest! {
        #[test]
        fn a_reply_in_either_version_is_read_as_another_implementation_reads_it(
            reply in replies().prop_map(BytesFrame::Array),
        ) {
            let written = queued(Protocol::Resp2, |outbox| outbox.frame(&reply));
            let read = resp2::decode::decode_bytes(&written).unwrap();
            prop_assert_eq!(read, Some((reply.clone(), written.len())));
            let written = queued(Protocol::Resp3, |outbox| outbox.frame(&reply));
            let read = resp3::decode::complete::decode_bytes(&written).unwrap();
            prop_assert_eq!(read, Some((reply.into_resp3(), written.len())));
        }

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
                let (decoded, length) = resp2::decode::decode_bytes(&written).unwrap().unwrap();
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

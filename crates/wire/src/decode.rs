//! Bytes to frames, without a copy of large payloads.
//!
//! The owner of the socket reads into [`Decoder::buffer`] and calls
//! [`Decoder::decode`] until it gives no more frames:
//!
//! ```text
//! loop {
//!     while let Some(frame) = decoder.decode()? { ... }
//!     socket.read_buf(&mut decoder.buffer()).await?;
//! }
//! ```
//!
//! Small frames are read many at a time and split off one shared buffer. A
//! large payload is read, to its last byte and no further, into a buffer of its
//! own that becomes the payload. After it only the next header is read, since
//! large frames come in rows: so payload is copied only where a small frame is
//! followed by a large one, and then at most [`READ_AHEAD`] bytes of it.

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

use crate::frame::{Frame, FrameError, HEADER_LEN, Header};

/// How many bytes are read at once while frames are small.
pub const READ_AHEAD: usize = 16 * 1024;

/// Payloads of at least this many bytes get a buffer of their own.
pub const LARGE_PAYLOAD: usize = 4 * 1024;

/// How far from the beginning of a page is far enough.
const LEAD: usize = 1024;

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Read, but not yet part of a frame.
    ahead: BytesMut,
    /// A header whose payload is not whole yet.
    header: Option<Header>,
    /// What has been read of a large payload.
    payload: BytesMut,
    /// Whether the frame before was a large one.
    after_large: bool,
    /// How far from the beginning of its buffer a large payload is.
    lead: usize,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder of a stream whose first bytes have been read already.
    pub fn starting_with(ahead: BytesMut) -> Self {
        Self {
            ahead,
            ..Self::default()
        }
    }

    /// The same, which does not let a large payload begin at the beginning of its buffer, and
    /// that is of a page.
    ///
    /// For payloads that are sent on behind some bytes of another protocol. Where a system copies
    /// from the beginning of a page to a little after the beginning of another, some CPUs take each
    /// load for one that depends on the store before (4K aliasing), and take three times as long.
    #[must_use]
    pub fn off_pages(mut self) -> Self {
        self.lead = LEAD;
        self
    }

    /// Where the next bytes of the stream belong. Never without room.
    pub fn buffer(&mut self) -> Limit<&mut BytesMut> {
        if let Some(header) = self.large_header() {
            let length = header.length as usize;
            if self.payload.capacity() == 0 {
                self.payload = BytesMut::with_capacity(self.lead + length);
                self.payload.put_bytes(0, self.lead);
                self.payload.advance(self.lead);
                let head = self.ahead.len().min(length);
                self.payload.put((&mut self.ahead).take(head));
            }
            let rest = length - self.payload.len();
            return (&mut self.payload).limit(rest);
        }
        let wanted = self
            .header
            .map_or(HEADER_LEN, |header| header.length as usize);
        let missing = wanted.saturating_sub(self.ahead.len()).max(1);
        let room = if self.after_large {
            missing
        } else {
            missing.max(READ_AHEAD)
        };
        self.ahead.reserve(room);
        (&mut self.ahead).limit(room)
    }

    /// The header of the frame whose payload is being read.
    ///
    /// Memory for a large payload is taken by the next call of
    /// [`buffer`](Self::buffer), so a reader with a budget can reserve it first.
    pub fn awaited(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Whether no part of the next frame has been read.
    pub fn is_between_frames(&self) -> bool {
        self.header.is_none() && self.ahead.is_empty()
    }

    /// The next frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the stream is not made of frames; it cannot be resynchronised.
    pub fn decode(&mut self) -> Result<Option<Frame>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.ahead.first_chunk::<HEADER_LEN>() else {
                    return Ok(None);
                };
                let header = Header::decode(bytes)?;
                self.ahead.advance(HEADER_LEN);
                *self.header.insert(header)
            }
        };
        let Some(payload) = self.take_payload(&header) else {
            return Ok(None);
        };
        self.header = None;
        self.after_large = is_large(&header);
        Ok(Some(Frame { header, payload }))
    }

    fn take_payload(&mut self, header: &Header) -> Option<Bytes> {
        let length = header.length as usize;
        if self.payload.capacity() > 0 {
            let whole = self.payload.len() == length;
            return whole.then(|| std::mem::take(&mut self.payload).freeze());
        }
        (self.ahead.len() >= length).then(|| self.ahead.split_to(length).freeze())
    }

    fn large_header(&self) -> Option<Header> {
        self.header.filter(is_large)
    }
}

fn is_large(header: &Header) -> bool {
    header.length as usize >= LARGE_PAYLOAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        frame::{Kind, MAX_PAYLOAD},
        id::{MemberId, WriteId},
    };

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let length = prop_oneof![
            4 => 0..200usize,
            1 => LARGE_PAYLOAD - 2..LARGE_PAYLOAD + 2,
            1 => READ_AHEAD - 60..READ_AHEAD + 60,
            1 => Just(MAX_PAYLOAD),
        ];
        let frame = (length, any::<u8>(), any::<u32>(), any::<u64>()).prop_map(
            |(length, fill, number, wide)| {
                let header = Header {
                    chunk: fill,
                    status: number as u16,
                    id: number,
                    member: MemberId(!number),
                    write: WriteId {
                        epoch: wide,
                        sequence: !wide,
                    },
                    unit: number.rotate_left(7),
                    want: number.rotate_left(9),
                    checksum: wide.rotate_left(11),
                    ..Header::of(Kind::Put)
                };
                Frame::new(header, vec![fill; length].into())
            },
        );
        prop::collection::vec(frame, 1..12)
    }

    fn bytes_of(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            bytes.extend_from_slice(&frame.header.encode());
            bytes.extend_from_slice(&frame.payload);
        }
        bytes
    }

    /// Feeds `bytes` as a socket would that never has more than `step` at once.
    fn decode_all(bytes: &[u8], step: usize) -> Result<(Vec<Frame>, Decoder), FrameError> {
        decode_with(Decoder::new(), bytes, step)
    }

    fn decode_with(
        mut decoder: Decoder,
        mut bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<Frame>, Decoder), FrameError> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = decoder.decode()? {
                frames.push(frame);
            }
            if bytes.is_empty() {
                return Ok((frames, decoder));
            }
            let mut buffer = decoder.buffer();
            let count = step.min(bytes.len()).min(buffer.remaining_mut());
            assert!(count > 0, "a decoder always has room");
            buffer.put(bytes.split_to_slice(count));
        }
    }

    trait SplitTo<'a> {
        fn split_to_slice(&mut self, count: usize) -> &'a [u8];
    }

    impl<'a> SplitTo<'a> for &'a [u8] {
        fn split_to_slice(&mut self, count: usize) -> &'a [u8] {
            let (head, tail) = self.split_at(count);
            *self = tail;
            head
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_out_as_they_went_in(frames in frames(), step in 1usize..400_000) {
            let (decoded, _) = decode_all(&bytes_of(&frames), step.max(97)).unwrap();
            prop_assert_eq!(&decoded, &frames);
            let off_pages = Decoder::new().off_pages();
            let (decoded, _) = decode_with(off_pages, &bytes_of(&frames), step.max(97)).unwrap();
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn a_proper_prefix_never_gives_the_last_frame(
            frames in frames(),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = bytes_of(&frames);
            let (decoded, _) = decode_all(&bytes[..cut.index(bytes.len())], 5_000).unwrap();
            prop_assert!(decoded.len() < frames.len());
            prop_assert_eq!(&decoded[..], &frames[..decoded.len()]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode_all(&bytes, 64);
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_allocation() {
        let mut bytes = Header::of(Kind::Put).encode();
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            decode_all(&bytes, 48).unwrap_err(),
            FrameError::TooLong(u32::MAX)
        );
        bytes[..4].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
        assert!(matches!(
            decode_all(&bytes, 48),
            Err(FrameError::TooLong(_))
        ));
    }

    #[test]
    fn after_a_large_payload_nothing_is_read_past_the_next_payload() {
        let large = Frame::new(Header::of(Kind::Put), vec![1; MAX_PAYLOAD].into());
        let bytes = bytes_of(&[large.clone(), large]);
        let (_, mut decoder) = decode_all(&bytes[..HEADER_LEN + MAX_PAYLOAD], usize::MAX).unwrap();
        assert_eq!(decoder.buffer().remaining_mut(), HEADER_LEN);
        decoder
            .buffer()
            .put(&bytes[HEADER_LEN + MAX_PAYLOAD..][..HEADER_LEN]);
        assert_eq!(decoder.decode(), Ok(None));
        assert_eq!(
            decoder.awaited().map(|header| header.length as usize),
            Some(MAX_PAYLOAD)
        );
        assert_eq!(decoder.buffer().remaining_mut(), MAX_PAYLOAD);
    }
}

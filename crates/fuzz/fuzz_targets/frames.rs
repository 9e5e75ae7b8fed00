//! Frames: bytes that arrive in any pieces give the frames they are made of.
//!
//! Nothing panics; a frame that was decoded is encoded as the bytes it came
//! from; requests and replies that are read off frames go back into frames that
//! read the same; and a decoder always has room, for no more than one payload.
//!
//! The first byte says how many bytes arrive at a time, the second how many
//! the decoder starts with. The rest is stretched: of a payload at most
//! [`HEAD`] bytes are given, and zeros follow, so that small inputs reach what
//! is particular to large payloads.
#![no_main]

use bytes::{BufMut, BytesMut};
use infinicache_wire::{
    Decoder, Frame, Header, MAX_PAYLOAD, Reply, Request,
    decode::READ_AHEAD,
    direct::{DirectAnswer, DirectCall, DirectProof},
    frame::{FrameError, HEADER_LEN},
};
use libfuzzer_sys::fuzz_target;

/// Bytes of a payload that the input gives.
const HEAD: usize = 16;

/// Most bytes of a stream: a dozen of the largest frames.
const MOST: usize = 12 * MAX_PAYLOAD;

fuzz_target!(|data: &[u8]| {
    let [step, start, script @ ..] = data else {
        return;
    };
    let step = match usize::from(*step) {
        small @ ..128 => 1 + small,
        large => (large - 127) * 1_021,
    };
    let stream = stretch(script);
    let (start, later) = stream.split_at(stream.len().min(usize::from(*start) * 67));
    let (frames, end) = decode(start, later, step);

    let mut encoded = Vec::with_capacity(stream.len());
    for frame in &frames {
        encoded.extend_from_slice(&frame.header.encode());
        encoded.extend_from_slice(&frame.payload);
        assert_eq!(frame.header.length as usize, frame.payload.len());
    }
    assert!(stream.starts_with(&encoded));
    let rest = &stream[encoded.len()..];
    match rest.first_chunk().map(Header::decode) {
        Some(Err(error)) => assert_eq!(end, Err(error)),
        Some(Ok(header)) => assert!(rest.len() < HEADER_LEN + header.length as usize),
        None => assert_eq!(end, Ok(())),
    }
    frames.into_iter().for_each(read);
});

/// Headers and what the script gives of their payloads, with zeros for the rest.
fn stretch(mut script: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while stream.len() < MOST
        && let Some((head, after)) = script.split_first_chunk::<HEADER_LEN>()
        && let Ok(header) = Header::decode(head)
    {
        let length = header.length as usize;
        let (payload, after) = after.split_at(length.min(HEAD).min(after.len()));
        stream.extend_from_slice(head);
        stream.extend_from_slice(payload);
        stream.resize(stream.len() + length - payload.len(), 0);
        script = after;
    }
    stream.extend_from_slice(script);
    stream
}

/// The frames of a stream whose first bytes were read before, and how it ended.
fn decode(start: &[u8], mut later: &[u8], step: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let mut decoder = Decoder::starting_with(BytesMut::from(start));
    let mut frames = Vec::new();
    loop {
        match decoder.decode() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) if later.is_empty() => return (frames, Ok(())),
            Ok(None) => {
                let mut buffer = decoder.buffer();
                let room = buffer.remaining_mut();
                assert!((1..=MAX_PAYLOAD.max(READ_AHEAD)).contains(&room));
                let (piece, after) = later.split_at(step.min(later.len()).min(room));
                buffer.put(piece);
                later = after;
            }
            Err(error) => return (frames, Err(error)),
        }
    }
}

/// Reads what the frame carries, puts it into a frame and reads it again.
fn read(frame: Frame) {
    let Header { id, member, .. } = frame.header;
    if let Ok(request) = Request::from_frame(frame.clone()) {
        let again = request.clone().into_frame(id, member);
        assert_eq!(again.header.kind, request.kind());
        assert_eq!(again.payload.len(), request.payload_len());
        assert_eq!(Request::from_frame(again), Ok(request));
    }
    if let Ok(call) = DirectCall::from_frame(&frame) {
        assert_eq!(DirectCall::from_frame(&call.to_frame()), Ok(call));
    }
    let _ = (
        DirectAnswer::from_frame(&frame),
        DirectProof::from_frame(&frame),
    );
    if let Ok(reply) = Reply::from_frame(frame) {
        assert_eq!(Reply::from_frame(reply.clone().into_frame(id)), Ok(reply));
    }
}

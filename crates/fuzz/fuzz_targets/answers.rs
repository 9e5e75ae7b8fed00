//! Replies to a client: bytes that arrive in any pieces give the same replies.
//!
//! Nothing panics or runs out of stack; and what is left in the buffer, where
//! frames may follow, is the same too. The first byte says how many bytes arrive
//! at a time.
#![no_main]

use bytes::BytesMut;
use infinicache_resp::reply::{self, Head};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::types::BytesFrame;

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else {
        return;
    };
    if let Ok(Some((_, length))) = Head::read(stream) {
        assert!(stream[..length].ends_with(b"\r\n"));
    }
    let stepwise = answers(stream, 1 + usize::from(step));
    assert_eq!(stepwise, answers(stream, stream.len().max(1)));
});

/// Longest value.
const MOST: usize = 1 << 20;

/// The answers of a stream, and what is left after them; nothing is after what is none.
fn answers(stream: &[u8], step: usize) -> (Vec<BytesFrame>, Option<BytesMut>) {
    let mut buffer = BytesMut::new();
    let mut answers = Vec::new();
    let mut pieces = stream.chunks(step);
    loop {
        match reply::take(&mut buffer, MOST) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return (answers, Some(buffer)),
            },
            Err(_) => return (answers, None),
        }
    }
}

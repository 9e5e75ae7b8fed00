//! ```text
//! GETRANGE key start end
//! ```
//!
//! The bytes from `start` to `end`, both included; negative ones count from the
//! end of the value. Only the stripes that hold them are read.

use std::ops::Range;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    ErrorReply, RedisSession, Spec, Store,
    arguments::{integer, key},
    send,
    table::Verb,
};
use infinicache_resp::{Error, Input, Output};

pub(super) const SPEC: Spec = Spec {
    name: "getrange",
    arity: 4,
    flags: &["readonly"],
    keys: (1, 1, 1),
    categories: &["read", "string", "slow"],
    group: "string",
    summary: "Get a part of the value of a key",
    verb: Verb::Getrange,
};

struct Getrange<'a> {
    key: &'a Bytes,
    start: i64,
    end: i64,
}

pub(super) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    args: &[Bytes],
) -> Result<(), Error> {
    let wanted = match parse(args) {
        Ok(wanted) => wanted,
        Err(refused) => {
            session.refuse(refused);
            return Ok(());
        }
    };
    let empty = BytesFrame::BulkString(Bytes::new());
    let part = |size| {
        let range = resolve(wanted.start, wanted.end, size);
        (!range.is_empty()).then_some(range)
    };
    send::current(session, wanted.key, part, &empty).await
}

fn parse(args: &[Bytes]) -> Result<Getrange<'_>, ErrorReply> {
    Ok(Getrange {
        start: integer(&args[2])?,
        end: integer(&args[3])?,
        key: key(&args[1])?,
    })
}

/// The part of a value of `size` bytes that lies between two positions.
fn resolve(start: i64, end: i64, size: u64) -> Range<u64> {
    // Redis, having counted from the end, takes what is before the value for
    // its first byte. So (0, -9) of "abc" is "a"; only two negative positions
    // in the wrong order are nothing.
    if size == 0 || (start < 0 && end < start) {
        return 0..0;
    }
    let last = i128::from(size) - 1;
    let position = |index: i64| match i128::from(index) {
        index @ ..0 => (last + 1 + index).max(0),
        index => index,
    };
    let (start, end) = (position(start), position(end).min(last));
    match start <= end {
        true => start as u64..end as u64 + 1,
        false => 0..0,
    }
}

//! ```text
//! PING [message]
//! ```
//!
//! `PONG`, or the message.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, ErrorReply, Spec, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "ping",
    arity: -1,
    flags: &["fast"],
    keys: (0, 0, 0),
    categories: &["fast", "connection"],
    group: "connection",
    summary: "Ask whether the server is there",
    needs_values: false,
    verb: Verb::Ping,
};

pub(super) fn run(args: &[Bytes]) -> Answer {
    match args {
        [_] => Ok(BytesFrame::SimpleString("PONG".into())),
        [_, message] => Ok(BytesFrame::BulkString(message.clone())),
        _ => Err(ErrorReply::arity("ping")),
    }
}

//! ```text
//! ECHO message
//! ```
//!
//! The message.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "echo",
    arity: 2,
    flags: &["loading", "stale", "fast"],
    keys: (0, 0, 0),
    categories: &["fast", "connection"],
    group: "connection",
    summary: "Get a message back",
    needs_values: false,
    verb: Verb::Echo,
};

pub(super) fn run(args: &[Bytes]) -> Answer {
    Ok(BytesFrame::BulkString(args[1].clone()))
}

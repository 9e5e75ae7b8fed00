//! ```text
//! SELECT index
//! ```
//!
//! There is one database, 0.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, ErrorReply, Spec, arguments::integer, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "select",
    arity: 2,
    flags: &["loading", "stale", "fast"],
    keys: (0, 0, 0),
    categories: &["fast", "connection"],
    group: "connection",
    summary: "Choose a database",
    needs_values: false,
    verb: Verb::Select,
};

pub(super) fn run(args: &[Bytes]) -> Answer {
    match i32::try_from(integer(&args[1])?) {
        Ok(0) => Ok(BytesFrame::SimpleString("OK".into())),
        Ok(_) => Err(ErrorReply::text("ERR DB index is out of range")),
        Err(_) => Err(ErrorReply::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        )),
    }
}

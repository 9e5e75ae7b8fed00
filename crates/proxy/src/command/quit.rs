//! ```text
//! QUIT
//! ```
//!
//! `OK`, and the connection is closed.

use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "quit",
    arity: -1,
    flags: &[
        "noscript",
        "loading",
        "stale",
        "fast",
        "no_auth",
        "allow_busy",
    ],
    keys: (0, 0, 0),
    categories: &["fast", "connection"],
    group: "connection",
    summary: "Close the connection",
    needs_values: false,
    verb: Verb::Quit,
};

pub(super) fn run() -> Answer {
    Ok(BytesFrame::SimpleString("OK".into()))
}

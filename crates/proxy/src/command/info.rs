//! ```text
//! INFO [section ...]
//! ```
//!
//! Lines of `name:value` in sections; see [`info::render`].

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, ServerContext, Spec, arguments::word, table::Verb};
use crate::info;

pub(super) const SPEC: Spec = Spec {
    name: "info",
    arity: -1,
    flags: &["loading", "stale"],
    keys: (0, 0, 0),
    categories: &["slow", "dangerous"],
    group: "server",
    summary: "Get figures about the server",
    needs_values: false,
    verb: Verb::Info,
};

pub(super) fn run<S>(state: &ServerContext<S>, args: &[Bytes]) -> Answer {
    let sections: Vec<String> = args[1..].iter().map(|arg| word(arg)).collect();
    let text = info::render(&sections, &state.observer.figures());
    Ok(BytesFrame::BulkString(text.into()))
}

//! ```text
//! STRLEN key
//! ```
//!
//! The length of the value; 0 if there is none.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, arguments::key, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "strlen",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: (1, 1, 1),
    categories: &["read", "string", "fast"],
    group: "string",
    summary: "Get the length of the value of a key",
    needs_values: true,
    verb: Verb::Strlen,
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let found = store.stat(key(&args[1])?).await?;
    let size = found.map_or(0, |found| found.size);
    Ok(BytesFrame::Integer(size as i64))
}

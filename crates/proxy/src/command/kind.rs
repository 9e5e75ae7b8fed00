//! ```text
//! TYPE key
//! ```
//!
//! `string`, or `none` if there is no such key.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, arguments::key, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "type",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: (1, 1, 1),
    categories: &["keyspace", "read", "fast"],
    group: "generic",
    summary: "Get the type of the value of a key",
    needs_values: true,
    verb: Verb::Kind,
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let kind = match store.stat(key(&args[1])?).await? {
        Some(_) => "string",
        None => "none",
    };
    Ok(BytesFrame::SimpleString(kind.into()))
}

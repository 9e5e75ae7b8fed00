//! ```text
//! EXISTS key [key ...]
//! ```
//!
//! How many of the keys there are; a key that is named twice counts twice.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, arguments::keys, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "exists",
    arity: -2,
    flags: &["readonly", "fast"],
    keys: (1, -1, 1),
    categories: &["keyspace", "read", "fast"],
    group: "generic",
    summary: "Count the keys that exist",
    needs_values: true,
    verb: Verb::Exists,
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let mut present = 0;
    for key in keys(&args[1..])? {
        present += i64::from(store.stat(key).await?.is_some());
    }
    Ok(BytesFrame::Integer(present))
}

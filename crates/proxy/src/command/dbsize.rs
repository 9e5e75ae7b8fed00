//! ```text
//! DBSIZE
//! ```
//!
//! How many keys there are.

use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "dbsize",
    arity: 1,
    flags: &["readonly", "fast"],
    keys: (0, 0, 0),
    categories: &["keyspace", "read", "fast"],
    group: "server",
    summary: "Count the keys",
    needs_values: true,
    verb: Verb::Dbsize,
};

pub(super) async fn run(store: &impl Store) -> Answer {
    Ok(BytesFrame::Integer(store.len().await? as i64))
}

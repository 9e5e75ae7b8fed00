//! ```text
//! DEL key [key ...]
//! UNLINK key [key ...]
//! ```
//!
//! How many of the keys there were. The memory is freed in the background
//! either way.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, arguments::keys, table::Verb};

pub(super) const DEL: Spec = Spec {
    name: "del",
    arity: -2,
    flags: &["write"],
    keys: (1, -1, 1),
    categories: &["keyspace", "write", "slow"],
    group: "generic",
    summary: "Delete keys",
    needs_values: true,
    verb: Verb::Del,
};

pub(super) const UNLINK: Spec = Spec {
    name: "unlink",
    flags: &["write", "fast"],
    categories: &["keyspace", "write", "fast"],
    ..DEL
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let mut deleted = 0;
    for key in keys(&args[1..])? {
        deleted += i64::from(store.delete(key).await?);
    }
    Ok(BytesFrame::Integer(deleted))
}

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
    verb: Verb::Exists,
};

pub(super) fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let keys = keys(&args[1..])?;
    let present = keys.iter().filter(|key| store.stat(key).is_some()).count();
    Ok(BytesFrame::Integer(present as i64))
}

//! ```text
//! PERSIST key
//! ```
//!
//! 1 if the key would have expired and now never does, else 0.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Spec, Store, arguments::key, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "persist",
    arity: 2,
    flags: &["write", "fast"],
    keys: (1, 1, 1),
    categories: &["keyspace", "write", "fast"],
    group: "generic",
    summary: "Let a key never expire",
    needs_values: true,
    verb: Verb::Persist,
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    let key = key(&args[1])?;
    let found = store.stat(key).await?;
    let expires = found.is_some_and(|found| found.expires_at.is_some());
    let cleared = expires && store.set_expiry(key, None).await?;
    Ok(BytesFrame::Integer(i64::from(cleared)))
}

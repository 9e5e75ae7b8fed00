//! ```text
//! TTL key
//! PTTL key
//! ```
//!
//! The seconds or milliseconds until a key expires: -1 if it never does, -2 if
//! there is no such key.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, Spec, Store,
    arguments::{TimeUnit, key},
    table::Verb,
};

pub(super) const TTL: Spec = Spec {
    name: "ttl",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: (1, 1, 1),
    categories: &["keyspace", "read", "fast"],
    group: "generic",
    summary: "Get the time to live of a key in seconds",
    needs_values: true,
    verb: Verb::Ttl(TimeUnit::Seconds),
};

pub(super) const PTTL: Spec = Spec {
    name: "pttl",
    summary: "Get the time to live of a key in milliseconds",
    verb: Verb::Ttl(TimeUnit::Milliseconds),
    ..TTL
};

pub(super) async fn run(store: &impl Store, unit: TimeUnit, args: &[Bytes]) -> Answer {
    let left = match store.stat(key(&args[1])?).await? {
        None => -2,
        Some(stat) => match stat.expires_at {
            None => -1,
            Some(at) => in_unit(at.saturating_sub(store.now()), unit),
        },
    };
    Ok(BytesFrame::Integer(left))
}

fn in_unit(milliseconds: u64, unit: TimeUnit) -> i64 {
    match unit {
        // Rounded, as Redis does, so that a TTL that was just set reads as it was set.
        TimeUnit::Seconds => (milliseconds.saturating_add(500) / 1000) as i64,
        TimeUnit::Milliseconds => milliseconds as i64,
    }
}

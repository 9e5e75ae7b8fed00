//! ```text
//! FLUSHALL [ASYNC | SYNC]
//! FLUSHDB [ASYNC | SYNC]
//! ```
//!
//! Removes every key; there is one database. The memory is freed in the
//! background either way.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, ErrorReply, Spec, Store, arguments::word, table::Verb};

pub(super) const FLUSHALL: Spec = Spec {
    name: "flushall",
    arity: -1,
    flags: &["write"],
    keys: (0, 0, 0),
    categories: &["keyspace", "write", "slow", "dangerous"],
    group: "server",
    summary: "Remove every key",
    needs_values: true,
    verb: Verb::Flush,
};

pub(super) const FLUSHDB: Spec = Spec {
    name: "flushdb",
    ..FLUSHALL
};

pub(super) async fn run(store: &impl Store, args: &[Bytes]) -> Answer {
    parse(&args[1..])?;
    store.clear().await?;
    Ok(BytesFrame::SimpleString("OK".into()))
}

fn parse(args: &[Bytes]) -> Result<(), ErrorReply> {
    match args {
        [] => Ok(()),
        [mode] if matches!(word(mode).as_str(), "ASYNC" | "SYNC") => Ok(()),
        _ => Err(ErrorReply::SYNTAX),
    }
}

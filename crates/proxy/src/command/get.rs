//! ```text
//! GET key
//! ```
//!
//! The value, or null. A value that was lost is a miss.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{RedisSession, Spec, Store, arguments::key, send, table::Verb};
use infinicache_resp::{Error, Input, Output};

pub(super) const SPEC: Spec = Spec {
    name: "get",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: (1, 1, 1),
    categories: &["read", "string", "fast"],
    group: "string",
    summary: "Get the value of a key",
    verb: Verb::Get,
};

pub(super) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    args: &[Bytes],
) -> Result<(), Error> {
    let key = match key(&args[1]) {
        Ok(key) => key,
        Err(refused) => {
            session.refuse(refused);
            return Ok(());
        }
    };
    send::current(session, key, |size| Some(0..size), &BytesFrame::Null).await
}

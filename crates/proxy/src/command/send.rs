//! Streaming a value to the client.

use std::ops::Range;

use bytes::Bytes;
use infinicache_resp::{Error, Input, Output};
use redis_protocol::resp2::types::BytesFrame;
use tracing::warn;

use super::{
    RedisSession, Store,
    store::{StoredValue, ValueStream},
};

/// How often a value is looked for again that was replaced before its first byte came.
pub(super) const ATTEMPTS: usize = 16;

/// Replies with a part of the value of a key, chosen by its length, or with `absent` if there is
/// no value, or no such part.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn current<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    key: &[u8],
    part: impl Fn(u64) -> Option<Range<u64>>,
    absent: &BytesFrame,
) -> Result<(), Error> {
    for attempt in 0..ATTEMPTS {
        let store = &session.state.store;
        let found = store.find(key);
        if attempt == 0 {
            store.count_read(found.is_some());
        }
        let range = found.as_ref().and_then(|found| part(found.size()));
        let (Some(found), Some(range)) = (found, range) else {
            session.reply(absent);
            return Ok(());
        };
        if value(session, &found, range, absent).await? == Sent::Answer {
            return Ok(());
        }
    }
    let text = "the value is replaced again and again";
    session.refuse(infinicache_engine::Error::Unreachable(text.into()));
    Ok(())
}

/// What was sent of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The answer, whatever it is.
    Answer,
    /// Nothing: the value was deleted, and could not be read.
    Nothing,
}

/// Replies with a part of a value, or with `absent` if the value is lost.
///
/// The reply's header is sent with the first bytes of the value. Once it is
/// sent, a failure can only close the connection.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn value<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    found: &S::Value,
    range: Range<u64>,
    absent: &BytesFrame,
) -> Result<Sent, Error> {
    if let Some(value) = session.state.store.try_read(found, range.clone()) {
        session.moved += value.len() as u64;
        session.reply(&BytesFrame::BulkString(value));
        return Ok(Sent::Answer);
    }
    let mut reading = match session.state.store.read(found, range).await {
        Ok(Some(reading)) => reading,
        Ok(None) => {
            session.reply(absent);
            return Ok(Sent::Answer);
        }
        Err(infinicache_engine::Error::Lost { .. }) => return Ok(Sent::Nothing),
        Err(error) => {
            session.refuse(error);
            return Ok(Sent::Answer);
        }
    };
    let length = reading.len();
    let first = match length {
        0 => Vec::new(),
        _ => match reading.next().await {
            Ok(parts) => parts.unwrap_or_default(),
            Err(error) => {
                session.refuse(error);
                return Ok(Sent::Answer);
            }
        },
    };
    session.moved += length;
    session.connection.begin_bulk(length);
    parts(session, &mut reading, first).await?;
    session.connection.end_bulk();
    Ok(Sent::Answer)
}

/// Sends all of `reading`, of which the first parts are here already. While one
/// stripe is sent the next is fetched.
async fn parts<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    reading: &mut S::Stream,
    mut parts: Vec<Bytes>,
) -> Result<(), Error> {
    let mut left = reading.len();
    while left > 0 {
        let here = parts.iter().map(|part| part.len() as u64).sum();
        match left.checked_sub(here) {
            Some(rest) if here > 0 => left = rest,
            _ => return Err(abort(session, left, &"fewer or more bytes than announced")),
        }
        session.connection.parts(parts);
        if left == 0 {
            break;
        }
        let (sent, next) = tokio::join!(session.connection.flush(), reading.next());
        sent?;
        parts = match next {
            Ok(next) => next.unwrap_or_default(),
            Err(error) => return Err(abort(session, left, &error)),
        };
    }
    Ok(())
}

fn abort<S: Store, R: Input, W: Output>(
    session: &RedisSession<S, R, W>,
    left: u64,
    error: &dyn std::fmt::Display,
) -> Error {
    warn!(left, %error, "reply given up midway");
    session.state.observer.aborted_reply();
    Error::ReplyAborted
}

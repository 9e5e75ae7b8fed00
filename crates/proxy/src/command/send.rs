//! Streaming a value to the client.

use bytes::Bytes;
use infinicache_resp::{Error, Input, Output};
use redis_protocol::resp2::types::BytesFrame;
use tracing::warn;

use super::{
    RedisSession, Store,
    read::{Readable, Reading},
    store::ValueStream,
};

/// Replies with a value that has to be read.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn readable<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    readable: Readable<S>,
) -> Result<(), Error> {
    let absent = readable.absent();
    match readable.begin(&session.state.store).await {
        Ok(Reading::Stream(reading)) => return stream(session, reading).await,
        Ok(Reading::AtHand(bytes)) => {
            session.moved += bytes.len() as u64;
            session.reply(&BytesFrame::BulkString(bytes));
        }
        Ok(Reading::Absent) => session.reply(&absent),
        Err(error) => session.refuse(error),
    }
    Ok(())
}

/// Replies with a value that is on its way.
///
/// The reply's header is sent with the first bytes of the value. Once it is
/// sent, a failure can only close the connection.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn stream<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    mut reading: S::Stream,
) -> Result<(), Error> {
    let length = reading.len();
    let first = match length {
        0 => Vec::new(),
        _ => match reading.next().await {
            Ok(parts) => parts.unwrap_or_default(),
            Err(error) => {
                session.refuse(error);
                return Ok(());
            }
        },
    };
    session.moved += length;
    session.connection.begin_bulk(length);
    parts(session, &mut reading, first).await?;
    session.connection.end_bulk();
    Ok(())
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

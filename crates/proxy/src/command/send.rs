//! Streaming a value to the client.

use std::ops::Range;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tracing::warn;

use super::{Session, Store, store::Reading};
use crate::resp::{Error, Input, Output};

/// Replies with a part of a value, or with `absent` if the value is lost.
///
/// The reply's header is sent with the first bytes of the value. Once it is
/// sent, a failure can only close the connection.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn value<S: Store, R: Input, W: Output>(
    session: &mut Session<S, R, W>,
    found: &S::Found,
    range: Range<u64>,
    absent: &BytesFrame,
) -> Result<(), Error> {
    if let Some(value) = session.state.store.at_hand(found, range.clone()) {
        session.moved += value.len() as u64;
        session.reply(&BytesFrame::BulkString(value));
        return Ok(());
    }
    let mut reading = match session.state.store.read(found, range).await {
        Ok(Some(reading)) => reading,
        Ok(None) => {
            session.reply(absent);
            return Ok(());
        }
        Err(error) => {
            session.refuse(error);
            return Ok(());
        }
    };
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
    session: &mut Session<S, R, W>,
    reading: &mut S::Reading,
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
    session: &Session<S, R, W>,
    left: u64,
    error: &dyn std::fmt::Display,
) -> Error {
    warn!(left, %error, "reply given up midway");
    session.state.observer.aborted_reply();
    Error::ReplyAborted
}

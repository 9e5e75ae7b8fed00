//! ```text
//! SET key value [NX | XX] [GET]
//!     [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]
//! ```
//!
//! `OK` if the value was stored, null if NX (there is no such key) or XX (there
//! is one) did not hold; with GET, the value before, or null, either way.
//!
//! A value that comes with its command is handed to the store with its terms.
//! A large value is streamed into the store as it arrives. Its options follow
//! it, so it is known only then whether it may be stored: until it is committed
//! it can be given up. Whether it is a blind write, which asks nothing of the
//! value before, is taken from the number of arguments: none follow, or the two
//! that are most likely a time.

use bytes::Bytes;
use infinicache_engine::{Expiry, Terms};
use infinicache_resp::{Command, Error, Input, Output};
use infinicache_wire::terms::TermsError;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, ErrorReply, RedisSession, Spec, Store,
    arguments::key,
    body::Body,
    pipeline::{Done, Outcome, ToSend},
    read::Readable,
    store::{SetOutcome, StoredValue, Upload},
    table::Verb,
};

pub(super) const SPEC: Spec = Spec {
    name: "set",
    arity: -3,
    flags: &["write", "denyoom"],
    keys: (1, 1, 1),
    categories: &["write", "string", "slow"],
    group: "string",
    summary: "Set the value of a key",
    needs_values: true,
    verb: Verb::Set,
};

const OK: Bytes = Bytes::from_static(b"OK");

/// A SET whose value has come with it.
pub(super) struct Set<'a> {
    key: &'a Bytes,
    value: &'a Bytes,
    terms: Terms,
}

pub(super) fn parse(args: &[Bytes], now: u64) -> Result<Set<'_>, ErrorReply> {
    Ok(Set {
        key: key(&args[1])?,
        value: &args[2],
        terms: options(&args[3..], now)?,
    })
}

impl Set<'_> {
    pub(super) async fn run<S: Store>(self, store: &S) -> Outcome<S> {
        let stored = store.put(self.key, self.value.clone(), self.terms).await;
        let size = self.value.len() as u64;
        outcome(store, stored, size, self.terms.previous)
    }
}

/// Stores a value that is still in the socket.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn large<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: Command,
) -> Result<Outcome<S>, Error> {
    let refused = match (command.large, &command.args[..]) {
        (Some(size), [_, name]) => match key(name) {
            Ok(name) => return upload(session, name, size, command.count).await,
            Err(refused) => refused,
        },
        (_, [_]) => ErrorReply::KEY_TOO_LONG,
        _ => ErrorReply::SYNTAX,
    };
    session.connection.discard_rest().await?;
    Ok(refuse(refused, 0))
}

/// Takes a value and then its options from the socket; `count` is how many arguments there are.
async fn upload<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &[u8],
    size: u64,
    count: usize,
) -> Result<Outcome<S>, Error> {
    let store = &session.state.store;
    let source = Body(session.connection.value());
    let is_blind = matches!(count, 3 | 5);
    let upload = match store.upload(name, size, is_blind, source).await {
        Ok(upload) => upload,
        Err(error) => {
            // If it was the connection that failed, this says so.
            session.connection.discard_rest().await?;
            return Ok(refuse(error, 0));
        }
    };
    let rest = session.connection.rest().await?;
    if rest.large.is_some() {
        session.connection.discard_rest().await?;
        return Ok(refuse(ErrorReply::SYNTAX, size));
    }
    let terms = match options(&rest.args, store.now()) {
        Ok(terms) => terms,
        Err(refused) => return Ok(refuse(refused, size)),
    };
    let stored = upload.commit(terms).await;
    Ok(outcome(store, stored, size, terms.previous))
}

/// What is answered: with `previous`, the value before, either way.
fn outcome<S: Store>(
    store: &S,
    stored: Result<SetOutcome<S::Value>, infinicache_engine::Error>,
    size: u64,
    previous: bool,
) -> Outcome<S> {
    let (before, frame, moved) = match stored {
        Ok(SetOutcome::Stored { previous, .. }) => (previous, BytesFrame::SimpleString(OK), size),
        Ok(SetOutcome::ConditionFailed { current }) => (current, BytesFrame::Null, 0),
        Err(error) => return refuse(error, 0),
    };
    let Some(value) = before.filter(|_| previous) else {
        let frame = if previous { BytesFrame::Null } else { frame };
        return done(Ok(frame), moved);
    };
    match store.at_hand(&value, 0..value.size()) {
        Some(bytes) => {
            let moved = moved + bytes.len() as u64;
            done(Ok(BytesFrame::BulkString(bytes)), moved)
        }
        None => Outcome::Value {
            value: ToSend::Readable(Readable::replaced(value)),
            moved,
            hit: None,
        },
    }
}

fn done<S: Store>(answer: Answer, moved: u64) -> Outcome<S> {
    let hit = None;
    Outcome::Done(Done { answer, moved, hit })
}

fn refuse<S: Store>(refused: impl Into<ErrorReply>, moved: u64) -> Outcome<S> {
    done(Err(refused.into()), moved)
}

/// Parses what follows the value.
fn options(args: &[Bytes], now: u64) -> Result<Terms, ErrorReply> {
    dated(Terms::parse(args)?, now)
}

/// The same terms with a time instead of a time to live that begins `now`.
pub(super) fn dated(mut terms: Terms, now: u64) -> Result<Terms, ErrorReply> {
    if let Expiry::After(ttl_ms) = terms.expiry {
        let at = now.checked_add(ttl_ms);
        // As of Redis, whose numbers are signed.
        let at = at.filter(|&at| i64::try_from(at).is_ok());
        terms.expiry = Expiry::At(at.ok_or(TermsError::ExpireTime)?);
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute() {
        for (line, at) in [
            ("EX 10", 1_010_000),
            ("px 10", 1_000_010),
            ("EXAT 10", 10_000),
            ("PXAT 10", 10),
        ] {
            let args: Vec<Bytes> = line.split(' ').map(|arg| arg.to_owned().into()).collect();
            let terms = options(&args, 1_000_000).unwrap();
            assert_eq!(terms.expiry, Expiry::At(at), "{line}");
        }
    }

    #[test]
    fn a_time_that_redis_cannot_tell_is_refused() {
        let longest = Terms {
            expiry: Expiry::After(i64::MAX as u64),
            ..Terms::default()
        };
        assert!(dated(longest, 0).is_ok());
        assert_eq!(dated(longest, 1), Err(TermsError::ExpireTime.into()));
    }
}

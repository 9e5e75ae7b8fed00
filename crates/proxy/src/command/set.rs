//! ```text
//! SET key value [NX | XX] [GET]
//!     [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]
//! ```
//!
//! `OK` if the value was stored, null if NX (there is no such key) or XX (there
//! is one) did not hold; with GET, the value before, or null, either way.
//!
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
    ErrorReply, RedisSession, Spec, Store,
    arguments::key,
    body::Body,
    send::{self, Sent},
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
    verb: Verb::Set,
};

pub(super) const OK: Bytes = Bytes::from_static(b"OK");

pub(super) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: Command,
) -> Result<(), Error> {
    match (command.large, &command.args[..]) {
        (None, [_, key, value, options @ ..]) => small(session, key, value, options).await,
        (Some(size), [_, key]) => {
            let blind = matches!(command.count, 3 | 5);
            large(session, key, size, blind).await
        }
        (_, args) => {
            let refused = match args.len() {
                1 => ErrorReply::KEY_TOO_LONG,
                _ => ErrorReply::SYNTAX,
            };
            session.connection.discard_rest().await?;
            session.refuse(refused);
            Ok(())
        }
    }
}

/// Stores a value that came with its command.
async fn small<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &Bytes,
    value: &Bytes,
    options: &[Bytes],
) -> Result<(), Error> {
    let size = value.len() as u64;
    let store = session.state.store.clone();
    let parsed = key(name).and_then(|_| parse(options, store.now()));
    let terms = match parsed {
        Ok(terms) if size <= session.state.max_object_bytes => terms,
        Ok(_) => return refuse(session, ErrorReply::VALUE_TOO_LONG),
        Err(refused) => return refuse(session, refused),
    };
    // A condition that does not hold now spares the nodes the value.
    if terms.condition.is_some() {
        let current = store.find(name);
        if !terms.hold(current.is_some()) {
            let failed = SetOutcome::ConditionFailed { current };
            return answer(session, terms.previous, failed).await;
        }
    }
    session.moved += size;
    match upload(&store, name, value.clone(), terms).await {
        Ok(outcome) => answer(session, terms.previous, outcome).await,
        Err(error) => refuse(session, error),
    }
}

/// Stores a value that is at hand, and of which the one before it is not asked for.
pub(super) async fn put<S: Store>(
    store: &S,
    name: &Bytes,
    value: Bytes,
    terms: Terms,
) -> Result<SetOutcome<S::Value>, infinicache_engine::Error> {
    let stored = match store.is_small(value.len() as u64) {
        true => store.store_small(name, &value, terms).await?,
        false => None,
    };
    match stored {
        Some(outcome) => Ok(outcome),
        None => upload(store, name, value, terms).await,
    }
}

/// Stores a value that is still in the socket.
async fn large<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &Bytes,
    size: u64,
    blind: bool,
) -> Result<(), Error> {
    let acceptable = match size > session.state.max_object_bytes {
        true => Err(ErrorReply::VALUE_TOO_LONG),
        false => key(name).map(drop),
    };
    if let Err(refused) = acceptable {
        session.connection.discard_rest().await?;
        return refuse(session, refused);
    }

    let store = session.state.store.clone();
    let source = Body(session.connection.value());
    let upload = match store
        .upload(Bytes::copy_from_slice(name), size, blind, source)
        .await
    {
        Ok(upload) => upload,
        Err(error) => {
            // If it was the connection that failed, this says so.
            session.connection.discard_rest().await?;
            return refuse(session, error);
        }
    };
    session.moved += size;

    let rest = session.connection.rest().await?;
    if rest.large.is_some() {
        session.connection.discard_rest().await?;
        return refuse(session, ErrorReply::SYNTAX);
    }
    match parse(&rest.args, store.now()) {
        Ok(terms) => commit(session, upload, terms).await,
        Err(refused) => refuse(session, refused),
    }
}

async fn upload<S: Store>(
    store: &S,
    name: &[u8],
    value: Bytes,
    terms: Terms,
) -> Result<SetOutcome<S::Value>, infinicache_engine::Error> {
    // The name is copied, or a long-lived key would keep its whole read buffer.
    let name = Bytes::copy_from_slice(name);
    let (size, blind) = (value.len() as u64, terms.are_blind());
    let upload = store.upload(name, size, blind, value).await?;
    upload.commit(terms).await
}

async fn commit<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    upload: S::Upload,
    terms: Terms,
) -> Result<(), Error> {
    match upload.commit(terms).await {
        Ok(outcome) => answer(session, terms.previous, outcome).await,
        Err(error) => refuse(session, error),
    }
}

async fn answer<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    get: bool,
    outcome: SetOutcome<S::Value>,
) -> Result<(), Error> {
    let (before, frame) = match outcome {
        SetOutcome::Stored { previous, .. } => (previous, BytesFrame::SimpleString(OK)),
        SetOutcome::ConditionFailed { current } => (current, BytesFrame::Null),
    };
    match before {
        _ if !get => session.reply(&frame),
        None => session.reply(&BytesFrame::Null),
        Some(found) => {
            let all = 0..found.size();
            let sent = send::value(session, &found, all, &BytesFrame::Null).await?;
            if sent == Sent::Nothing {
                let text = "the value was stored, but the one before it cannot be read any more";
                session.refuse(infinicache_engine::Error::Unreachable(text.into()));
            }
        }
    }
    Ok(())
}

fn refuse<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    refused: impl Into<ErrorReply>,
) -> Result<(), Error> {
    session.refuse(refused);
    Ok(())
}

/// Parses what follows the value.
pub(super) fn parse(args: &[Bytes], now: u64) -> Result<Terms, ErrorReply> {
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
            let terms = parse(&args, 1_000_000).unwrap();
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

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
use infinicache_client::{Condition, Expiry, Terms};
use infinicache_resp::{Command, Error, Input, Output};
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Refused, Session, Spec, Store,
    arguments::{Unit, integer, key, word},
    body::Body,
    expire::Since,
    send::{self, Sent},
    store::{Found, Outcome, Upload},
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
    session: &mut Session<S, R, W>,
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
                1 => Refused::KEY_TOO_LONG,
                _ => Refused::SYNTAX,
            };
            session.connection.discard_rest().await?;
            session.refuse(refused);
            Ok(())
        }
    }
}

/// Stores a value that came with its command.
async fn small<S: Store, R: Input, W: Output>(
    session: &mut Session<S, R, W>,
    name: &Bytes,
    value: &Bytes,
    options: &[Bytes],
) -> Result<(), Error> {
    let size = value.len() as u64;
    let store = session.state.store.clone();
    let parsed = key(name).and_then(|_| parse(options, store.now()));
    let terms = match parsed {
        Ok(terms) if size <= session.state.max_object_bytes => terms,
        Ok(_) => return refuse(session, Refused::VALUE_TOO_LONG),
        Err(refused) => return refuse(session, refused),
    };
    // A condition that does not hold now spares the nodes the value.
    if let Some(condition) = terms.condition {
        let current = store.find(name);
        if current.is_some() != (condition == Condition::Present) {
            let failed = Outcome::ConditionFailed { current };
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
) -> Result<Outcome<S::Found>, infinicache_client::Error> {
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
    session: &mut Session<S, R, W>,
    name: &Bytes,
    size: u64,
    blind: bool,
) -> Result<(), Error> {
    let acceptable = match size > session.state.max_object_bytes {
        true => Err(Refused::VALUE_TOO_LONG),
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
        return refuse(session, Refused::SYNTAX);
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
) -> Result<Outcome<S::Found>, infinicache_client::Error> {
    // The name is copied, or a long-lived key would keep its whole read buffer.
    let name = Bytes::copy_from_slice(name);
    let (size, blind) = (value.len() as u64, terms.are_blind());
    let upload = store.upload(name, size, blind, value).await?;
    upload.commit(terms).await
}

async fn commit<S: Store, R: Input, W: Output>(
    session: &mut Session<S, R, W>,
    upload: S::Upload,
    terms: Terms,
) -> Result<(), Error> {
    match upload.commit(terms).await {
        Ok(outcome) => answer(session, terms.previous, outcome).await,
        Err(error) => refuse(session, error),
    }
}

async fn answer<S: Store, R: Input, W: Output>(
    session: &mut Session<S, R, W>,
    get: bool,
    outcome: Outcome<S::Found>,
) -> Result<(), Error> {
    let (before, frame) = match outcome {
        Outcome::Stored { previous } => (previous, BytesFrame::SimpleString(OK)),
        Outcome::ConditionFailed { current } => (current, BytesFrame::Null),
    };
    match before {
        _ if !get => session.reply(&frame),
        None => session.reply(&BytesFrame::Null),
        Some(found) => {
            let all = 0..found.size();
            let sent = send::value(session, &found, all, &BytesFrame::Null).await?;
            if sent == Sent::Nothing {
                let text = "the value was stored, but the one before it cannot be read any more";
                session.refuse(infinicache_client::Error::Unreachable(text.into()));
            }
        }
    }
    Ok(())
}

fn refuse<S: Store, R: Input, W: Output>(
    session: &mut Session<S, R, W>,
    refused: impl Into<Refused>,
) -> Result<(), Error> {
    session.refuse(refused);
    Ok(())
}

/// Parses what follows the value. As in Redis, a number is looked at only if
/// the syntax is right.
pub(super) fn parse(args: &[Bytes], now: u64) -> Result<Terms, Refused> {
    let mut terms = Terms::default();
    let mut keep = false;
    let mut time: Option<(String, &Bytes)> = None;
    let mut rest = args;
    while let [option, following @ ..] = rest {
        rest = following;
        let condition = &mut terms.condition;
        let option = word(option);
        match option.as_str() {
            "NX" if *condition != Some(Condition::Present) => *condition = Some(Condition::Absent),
            "XX" if *condition != Some(Condition::Absent) => *condition = Some(Condition::Present),
            "GET" => terms.previous = true,
            "KEEPTTL" if time.is_none() => keep = true,
            // The same option twice is no error, and the last one counts.
            "EX" | "PX" | "EXAT" | "PXAT"
                if !keep && time.as_ref().is_none_or(|(before, _)| *before == option) =>
            {
                let [number, following @ ..] = rest else {
                    return Err(Refused::SYNTAX);
                };
                rest = following;
                time = Some((option, number));
            }
            _ => return Err(Refused::SYNTAX),
        }
    }
    if keep {
        terms.expiry = Expiry::Keep;
    }
    if let Some((option, number)) = time {
        let (unit, since) = match option.as_str() {
            "EX" => (Unit::Seconds, Since::Now),
            "PX" => (Unit::Milliseconds, Since::Now),
            "EXAT" => (Unit::Seconds, Since::Epoch),
            _ => (Unit::Milliseconds, Since::Epoch),
        };
        terms.expiry = expiry(integer(number)?, unit, since, now)?;
    }
    Ok(terms)
}

fn expiry(number: i64, unit: Unit, since: Since, now: u64) -> Result<Expiry, Refused> {
    let invalid = || Refused::expire_time(SPEC.name);
    let base = match since {
        Since::Now => i64::try_from(now).map_err(|_| invalid())?,
        Since::Epoch => 0,
    };
    let at = Some(number)
        .filter(|&number| number > 0)
        .and_then(|number| unit.milliseconds(number)?.checked_add(base))
        .ok_or_else(invalid)?;
    Ok(Expiry::At(at as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Terms, Refused> {
        let args: Vec<Bytes> = line
            .split(' ')
            .map(|arg| Bytes::copy_from_slice(arg.as_bytes()))
            .collect();
        parse(&args, 1_000_000)
    }

    #[test]
    fn times_are_absolute() {
        for (line, at) in [
            ("EX 10", 1_010_000),
            ("px 10", 1_000_010),
            ("EXAT 10", 10_000),
            ("PXAT 10", 10),
        ] {
            assert_eq!(parsed(line).unwrap().expiry, Expiry::At(at), "{line}");
        }
    }

    #[test]
    fn options_come_in_any_order() {
        let options = parsed("KEEPTTL get xx").unwrap();
        let terms = Terms {
            condition: Some(Condition::Present),
            expiry: Expiry::Keep,
            previous: true,
        };
        assert_eq!(options, terms);
        assert_eq!(parsed("XX KEEPTTL GET").unwrap(), options);
    }
}

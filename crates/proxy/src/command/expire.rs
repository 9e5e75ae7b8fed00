//! ```text
//! EXPIRE key seconds [NX | XX | GT | LT]
//! PEXPIRE key milliseconds [NX | XX | GT | LT]
//! EXPIREAT key unix-seconds [NX | XX | GT | LT]
//! PEXPIREAT key unix-milliseconds [NX | XX | GT | LT]
//! ```
//!
//! 1 if the time was set, 0 if there is no such key or the option forbids it:
//! NX the key has a time already, XX it has none, GT the new time is not later,
//! LT it is not earlier. No time counts as the latest of all. A time in the
//! past deletes the key.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, ErrorReply, Spec, Store,
    arguments::{TimeUnit, excerpt, integer, key, word},
    table::Verb,
};

/// From when the time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    Now,
    Epoch,
}

pub(super) const EXPIRE: Spec = Spec {
    name: "expire",
    arity: -3,
    flags: &["write", "fast"],
    keys: (1, 1, 1),
    categories: &["keyspace", "write", "fast"],
    group: "generic",
    summary: "Set the time to live of a key in seconds",
    needs_values: true,
    verb: Verb::Expire(TimeUnit::Seconds, Since::Now),
};

pub(super) const PEXPIRE: Spec = Spec {
    name: "pexpire",
    summary: "Set the time to live of a key in milliseconds",
    verb: Verb::Expire(TimeUnit::Milliseconds, Since::Now),
    ..EXPIRE
};

pub(super) const EXPIREAT: Spec = Spec {
    name: "expireat",
    summary: "Set when a key expires, in seconds since 1970",
    verb: Verb::Expire(TimeUnit::Seconds, Since::Epoch),
    ..EXPIRE
};

pub(super) const PEXPIREAT: Spec = Spec {
    name: "pexpireat",
    summary: "Set when a key expires, in milliseconds since 1970",
    verb: Verb::Expire(TimeUnit::Milliseconds, Since::Epoch),
    ..EXPIRE
};

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    if_unset: bool,
    if_set: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Options {
    /// Whether a key that expires at `current` may expire at `at` instead.
    fn allow(self, current: Option<u64>, at: u64) -> bool {
        let current_or_never = current.unwrap_or(u64::MAX);
        (!self.if_unset || current.is_none())
            && (!self.if_set || current.is_some())
            && (!self.if_later || at > current_or_never)
            && (!self.if_earlier || at < current_or_never)
    }
}

pub(super) async fn run(
    store: &impl Store,
    name: &str,
    unit: TimeUnit,
    since: Since,
    args: &[Bytes],
) -> Answer {
    let options = parse(&args[3..])?;
    let number = integer(&args[2])?;
    let base = match since {
        Since::Now => store.now(),
        Since::Epoch => 0,
    };
    let at = time(number, unit, base).ok_or_else(|| ErrorReply::expire_time(name))?;
    let key = key(&args[1])?;
    let found = store.stat(key).await?;
    let allowed = found.is_some_and(|found| options.allow(found.expires_at, at));
    let set = allowed && store.set_expiry(key, Some(at)).await?;
    Ok(BytesFrame::Integer(i64::from(set)))
}

fn parse(args: &[Bytes]) -> Result<Options, ErrorReply> {
    let mut options = Options::default();
    for arg in args {
        match word(arg).as_str() {
            "NX" => options.if_unset = true,
            "XX" => options.if_set = true,
            "GT" => options.if_later = true,
            "LT" => options.if_earlier = true,
            _ => {
                let text = format!("ERR Unsupported option {}", excerpt(arg, 128));
                return Err(ErrorReply::quoting(text));
            }
        }
    }
    if options.if_unset && (options.if_set || options.if_later || options.if_earlier) {
        return Err(ErrorReply::text(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if options.if_later && options.if_earlier {
        return Err(ErrorReply::text(
            "ERR GT and LT options at the same time are not compatible",
        ));
    }
    Ok(options)
}

/// `number` after `base` in milliseconds since 1970; what is before 1970 is long past.
fn time(number: i64, unit: TimeUnit, base: u64) -> Option<u64> {
    let base = i64::try_from(base).ok()?;
    let at = unit.milliseconds(number)?.checked_add(base)?;
    Some(at.max(0) as u64)
}

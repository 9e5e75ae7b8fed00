//! Reading arguments.

use bytes::Bytes;

use super::ErrorReply;
use infinicache_resp::{self as resp, STREAM_THRESHOLD};

/// Longest key. Longer arguments are not read with their command.
const MAX_KEY: usize = STREAM_THRESHOLD;

/// An argument as a key.
pub(super) fn key(arg: &Bytes) -> Result<&Bytes, ErrorReply> {
    match arg.len() {
        0..=MAX_KEY => Ok(arg),
        _ => Err(ErrorReply::KEY_TOO_LONG),
    }
}

/// All of `args` as keys.
pub(super) fn keys(args: &[Bytes]) -> Result<&[Bytes], ErrorReply> {
    args.iter().try_for_each(|arg| key(arg).map(drop))?;
    Ok(args)
}

/// An argument as an integer.
pub(super) fn integer(arg: &[u8]) -> Result<i64, ErrorReply> {
    resp::integer(arg).ok_or(ErrorReply::NOT_AN_INTEGER)
}

/// An argument as a word: upper case, empty if it is none.
pub(super) fn word(arg: &[u8]) -> String {
    str::from_utf8(arg).unwrap_or_default().to_ascii_uppercase()
}

/// An argument as text for an error message, cut as Redis does.
pub(super) fn excerpt(arg: &[u8], length: usize) -> String {
    String::from_utf8_lossy(&arg[..arg.len().min(length)]).into_owned()
}

/// In what a duration or a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Seconds,
    Milliseconds,
}

impl TimeUnit {
    /// `number` of these in milliseconds, unless that overflows.
    pub(super) fn milliseconds(self, number: i64) -> Option<i64> {
        match self {
            Self::Seconds => number.checked_mul(1000),
            Self::Milliseconds => Some(number),
        }
    }
}

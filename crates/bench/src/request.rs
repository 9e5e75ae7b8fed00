//! What is asked, and what came of it.

use std::{io, str::FromStr};

use infinicache_client::Error;

/// What can be asked of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The value of a key.
    Get,
    /// A new value for a key.
    Set,
    /// No value for a key any more.
    Delete,
}

impl FromStr for Operation {
    type Err = &'static str;

    /// What a mix may consist of.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "get" => Ok(Self::Get),
            "set" => Ok(Self::Set),
            _ => Err("get or set is expected"),
        }
    }
}

impl Operation {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// The number of its key.
    pub key: u64,
    /// Which value is set.
    pub version: u64,
    /// The bytes that are set, or must be got; `None` if any length will do.
    pub size: Option<u64>,
    /// Whether every byte of what is got is checked.
    pub is_verified: bool,
}

/// What a request that did not fail was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// A value of so many bytes was got.
    Hit(u64),
    /// There was no value to get.
    Miss,
    /// A value of so many bytes was set.
    Stored(u64),
    /// There is no value any more.
    Deleted,
}

/// Why a request failed. Those that follow on a broken connection fail for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// Nothing came in time.
    #[error("timed out")]
    TimedOut,
    /// The connection could not be made, or broke.
    #[error("connection: {0}")]
    Connection(io::ErrorKind),
    /// The server said no, with this word.
    #[error("refused: {0}")]
    Refused(String),
    /// The server does not speak the protocol.
    #[error("protocol violation")]
    Protocol,
    /// It was not tried, as those before it had failed.
    #[error("given up after others failed")]
    GivenUp,
    /// Some bytes of the value were not those that had been set.
    #[error("wrong bytes")]
    WrongBytes,
    /// The value was longer or shorter than what had been set.
    #[error("wrong length")]
    WrongLength,
}

impl Failure {
    /// Whether nothing else can be asked over the same connection.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Connection(_) | Self::Protocol)
    }

    /// The failure for an error reply: its first word, which is the code, as far as it is one.
    pub fn refused(reply: &str) -> Self {
        let word = reply.split_ascii_whitespace().next().unwrap_or("");
        let is_code = word.len() <= 20 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        Self::Refused(if is_code { word } else { "?" }.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.kind())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Miss => Self::Refused("miss".into()),
            Error::Lost { .. } => Self::Refused("lost".into()),
            Error::OutOfMemory(_) => Self::Refused("OOM".into()),
            Error::NoWrite => Self::Refused("write given up".into()),
            Error::Refused(reason) => Self::refused(&reason),
            Error::TimedOut(_) => Self::TimedOut,
            Error::Unreachable(_) => Self::Refused("unreachable".into()),
            Error::Io(error) => error.into(),
            Error::Protocol(_) => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_by_their_code_only() {
        for (reply, code) in [
            ("OOM command not allowed", "OOM"),
            ("ERR", "ERR"),
            ("", ""),
            ("<script> x", "?"),
            ("AVERYLONGWORDTHATISNOCODE x", "?"),
        ] {
            assert_eq!(
                Failure::refused(reply),
                Failure::Refused(code.into()),
                "{reply}"
            );
        }
    }
}

//! Why a connection cannot go on.

use std::{io, time::Duration};

/// Bytes that are not a request. The stream cannot be resynchronised.
///
/// The texts are those of Redis, which clients and people search for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum ProtocolError {
    #[error("invalid multibulk length")]
    InvalidCount,
    #[error("too big mbulk count string")]
    CountTooLong,
    #[error("invalid bulk length")]
    InvalidLength,
    #[error("too big bulk count string")]
    LengthTooLong,
    #[error("expected '$', got '{0}'")]
    NotABulkString(char),
    #[error("too big inline request")]
    InlineTooLong,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Redis does not look at these two bytes, and takes whatever follows for a request.
    #[error("expected CRLF")]
    NoLineEnd,
}

/// Why a connection ended before its peer asked for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer does not speak RESP.
    #[error("protocol error: {0}")]
    Protocol(#[from] ProtocolError),
    /// The peer neither sent nor took a byte for too long in the middle of something.
    #[error("no progress for {0:?}")]
    Stalled(Duration),
    /// The peer asked for nothing for too long.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// A reply's length was sent, but not all of its bytes could be had: only
    /// closing the connection tells the peer.
    #[error("reply given up midway")]
    ReplyAborted,
    /// The socket failed, or ended in the middle of a request.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Why a connection was dropped, if that was not its peer's wish, nor what it sent.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Stalled(_) => Some("stalled"),
            Self::Idle(_) => Some("idle"),
            // The system has found that the peer acknowledges nothing.
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => Some("vanished"),
            Self::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => Some("no_memory"),
            _ => None,
        }
    }
}

//! What can go wrong, by what a caller can do about it.

use std::{convert::Infallible, io};

/// Why an operation on the cache did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such key. Fetch the value from where it comes from.
    #[error("no such key")]
    Miss,
    /// The value was there, but too many of its chunks are gone: a miss that is the cache's fault.
    #[error("value lost: {have} of its chunks reachable, {need} needed")]
    Lost {
        /// Chunks that could be had.
        have: usize,
        /// Chunks that would have been enough.
        need: usize,
    },
    /// There is no room for the value, and eviction could not make any.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The write was given up before its commit: it took too long, or the proxy is another.
    #[error("write given up")]
    NoWrite,
    /// The proxy refused the request; repeating it will not help.
    #[error("refused: {0}")]
    Refused(String),
    /// Something did not happen in time. Repeating the request may help.
    #[error("timed out: {0}")]
    TimedOut(&'static str),
    /// The pool, or too many of its nodes, cannot be reached. Repeating the request may help.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The value's source or destination failed, or the connection did.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side did not follow the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

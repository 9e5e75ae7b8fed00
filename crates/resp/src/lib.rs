//! RESP, the Redis serialization protocol, as a server speaks it.
//!
//! ```text
//! *3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n    a request: an array of bulk strings
//! SET key "value"\r\n                              the same, inline, as typed by people
//! ```
//!
//! Requests are the same in versions 2 and 3. Of what is new in the replies of
//! version 3, only its null and its maps are used: some clients ask for version
//! 3 when they connect and give up if they do not get it.
//!
//! Requests are parsed here rather than by the crate `redis-protocol`, because
//! that one decodes whole frames only, and a value here may be larger than what
//! the proxy is willing to hold: an argument that is too large is not read but
//! announced ([`Command::large`]), and whoever runs the command takes it from
//! the socket as a stream, or throws it away. Replies are the crate's frames, but
//! encoded here too: some bulk strings are streamed, and the crate's encoder
//! ends integers near the powers of ten from 10^15 with a zero byte. The tests
//! hold the parser and the encoder to the crate's decoder.
//!
//! In reading order:
//!
//! - `parser`: bytes to commands, and its limits; no I/O;
//! - `inline` and `integer`: how people type commands, how Redis writes numbers;
//! - `reader`: the receiving half of a connection, and a value as a stream;
//! - `outbox` and `writer`: the queue of replies, and the sending half;
//! - `connection`: both halves.

#![forbid(unsafe_code)]

use std::time::Duration;

mod connection;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inline;
mod integer;
mod outbox;
mod parser;
mod reader;
mod writer;

/// The version of the protocol in which a connection gets its replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Version 2, which every connection begins with.
    #[default]
    Resp2 = 2,
    /// Version 3, asked for by `HELLO 3`.
    Resp3 = 3,
}

/// How long the peer of a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// In the middle of something, where it makes no progress.
    pub stall: Duration,
    /// Between two commands, if that is limited.
    pub idle: Option<Duration>,
}

pub use connection::{Connection, Parts};
pub use error::{Error, ProtocolError};
pub use integer::integer;
pub use parser::{Command, STREAM_THRESHOLD};
pub use reader::{Input, Value};
pub use writer::Output;

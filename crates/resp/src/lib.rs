//! RESP, the Redis serialization protocol, as a server and as its clients speak it.
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
//! A client encodes a [`request`], and reads a [`reply`] whole, or its head and then its bytes from
//! where they are.
//!
//! Requests are parsed here rather than by the crate `redis-protocol`, because
//! that one decodes whole frames only, and a value here may be larger than what
//! the proxy is willing to hold: an argument that is too large is not read but
//! announced ([`Command::large`]), and the command takes it from
//! the socket as a stream, or throws it away. Replies are the crate's frames, but
//! encoded and read here too: some bulk strings are streamed, the crate's encoder
//! ends integers near the powers of ten from 10^15 with a zero byte, and its decoder
//! follows arrays in arrays until the stack ends. The tests hold all of it to the crate.
//!
//! In reading order, for a server:
//!
//! - `parser`: bytes to commands, and its limits; no I/O;
//! - `inline` and `integer`: how people type commands, how Redis writes numbers;
//! - `reader`: the receiving half of a connection, and a value as a stream;
//! - `outbox` and `writer`: the queue of replies, and the sending half;
//! - `connection`: both halves.
//!
//! For a client:
//!
//! - [`request`]: requests to bytes; no I/O;
//! - [`reply`]: bytes to replies, and their limits; no I/O;
//! - `replies`: the receiving half of a connection that holds no values.

#![forbid(unsafe_code)]

mod connection;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inline;
mod integer;
mod line;
mod outbox;
mod parser;
mod protocol;
mod reader;
mod replies;
pub mod reply;
pub mod request;
mod timeouts;
mod writer;

pub use connection::{Connection, ConnectionParts};
pub use error::{Error, ProtocolError};
pub use integer::integer;
pub use parser::{Command, STREAM_THRESHOLD};
pub use protocol::Protocol;
pub use reader::{Input, Value};
pub use replies::{ReceiveError, Replies};
pub use timeouts::Timeouts;
pub use writer::Output;

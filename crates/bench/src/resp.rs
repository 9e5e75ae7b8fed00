//! RESP, as a client speaks it that is never the bottleneck.
//!
//! - [`command`]: commands, appended to a buffer;
//! - [`reply`]: replies, read from one;
//! - [`connection`]: a socket with both.
//!
//! Values are sent from where they are, and read into a buffer of fixed size
//! where they are checked and forgotten.

pub mod command;
pub mod connection;
pub mod reply;

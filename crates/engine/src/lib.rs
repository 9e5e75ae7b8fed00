//! The cache's algorithms: how a value is written, read and rebuilt.
//!
//! Writing, reading and rebuilding are written once, over two seams: a
//! [`Pool`] decides where chunks are, a [`NodeLink`] moves units to and from one
//! node. The proxy implements both to serve those who have no smart client; the
//! client library implements both to code and place by itself. Nothing here
//! knows how nodes are woken or how metadata is kept.
//!
//! In reading order:
//!
//! - [`pool`] and [`link`]: the two seams;
//! - [`placement`]: which nodes shall hold a value;
//! - [`source`] and [`mod@write`]: a value goes out;
//! - `stripe` and [`read`]: a value comes back, from any k of its chunks; [`read_retry`]: when that
//!   is tried again;
//! - [`rebuild`]: chunks are made anew;
//! - [`latency`] and [`budget`]: whom to ask first, and what may be buffered;
//! - [`adaptive_timeout`]: how long an answer is waited for;
//! - [`mux`]: a link over TCP.
#![forbid(unsafe_code)]

pub mod adaptive_timeout;
pub mod budget;
pub mod error;
pub mod latency;
pub mod link;
pub mod mux;
pub mod placement;
pub mod pool;
pub mod read;
pub mod read_retry;
pub mod rebuild;
pub mod source;
mod stripe;
mod unit;
pub mod write;

pub use adaptive_timeout::AdaptiveTimeout;
pub use budget::Budget;
pub use error::Error;
pub use infinicache_erasure::Code;
pub use infinicache_wire::{Condition, Expiry, Terms, Version};
pub use latency::LatencyTracker;
pub use link::NodeLink;
pub use mux::{Mux, MuxLink, gather::ask_at_once};
pub use pool::{CommitOutcome, Holders, Incident, Pool};
pub use read::Reader;
pub use read_retry::{PAUSES, ReadError, ReadRetry};
pub use source::{Source, Stream};
pub use write::{Upload, overwrite, upload};

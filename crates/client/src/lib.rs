//! The cache's algorithms, and the client library that applications use.
//!
//! Writing, reading and rebuilding are written once, over two seams: a
//! [`Pool`] decides where chunks are, a [`NodeLink`] moves units to and from one
//! node. The proxy implements both to serve those who have no smart client; the
//! client library implements both to code and place by itself. Nothing here
//! knows how nodes are woken or how metadata is kept.
//!
//! ```no_run
//! use infinicache_client::{Client, Error};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let client = Client::connect(["localhost:6378"]).await?;
//! client.put("model", vec![7; 10 << 20]).await?;
//! match client.get("model").await {
//!     Ok(model) => println!("{} bytes", model.len()),
//!     Err(Error::Miss) => println!("fetch it from where it comes from"),
//!     Err(error) => return Err(error),
//! }
//! # Ok(()) }
//! ```
//!
//! In reading order:
//!
//! - [`client`]: the library that applications use;
//!
//! - [`pool`] and [`link`]: the two seams;
//! - [`placement`]: which nodes shall hold a value;
//! - [`source`] and [`mod@write`]: a value goes out;
//! - `stripe` and [`read`]: a value comes back, from any k of its chunks;
//! - [`rebuild`]: chunks are made anew;
//! - [`latency`] and [`budget`]: whom to ask first, and what may be buffered;
//! - [`adaptive_timeout`]: how long an answer is waited for;
//! - [`mux`]: a link over TCP;
//! - [`hash_ring`]: which of several proxies a key belongs to.
#![forbid(unsafe_code)]

pub mod adaptive_timeout;
pub mod budget;
pub mod client;
pub mod error;
pub mod hash_ring;
pub mod latency;
pub mod link;
pub mod mux;
pub mod placement;
pub mod pool;
pub mod read;
pub mod rebuild;
pub mod source;
mod stripe;
mod unit;
pub mod write;

/// Its examples are compiled with those of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

pub use adaptive_timeout::AdaptiveTimeout;
pub use budget::Budget;
pub use client::{
    Address, ChunkStat, Client, Download, Login, Options, ParseAddressError, PutOptions, Stat,
};
pub use error::Error;
pub use infinicache_erasure::Code;
pub use infinicache_wire::{Condition, Expiry, Terms, Version};
pub use latency::LatencyTracker;
pub use link::NodeLink;
pub use mux::{Mux, MuxLink, ask_at_once};
pub use pool::{CommitOutcome, Holders, Incident, Pool};
pub use read::{PAUSES, Reader};
pub use source::{Source, Stream};
pub use write::{Upload, overwrite, upload};

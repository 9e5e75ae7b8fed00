//! The client library of infinicache.
//!
//! A [`Client`] codes and places values itself and exchanges their units with
//! the nodes; of its proxy it asks only where things are and whether a write
//! counts.
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
//! - `client`, `put` and `get`: the operations on values, with `download` and `stat`;
//! - `proxy`: one proxy as the [`Pool`](infinicache_engine::Pool) of the algorithms;
//! - `pool_status`: what is known of the pool, and which members to propose for a value;
//! - `command`, `control`, `connection`, `error_reply`: requests and answers, on Redis's protocol;
//! - `direct`, `relay`: the links over which units move, to the nodes or through the proxy;
//! - `connector` and `address`: how a proxy is reached;
//! - `hash_ring`: which of several proxies a key belongs to.
#![forbid(unsafe_code)]

mod address;
mod client;
mod command;
mod connection;
mod connector;
mod control;
mod direct;
mod download;
mod error_reply;
mod get;
mod hash_ring;
mod options;
mod pool_status;
mod proxy;
mod put;
mod relay;
mod stat;

pub use address::{Address, Login, ParseAddressError};
pub use client::Client;
pub use download::Download;
pub use infinicache_engine::Error;
pub use infinicache_erasure::Code;
pub use infinicache_wire::{Condition, Expiry, Terms, Version};
pub use options::{Options, PutOptions};
pub use stat::{ChunkStat, Stat};

/// Its examples are compiled with those of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

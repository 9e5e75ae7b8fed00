//! The proxy: Redis clients and smart clients on one side, nodes on the other.
//!
//! It owns the metadata and decides everything that is to be decided: which nodes
//! are members, where chunks go, what the value of a key is. It holds no value:
//! bytes pass through it a stripe at a time. It knows nothing of Kubernetes
//! beyond a URL to wake each node by; `discovery` alone does.
//!
//! The life of a `GET`:
//!
//! 1. `server` accepts a connection and `resp` reads a command off it;
//! 2. `command` finds the command's file, which asks for the key's value;
//! 3. `cache` finds the object in the `metadata::catalog`;
//! 4. [`infinicache_engine::Reader`] asks k of its holders for the first stripe,
//!    over the links that the `pool` have dialled;
//! 5. what is missing, broken or late is made up for from parity;
//! 6. `resp` writes each stripe to the client while the next is on its way.
//!
//! What it knows outlives it on the nodes: `infinicache_membership` has the rules by which a later
//! run finds it again, `recovery` follows them.
//!
//! Beside it, `relay` and `control` serve smart clients, `upkeep::repair` restores lost chunks,
//! `upkeep::evacuation` moves those that are about to be (both take what is most
//! `upkeep::repair_queue` first), `upkeep::scrub` looks for those that are broken,
//! `upkeep::scale_down` sees to it that no more nodes are awake than needed,
//! `upkeep::pool_deletion` lets go of a pool that was deleted, `upkeep::background` tidies up, and
//! `admin` shows what is going on. `process` is the list of all that is started.
#![forbid(unsafe_code)]

mod admin;
mod cache;
mod capacity;
mod command;
pub mod config;
mod connection_limit;
mod connection_resources;
mod control;
mod gc_queue;
mod hot_cache;
mod info;
mod metadata;
mod metrics;
pub mod password;
mod pool;
mod pool_clock;
mod process;
mod rate_limiter;
mod recovery;
mod redis_adapter;
mod relay;
mod server;
mod session_options;
mod upkeep;

pub use crate::{
    config::{Config, Predecessor},
    pool::NodeAddress,
    process::run,
};

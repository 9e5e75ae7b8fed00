//! A cache node: a process that holds chunks in memory for one proxy.
//!
//! It follows the container contract of Knative - it listens on `PORT`, is
//! named by `K_SERVICE` and goes on SIGTERM - but runs anywhere. It does
//! nothing until it is woken:
//!
//! ```text
//!  proxy                                          node
//!    |  POST /wake {proxy, session, proof}          |
//!    |--------------------------------------------->|  is it for me, and genuine?
//!    |<---------------------------------------------|  200, at once; open, if asked for
//!    |                                              |
//!    |<------------ TCP connect, Hello -------------|  dials back
//!    |------------------- Welcome ----------------->|
//!    |--- Ping, Put, Finish, Get, Delete, ... ----->|  answers, until the link is lost;
//!    |<------------------ Reply --------------------|  then keeps its chunks and redials
//!    |                                              |
//!    |<-------------- Bye: session over ------------|  rests: keeps its chunks and its link
//!    |                                              |
//!    |<--------------- Bye: terminated -------------|  SIGTERM: goes when emptied, or late
//! ```
//!
//! It knows nothing of erasure codes, keys, Redis or Kubernetes: a chunk is numbered units of bytes
//! that it neither reads nor verifies. It never exits by itself, because the platform would only
//! start it again, empty.
//!
//! In reading order:
//!
//! - [`config`]: what can be set;
//! - [`node`]: the life of the process, from the bound port to the drain;
//! - `drain`: when a node that got SIGTERM may end;
//! - `listen`: connections accepted, bounded;
//! - `http`: the wake endpoint, health and metrics; `held_response`: an answer held open;
//! - `lifetime`: how long a session lasts, decided without sockets or clocks;
//! - `clock`: the timer around those decisions;
//! - `session`: which proxy to be linked to, decided without sockets or clocks;
//! - `supervisor`: the sockets around those decisions;
//! - `instance`: who the process is, what it holds, and when it goes;
//! - `dial`: one attempt to reach a proxy and be welcomed;
//! - `link`: frames in, frames out, over one connection;
//! - `handshake`: what both ends of a direct link do first;
//! - `direct`: the listener at which other nodes put chunks;
//! - `transfer`: chunks on their way to another node;
//! - `acceptor`: what is remembered for the next proxy;
//! - `service`: one request answered;
//! - `closed_chunks`: chunks of which no unit is wanted any more;
//! - [`store`]: the chunks;
//! - `metrics`: what is told to operators.
#![forbid(unsafe_code)]

pub mod acceptor;
mod closed_chunks;
pub mod config;
mod dial;
mod direct;
mod drain;
mod handshake;
mod held_response;
mod http;
mod instance;
mod lifetime;
mod link;
mod listen;
mod metrics;
pub mod node;
mod service;
mod session;
mod session_timer;
pub mod store;
mod supervisor;
mod tokens;
mod transfer;

pub use config::Config;
pub use node::{Node, run};

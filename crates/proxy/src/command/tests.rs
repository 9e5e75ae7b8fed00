//! Commands over a real socket, with a store in memory.

mod against_redis;
mod harness;
mod replies;
mod streams;
mod together;

pub(crate) use harness::{Peer, Running, bulk, request};

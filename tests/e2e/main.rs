//! End to end: real processes, real clients.
//!
//! Each test starts a whole cache with `infinicache up`, uses it as its users
//! do, and does to its processes what the world does. Nothing is looked at but
//! what is public: replies, pages, metrics, and processes from outside.
//!
//! Nothing here is random: what looks so follows from [`random::SEED`], which
//! `INFINICACHE_E2E_SEED` replaces. What is waited for is asked for again and
//! again until a deadline that only a broken cache misses.
//!
//! What the tests stand on:
//!
//! - [`cluster`]: a cache, its processes and its pages;
//! - [`values`]: values that tell who wrote them, at every byte;
//! - [`history`]: whether what was read may have been;
//! - [`stored`]: values that are there, and must stay;
//! - [`traffic`]: clients that notice what fails;
//! - [`resp`]: a Redis client that can stop half way;
//! - [`openmetrics`]: metrics, read strictly;
//! - [`wire`]: a bad network between nodes and proxy;
//! - [`random`]: numbers that are the same each time.
//!
//! And the tests:
//!
//! - `redis_*`: what a Redis client sees;
//! - `clients`: the Rust client beside it;
//! - `connections`: more of them than there may be, and those whose client vanishes;
//! - `survival`, `frozen`, `half_written`: nodes and clients that fail;
//! - `evacuation`: nodes that are told to go;
//! - `restart`: the proxy fails;
//! - `shrunken`: nodes that are gone for good;
//! - [`kubernetes`]: a cluster, as far as its API and its manifests go;
//! - `scale_to_zero`, `bounded`, `resident`, `room`: what may run and what may be held;
//! - `mixing`, `model`: never a wrong byte;
//! - [`faults`]: never a wrong answer, whatever goes wrong under load;
//! - `pages`: what operators see;
//! - `measured`: benchmarks and replays, against it and a real Redis.
#![cfg(target_os = "linux")]

mod cluster;
mod history;
mod openmetrics;
#[path = "../../crates/cli/tests/processes/mod.rs"]
mod processes;
mod random;
mod resp;
mod stored;
mod traffic;
mod values;
mod wire;

mod bounded;
mod clients;
mod connections;
mod direct;
mod evacuation;
mod faults;
mod frozen;
mod half_written;
mod kubernetes;
mod measured;
mod mixing;
mod model;
mod pages;
mod redis_cli;
mod redis_commands;
mod redis_limits;
mod redis_options;
mod redis_values;
mod resident;
mod restart;
mod room;
mod scale_to_zero;
mod sessions;
mod shrunken;
mod survival;

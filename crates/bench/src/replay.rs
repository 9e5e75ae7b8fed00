//! A trace, replayed: how a cache does that stands before something slower.
//!
//! - [`trace`]: requests that were once made, read from a file;
//! - [`holdings`]: what the cache holds of them, as far as its user can tell;
//! - [`play`]: they are made again, in time;
//! - [`cost`]: what the nodes cost meanwhile, and what another cache would;
//! - [`outcome`]: what came of it, as text and as a document.

pub mod cost;
pub mod holdings;
pub mod outcome;
pub mod play;
pub mod trace;

//! Everything that goes wrong, under load, with every answer checked.
//!
//! A *scenario* starts a cache with a wire between its nodes and its proxy,
//! fills it, and lets both kinds of client do mixed work on a few dozen keys
//! while something goes wrong, once or again and again. Then all is healed, the
//! cache gets the time to be whole, every key is read once more, and the whole
//! [history](crate::history) is checked. What it prints at its end:
//!
//! ```text
//! resets: 1 rounds, 411 operations (0 failed), 14 harms on the wire, 0 wrong,
//!     0 evicted, 0 lost, worst 204ms, whole after 95ms
//!     worst: Get by redis: Read(...)
//! ```
//!
//! `worst` is the longest operation; `whole after`, the longest time from the
//! end of the harm until no object lacked a chunk.
//!
//! A scenario is one round long; `INFINICACHE_FAULTS_SECONDS` makes it as many
//! rounds as begin within that time.
//!
//! - [`stage`]: a scenario from its start to its verdict;
//! - [`load`]: the work that goes on meanwhile;
//! - [`way`]: one operation of either kind of client;
//! - `nodes`, `network`, `platform`, `memory`, `proxy`: what goes wrong.

mod load;
mod memory;
mod network;
mod nodes;
mod platform;
mod proxy;
mod stage;
mod way;

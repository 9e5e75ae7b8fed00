//! Measures caches: a load generator, and the replay of traces.
//!
//! It asks a target - any server that speaks RESP, or a cache of ours by its
//! own protocol - for what a [`workload`] says, times every answer, checks the
//! bytes of some, and counts what fails. It knows nothing of command lines or
//! files, and decides nothing about what is good.
//!
//! In reading order:
//!
//! - [`target`], [`workload`]: who is asked for what;
//! - [`weights`], [`popularity`], [`random`]: which of it is next;
//! - [`value`], [`keys`]: values whose every byte can be checked, and their names;
//! - [`request`]: what is asked, and what came of it;
//! - [`resp`] and [`native`]: the two protocols; [`link`]: one user of either;
//! - [`schedule`] and [`ticker`]: when requests are due that are sent at a rate;
//! - [`drive`]: a user at work; [`session`]: all users of a target;
//! - [`tally`]: what happened; [`memory`]: how much of it that took;
//! - [`plan`]: one target, or two in turn; [`compare`]: how they compare;
//! - [`report`]: as text, JSON and a page with plots;
//! - [`mod@replay`]: traces, replayed.
#![forbid(unsafe_code)]

pub mod compare;
pub mod drive;
pub mod keys;
pub mod link;
pub mod memory;
pub mod native;
pub mod plan;
pub mod popularity;
pub mod random;
pub mod replay;
pub mod report;
pub mod request;
pub mod resp;
pub mod schedule;
pub mod session;
pub mod tally;
pub mod target;
pub mod ticker;
pub mod value;
pub mod weights;
pub mod workload;

//! Upkeep: the background work that keeps objects whole and the pool no larger than it has to be.
//!
//! - [`repair_queue`]: objects that wait for chunks; [`repair`]: they get them;
//! - [`evacuation`]: chunks move off members that drain;
//! - [`scrub`]: units that no client reads are verified;
//! - [`scale_down`]: no more nodes are awake than needed; [`consolidation`]: the rule;
//! - [`pool_deletion`]: a pool whose nodes were all deleted is emptied;
//! - [`background`]: the loops that expire, collect garbage and follow events of the pool.

pub(crate) mod background;
pub(crate) mod consolidation;
pub(crate) mod evacuation;
pub(crate) mod pool_deletion;
pub(crate) mod repair;
pub(crate) mod repair_queue;
pub(crate) mod scale_down;
pub(crate) mod scrub;

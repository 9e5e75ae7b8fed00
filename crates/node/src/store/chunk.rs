//! One chunk: its units, its state, and what it weighs.

use std::time::Instant;

use bytes::Bytes;
use infinicache_wire::ChunkId;

use super::units::Units;

/// What a chunk costs besides its units and its label.
///
/// A table at its emptiest, just after it has doubled, has 16 slots for 7
/// chunks; a tree at its emptiest has 11 for 5 deadlines. A slot of the table
/// is a [`Chunk`] and its id with one byte of control, together at most 129
/// bytes; a deadline is 40: `129 x 16/7 + 40 x 11/5 = 383`.
pub const CHUNK_OVERHEAD: u64 = 384;

/// What a unit costs besides its bytes.
///
/// A slot of 48 bytes in a tree that is 5/11 full, 106 bytes with the inner
/// nodes less than 120; and 24 bytes that count the references to its bytes.
/// Kept densely it is 40 bytes in a vector that is at least half full.
pub const UNIT_OVERHEAD: u64 = 144;

#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) units: Units,
    pub(crate) state: State,
    /// What it counts for in the node's memory, overheads included.
    pub(crate) weight: u64,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Being written.
    Pending {
        /// When the last unit came.
        touched: Instant,
        /// Its entry among the deadlines, never later than the true one.
        due: Instant,
    },
    /// Whole.
    Complete {
        /// What its writer wants to be remembered with it.
        label: Bytes,
    },
    /// Deleted, but reads that began before may go on.
    Dead {
        /// When its memory is let go unasked.
        due: Instant,
    },
}

const _: () = assert!(size_of::<ChunkId>() + size_of::<Chunk>() < 129);
const _: () = assert!(size_of::<(Instant, ChunkId)>() <= 40);
const _: () = assert!(size_of::<(u32, super::units::Unit)>() <= 48);

/// What a unit of that many bytes weighs.
pub(crate) fn unit_weight(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + UNIT_OVERHEAD
}

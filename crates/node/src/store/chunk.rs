//! One chunk: its units, its state, and what it weighs.

use std::time::Instant;

use bytes::Bytes;
use infinicache_wire::{
    ChunkId,
    footprint::{CHUNK_OVERHEAD, UNIT_OVERHEAD},
    inventory::Expiry,
};

use super::units::{Unit, Units};

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
        label: Box<[u8]>,
        /// The last change of when it expires. That it does is the pool's business.
        expiry: Expiry,
    },
    /// Deleted, but reads that began before may go on.
    Dead {
        /// When its memory is let go unasked.
        due: Instant,
    },
}

// The overheads are agreed with the proxy; here is why they are honest. A slot
// of the table is a chunk, its id and a byte of control, and between 7/16 and
// 7/8 of the slots are in use: 140 bytes on average. A label of a usual key
// takes another 64, and a deadline 40 for as long as there is one.
const _: () = assert!(size_of::<ChunkId>() + size_of::<Chunk>() <= 96);
const _: () = assert!(140 + 64 + 40 < CHUNK_OVERHEAD);
// A packed unit is 40 bytes and 24 that count the references to its payload.
const _: () = assert!(size_of::<Unit>() as u64 + 24 < UNIT_OVERHEAD);

/// What a unit of those bytes weighs.
pub(crate) fn unit_weight(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + UNIT_OVERHEAD
}

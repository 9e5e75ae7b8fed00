//! One chunk: its units, its state, and what it weighs.

use std::time::Instant;

use infinicache_wire::{
    ChunkId,
    footprint::{CHUNK_OVERHEAD, UNIT_OVERHEAD},
    inventory::Expiry,
};

use super::{
    slab::Place,
    units::{Held, Payload, Units},
};

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) units: Units,
    pub(super) state: ChunkState,
    /// What it counts for in the node's memory, overheads included.
    pub(super) weight: u64,
}

/// Whose a record in a slab is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) chunk: ChunkId,
    pub(super) part: Part,
}

/// What of a chunk a record is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Label,
    Unit(u32),
}

impl Chunk {
    /// Where a part of it is, if in a slab.
    pub(super) fn place_mut(&mut self, part: Part) -> Option<&mut Place> {
        match part {
            Part::Unit(number) => match &mut self.units.get_mut(number)?.payload {
                Payload::Packed(place) => Some(place),
                Payload::Own(_) => None,
            },
            Part::Label => match &mut self.state {
                ChunkState::Complete {
                    label: Payload::Packed(place),
                    ..
                } => Some(place),
                _ => None,
            },
        }
    }

    /// Takes its label and units away until one was in a slab: there. `None` once all are gone.
    pub(super) fn unpack(&mut self) -> Option<Place> {
        if let ChunkState::Complete { label, .. } = &mut self.state
            && let Payload::Packed(place) = std::mem::replace(label, Payload::Own(Box::default()))
        {
            return Some(place);
        }
        loop {
            if let Payload::Packed(place) = self.units.pop()?.payload {
                return Some(place);
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum ChunkState {
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
        label: Payload<Box<[u8]>>,
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
// 7/8 of the slots are in use.
const SLOT: u64 = 16 * (size_of::<ChunkId>() + size_of::<Chunk>() + 1) as u64 / 11;
// A label of a usual key takes 64 bytes; a deadline takes less, and a chunk that has one has no label.
const LABEL: u64 = 64 + size_of::<Owner>() as u64;
// A record of a slab has an owner; a unit that is not alone in its chunk has a place there too.
const ALONE: u64 = size_of::<Owner>() as u64;
const AMONG_OTHERS: u64 = (size_of::<Owner>() + size_of::<Held>()) as u64;
const _: () = assert!(SLOT + LABEL + ALONE < CHUNK_OVERHEAD + UNIT_OVERHEAD);
const _: () = assert!(SLOT + LABEL + 2 * AMONG_OTHERS < CHUNK_OVERHEAD + 2 * UNIT_OVERHEAD);

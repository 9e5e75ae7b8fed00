//! The chunks that a node holds, in bounded memory.
//!
//! ```text
//!            Put                 Finish                Delete
//! (nothing) -----> Pending -------------> Complete -------------> Dead
//!                     |                       |                     |
//!                     | Delete, Free,         | Free                | Free, dead timeout,
//!                     | pending timeout       |                     | want of room
//!                     +-----------------------+---------------------+----> (nothing)
//! ```
//!
//! Each chunk weighs its [`footprint`](infinicache_wire::footprint()), by which
//! the proxy plans as well; the sum never exceeds the capacity. What a chunk
//! weighs is about what it takes of the process's memory: labels and short
//! units lie densely in slabs, long units are whole pages. When room is wanted
//! dead chunks go first, oldest first; nothing else is ever thrown out to make
//! room, since the pool decides what is evicted.
//!
//! Every chunk can be read in every state, because the pool decides who may:
//! pending ones are read to rebuild what another node lost, dead ones by reads
//! that had begun. The store does no I/O and reads no clock.

mod chunk;
mod deadlines;
mod inventory;
mod listing;
mod slab;
mod units;

#[cfg(test)]
mod model;

use std::{
    collections::hash_map::Entry,
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_host::hash::HashMap;
use infinicache_wire::{
    ChunkId, LabelledUnit,
    footprint::{CHUNK_OVERHEAD, SHARED_PAGES_MAX, label_weight, unit_weight},
    inventory::Expiry,
};

pub use self::units::StoredUnit;
use self::{
    chunk::{Chunk, ChunkState, Owner, Part},
    deadlines::Deadlines,
    listing::Listing,
    slab::{RECORD_MAX, Slabs},
    units::{Held, Payload, Units},
};

/// Units are numbered below this: 128 GiB of one chunk.
pub const MAX_UNITS: u32 = 1 << 20;

// What shares pages is what is in slabs.
const _: () = assert!(SHARED_PAGES_MAX == RECORD_MAX as u64);

/// How much a store may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all chunks together, overheads included.
    pub capacity: u64,
    /// How long a pending chunk waits for its next unit.
    pub pending_timeout: Duration,
    /// How long a dead chunk waits to be freed.
    pub dead_timeout: Duration,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all chunks.
    pub used: u64,
    /// Bytes of those being written.
    pub pending: u64,
    /// Bytes of those that are dead.
    pub dead: u64,
    /// How many are complete.
    pub complete_chunks: u64,
    /// How many are being written.
    pub pending_chunks: u64,
    /// How many are dead.
    pub dead_chunks: u64,
}

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is held.
    Stored,
    /// There is no room for it.
    Full,
    /// The chunk is complete or dead.
    Conflict,
}

/// What became of a chunk that was to be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    Done,
    /// Not exactly the named units are held, or the chunk is dead.
    Incomplete,
    /// There is no room for its label.
    Full,
}

/// What time took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Pending chunks that no proxy went on writing.
    pub abandoned: u64,
    /// Dead chunks that no proxy freed.
    pub dead: u64,
}

/// The chunks of a node.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    chunks: HashMap<ChunkId, Chunk>,
    /// Labels and short units.
    slabs: Slabs<Owner>,
    usage: Usage,
    pending: Deadlines,
    dead: Deadlines,
    listing: Listing,
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunks: HashMap::default(),
            slabs: Slabs::default(),
            usage: Usage::default(),
            pending: Deadlines::default(),
            dead: Deadlines::default(),
            listing: Listing::default(),
        }
    }

    /// How much it holds.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// How much it may hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether nothing is held that anybody could still miss: no complete chunk and no pending one.
    pub fn is_vacant(&self) -> bool {
        self.usage.complete_chunks == 0 && self.usage.pending_chunks == 0
    }

    /// Keeps one unit of a chunk that is being written, in place of the one with the same number.
    pub fn put(
        &mut self,
        now: Instant,
        id: ChunkId,
        number: u32,
        bytes: Bytes,
        checksum: u64,
    ) -> Put {
        if number >= MAX_UNITS {
            return Put::Full;
        }
        let weight = unit_weight(bytes.len() as u64);
        let (more, less) = match self.chunks.get(&id) {
            None => (CHUNK_OVERHEAD + weight, 0),
            Some(chunk) if !matches!(chunk.state, ChunkState::Pending { .. }) => {
                return Put::Conflict;
            }
            Some(chunk) => {
                let replaced = chunk.units.get(number);
                let less = replaced.map_or(0, |unit| unit_weight(unit.length() as u64));
                (weight, less)
            }
        };
        if !self.make_room(more, less) {
            return Put::Full;
        }

        let chunk = match self.chunks.entry(id) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(vacant) => {
                let due = now + self.limits.pending_timeout;
                self.pending.insert(due, id);
                self.usage.pending_chunks += 1;
                vacant.insert(Chunk {
                    units: Units::new(),
                    state: ChunkState::Pending { touched: now, due },
                    weight: 0,
                })
            }
        };
        if let ChunkState::Pending { touched, .. } = &mut chunk.state {
            *touched = now;
        }
        let owner = Owner {
            chunk: id,
            part: Part::Unit(number),
        };
        // What is packed may be a slice of the decoder's buffer, which it does not hold on to.
        let payload = if bytes.len() <= RECORD_MAX {
            Payload::Packed(self.slabs.insert(&bytes, owner))
        } else {
            Payload::Own(bytes)
        };
        let replaced = chunk.units.put(number, Held { payload, checksum });
        chunk.weight = chunk.weight + more - less;
        self.usage.used = self.usage.used + more - less;
        self.usage.pending = self.usage.pending + more - less;
        if let Some(replaced) = replaced {
            self.let_go(replaced.payload);
        }
        Put::Stored
    }

    /// One unit of a chunk, whatever state the chunk is in; a copy, if it is short.
    pub fn get(&self, id: ChunkId, number: u32) -> Option<StoredUnit> {
        let held = self.chunks.get(&id)?.units.get(number)?;
        let bytes = match &held.payload {
            Payload::Own(bytes) => bytes.clone(),
            Payload::Packed(place) => Bytes::copy_from_slice(self.slabs.get(*place)),
        };
        Some(StoredUnit {
            bytes,
            checksum: held.checksum,
        })
    }

    /// Whether a complete chunk of exactly `count` units is held.
    pub fn is_whole(&self, id: ChunkId, count: u32) -> bool {
        let chunk = self.chunks.get(&id);
        chunk.is_some_and(|chunk| {
            matches!(chunk.state, ChunkState::Complete { .. }) && chunk.units.is_exactly(count)
        })
    }

    /// Whether a chunk is held that is complete, or was.
    pub fn is_finished(&self, id: ChunkId) -> bool {
        let chunk = self.chunks.get(&id);
        chunk.is_some_and(|chunk| !matches!(chunk.state, ChunkState::Pending { .. }))
    }

    /// What a complete chunk was labelled with.
    pub fn label(&self, id: ChunkId) -> Option<&[u8]> {
        match &self.chunks.get(&id)?.state {
            ChunkState::Complete { label, .. } => Some(self.label_bytes(label)),
            _ => None,
        }
    }

    fn label_bytes<'a>(&'a self, label: &'a Payload<Box<[u8]>>) -> &'a [u8] {
        match label {
            Payload::Own(label) => label,
            Payload::Packed(place) => self.slabs.get(*place),
        }
    }

    /// Completes a chunk if exactly the units `0..count` of it are held.
    ///
    /// A chunk that was completed with the same count keeps its label. With a
    /// count of 0 a chunk that is not known becomes an empty complete one.
    pub fn finish(&mut self, id: ChunkId, count: u32, label: Bytes) -> Finish {
        let known = match self.chunks.get(&id) {
            None if count > 0 => return Finish::Incomplete,
            None => false,
            Some(chunk) => match &chunk.state {
                ChunkState::Complete { .. } if chunk.units.is_exactly(count) => {
                    return Finish::Done;
                }
                ChunkState::Pending { .. } if chunk.units.is_exactly(count) => true,
                _ => return Finish::Incomplete,
            },
        };
        let overhead = if known { 0 } else { CHUNK_OVERHEAD };
        let more = overhead + label_weight(label.len());
        if !self.make_room(more, 0) {
            return Finish::Full;
        }

        let owner = Owner {
            chunk: id,
            part: Part::Label,
        };
        let label = match label.len() {
            1..=RECORD_MAX => Payload::Packed(self.slabs.insert(&label, owner)),
            _ => Payload::Own(Box::from(&label[..])),
        };
        let chunk = self.chunks.entry(id).or_insert_with(|| Chunk {
            units: Units::new(),
            state: ChunkState::Complete {
                label: Payload::Own(Box::default()),
                expiry: Expiry::default(),
            },
            weight: 0,
        });
        if let ChunkState::Pending { due, .. } = chunk.state {
            self.pending.remove(due, id);
            self.usage.pending -= chunk.weight;
            self.usage.pending_chunks -= 1;
        }
        chunk.units.pack();
        chunk.state = ChunkState::Complete {
            label,
            expiry: Expiry::default(),
        };
        chunk.weight += more;
        self.usage.used += more;
        self.usage.complete_chunks += 1;
        Finish::Done
    }

    /// Keeps a chunk of one unit, and completes it; one that is complete already stays as it is.
    ///
    /// It is kept as a whole or not at all.
    pub fn keep(&mut self, now: Instant, id: ChunkId, whole: &LabelledUnit, checksum: u64) -> Put {
        if self.is_whole(id, 1) {
            return Put::Stored;
        }
        match self.put(now, id, 0, whole.unit(), checksum) {
            Put::Stored => {}
            refused => return refused,
        }
        match self.finish(id, 1, whole.label()) {
            Finish::Done => Put::Stored,
            Finish::Full => {
                self.free(id);
                Put::Full
            }
            // Units of a longer chunk have been put already.
            Finish::Incomplete => Put::Conflict,
        }
    }

    /// Changes when a complete chunk expires, unless a later change is known; whether there is one.
    pub fn set_expiry(&mut self, id: ChunkId, change: Expiry) -> bool {
        let chunk = self.chunks.get_mut(&id).map(|chunk| &mut chunk.state);
        let Some(ChunkState::Complete { expiry, .. }) = chunk else {
            return false;
        };
        if change.sequence > expiry.sequence {
            *expiry = change;
        }
        true
    }

    /// Holds a complete chunk for dead, and frees a pending one.
    pub fn delete(&mut self, now: Instant, id: ChunkId) {
        let Some(chunk) = self.chunks.get_mut(&id) else {
            return;
        };
        match &mut chunk.state {
            ChunkState::Pending { .. } => self.free(id),
            ChunkState::Dead { .. } => {}
            ChunkState::Complete { label, .. } => {
                let due = now + self.limits.dead_timeout;
                let label = std::mem::replace(label, Payload::Own(Box::default()));
                chunk.state = ChunkState::Dead { due };
                self.dead.insert(due, id);
                self.usage.complete_chunks -= 1;
                self.usage.dead_chunks += 1;
                self.usage.dead += chunk.weight;
                self.let_go(label);
            }
        }
    }

    /// Lets go of a chunk, whatever state it is in.
    pub fn free(&mut self, id: ChunkId) {
        while let Some(place) = self.chunks.get_mut(&id).and_then(Chunk::unpack) {
            self.let_go::<()>(Payload::Packed(place));
        }
        let Some(chunk) = self.chunks.remove(&id) else {
            return;
        };
        self.usage.used -= chunk.weight;
        match chunk.state {
            ChunkState::Pending { due, .. } => {
                self.pending.remove(due, id);
                self.usage.pending -= chunk.weight;
                self.usage.pending_chunks -= 1;
            }
            ChunkState::Complete { .. } => self.usage.complete_chunks -= 1,
            ChunkState::Dead { due } => {
                self.dead.remove(due, id);
                self.usage.dead -= chunk.weight;
                self.usage.dead_chunks -= 1;
            }
        }
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Drops all that is not complete: no proxy is left to go on with it.
    pub fn forget_unfinished(&mut self) {
        while let Some(id) = self.pending.first().or(self.dead.first()) {
            self.free(id);
        }
    }

    /// Lets go of what has been waiting too long. Costs what it lets go.
    pub fn expire(&mut self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        while let Some(id) = self.pending.due(now) {
            if !self.postpone(now, id) {
                self.free(id);
                expired.abandoned += 1;
            }
        }
        while let Some(id) = self.dead.due(now) {
            self.free(id);
            expired.dead += 1;
        }
        self.shrink_table();
        expired
    }

    /// Lets go of bytes that no chunk refers to any more.
    fn let_go<T>(&mut self, payload: Payload<T>) {
        let Payload::Packed(place) = payload else {
            return;
        };
        let Some(moved) = self.slabs.remove(place) else {
            return;
        };
        let chunk = self.chunks.get_mut(&moved.chunk);
        let at = chunk.and_then(|chunk| chunk.place_mut(moved.part));
        let at = at.expect("a record belongs to a chunk");
        *at = at.in_place_of(place);
    }

    /// Moves the deadline of a pending chunk to where its last unit has put it, if that is to come.
    ///
    /// Units do not move it themselves: this happens once a timeout, units come many times a second.
    fn postpone(&mut self, now: Instant, id: ChunkId) -> bool {
        let timeout = self.limits.pending_timeout;
        let Some(chunk) = self.chunks.get_mut(&id) else {
            return false;
        };
        let ChunkState::Pending { touched, due } = &mut chunk.state else {
            return false;
        };
        let later = *touched + timeout;
        if later <= now {
            return false;
        }
        self.pending.remove(*due, id);
        self.pending.insert(later, id);
        *due = later;
        true
    }

    /// Whether `more` bytes fit once `less` are gone; dead chunks go for it, oldest first.
    fn make_room(&mut self, more: u64, less: u64) -> bool {
        let fits = |usage: &Usage, reclaimed: u64| {
            usage.used - less - reclaimed + more <= self.limits.capacity
        };
        // Reads that go on from dead chunks are not cut short for nothing.
        if !fits(&self.usage, self.usage.dead) {
            return false;
        }
        while self.usage.used - less + more > self.limits.capacity {
            let Some(oldest) = self.dead.first() else {
                return false;
            };
            self.free(oldest);
        }
        true
    }

    /// Gives the table's memory back when most of it is empty, since only chunks that are held are accounted for.
    fn shrink_table(&mut self) {
        const SMALL: usize = 4096;
        let held = self.chunks.len();
        if self.chunks.capacity() > SMALL && self.chunks.capacity() / 4 > held {
            self.chunks.shrink_to(held * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use infinicache_wire::{
        WriteId, footprint,
        footprint::{LABEL_ALLOWANCE, UNIT_OVERHEAD},
    };

    use super::*;

    const UNIT: usize = 1000;
    const UNIT_WEIGHT: u64 = UNIT as u64 + UNIT_OVERHEAD;

    fn chunk(sequence: u64) -> ChunkId {
        ChunkId {
            write: WriteId { epoch: 1, sequence },
            index: 0,
        }
    }

    fn bytes(fill: u8) -> Bytes {
        vec![fill; UNIT].into()
    }

    fn store(capacity: u64) -> Store {
        Store::new(Limits {
            capacity,
            pending_timeout: Duration::from_secs(60),
            dead_timeout: Duration::from_secs(300),
        })
    }

    /// Room for so many chunks of one unit.
    fn room_for(chunks: u64) -> Store {
        store(chunks * (CHUNK_OVERHEAD + UNIT_WEIGHT))
    }

    fn put_one(store: &mut Store, now: Instant, id: ChunkId) -> Put {
        store.put(now, id, 0, bytes(1), 1)
    }

    fn complete_one(store: &mut Store, now: Instant, id: ChunkId) {
        assert_eq!(put_one(store, now, id), Put::Stored);
        assert_eq!(store.finish(id, 1, Bytes::new()), Finish::Done);
    }

    #[test]
    fn units_are_read_while_the_chunk_is_pending_complete_and_dead() {
        let (mut store, now) = (room_for(3), Instant::now());
        put_one(&mut store, now, chunk(1));
        let held = || {
            Some(StoredUnit {
                bytes: bytes(1),
                checksum: 1,
            })
        };
        assert_eq!(store.get(chunk(1), 0), held());
        store.finish(chunk(1), 1, Bytes::new());
        assert_eq!(store.get(chunk(1), 0), held());
        store.delete(now, chunk(1));
        assert_eq!(store.get(chunk(1), 0), held());
        store.free(chunk(1));
        assert_eq!(store.get(chunk(1), 0), None);
        assert_eq!(store.usage(), Usage::default());
    }

    #[test]
    fn a_short_unit_or_label_does_not_hold_on_to_the_buffer_it_was_read_in() {
        let (mut store, now) = (store(1 << 20), Instant::now());
        let buffer = Arc::new([7; 30_000]);
        let read = Bytes::from_owner(Shared(Arc::clone(&buffer)));
        store.put(now, chunk(1), 0, read.slice(..RECORD_MAX), 1);
        store.finish(chunk(1), 1, read.slice(..10));
        store.put(now, chunk(2), 0, read.slice(..=RECORD_MAX), 1);
        drop(read);
        assert_eq!(Arc::strong_count(&buffer), 2, "a long one is not copied");
        store.free(chunk(2));
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert_eq!(store.get(chunk(1), 0).unwrap().bytes, buffer[..RECORD_MAX]);
        assert_eq!(store.label(chunk(1)), Some(&buffer[..10]));
    }

    struct Shared(Arc<[u8; 30_000]>);

    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0[..]
        }
    }

    #[test]
    fn a_chunk_is_finished_only_when_exactly_its_units_are_held() {
        let (mut store, now) = (room_for(4), Instant::now());
        let finish = |store: &mut Store, count| store.finish(chunk(1), count, "l".into());
        assert_eq!(finish(&mut store, 1), Finish::Incomplete);
        store.put(now, chunk(1), 1, bytes(1), 0);
        assert_eq!(finish(&mut store, 2), Finish::Incomplete);
        assert_eq!(finish(&mut store, 1), Finish::Incomplete);
        store.put(now, chunk(1), 0, bytes(0), 0);
        assert_eq!(finish(&mut store, 1), Finish::Incomplete);
        assert_eq!(finish(&mut store, 3), Finish::Incomplete);
        assert_eq!(finish(&mut store, 2), Finish::Done);
        assert_eq!(finish(&mut store, 2), Finish::Done, "repeated");
        assert_eq!(finish(&mut store, 3), Finish::Incomplete);
        assert_eq!(store.label(chunk(1)), Some(&b"l"[..]));
        store.delete(now, chunk(1));
        assert_eq!(finish(&mut store, 2), Finish::Incomplete);
    }

    #[test]
    fn a_chunk_without_units_can_be_complete() {
        let mut store = room_for(1);
        assert_eq!(store.finish(chunk(1), 0, Bytes::new()), Finish::Done);
        assert_eq!(store.usage().complete_chunks, 1);
        assert_eq!(store.usage().used, CHUNK_OVERHEAD);
        assert!(!store.is_vacant());
    }

    #[test]
    fn what_the_proxy_plans_fits_to_the_last_byte() {
        let (mut store, now) = (
            store(footprint(3 * UNIT as u64, UNIT as u64, 0)),
            Instant::now(),
        );
        for number in 0..3 {
            assert_eq!(store.put(now, chunk(1), number, bytes(1), 0), Put::Stored);
        }
        let label = Bytes::from(vec![0; LABEL_ALLOWANCE]);
        assert_eq!(store.finish(chunk(1), 3, label), Finish::Done);
        assert_eq!(store.usage().used, store.limits().capacity);
    }

    #[test]
    fn a_repeated_unit_replaces_the_one_before() {
        let (mut store, now) = (room_for(2), Instant::now());
        for _ in 0..3 {
            assert_eq!(put_one(&mut store, now, chunk(1)), Put::Stored);
        }
        assert_eq!(store.usage().used, CHUNK_OVERHEAD + UNIT_WEIGHT);
        store.put(now, chunk(1), 0, "short".into(), 2);
        assert_eq!(store.usage().used, CHUNK_OVERHEAD + UNIT_OVERHEAD + 5);
        assert_eq!(store.get(chunk(1), 0).unwrap().bytes, "short");
    }

    #[test]
    fn complete_and_dead_chunks_take_no_unit() {
        let (mut store, now) = (room_for(2), Instant::now());
        complete_one(&mut store, now, chunk(1));
        assert_eq!(put_one(&mut store, now, chunk(1)), Put::Conflict);
        store.delete(now, chunk(1));
        assert_eq!(put_one(&mut store, now, chunk(1)), Put::Conflict);
    }

    #[test]
    fn a_full_store_refuses_and_holds_on_to_what_it_has() {
        let (mut store, now) = (room_for(2), Instant::now());
        complete_one(&mut store, now, chunk(1));
        put_one(&mut store, now, chunk(2));
        assert_eq!(put_one(&mut store, now, chunk(3)), Put::Full);
        assert_eq!(store.put(now, chunk(2), 1, bytes(2), 0), Put::Full);
        let long = Bytes::from(vec![0; LABEL_ALLOWANCE + 1]);
        assert_eq!(store.finish(chunk(2), 1, long), Finish::Full);
        assert_eq!(
            put_one(&mut store, now, chunk(2)),
            Put::Stored,
            "takes no more"
        );
        assert_eq!(store.usage().used, store.limits().capacity);
        assert!(store.get(chunk(1), 0).is_some());
    }

    #[test]
    fn dead_chunks_make_room_oldest_first_and_only_as_many_as_needed() {
        let (mut store, now) = (room_for(3), Instant::now());
        for sequence in 1..=3 {
            complete_one(&mut store, now, chunk(sequence));
        }
        store.delete(now, chunk(2));
        store.delete(now + Duration::from_secs(1), chunk(1));
        assert_eq!(put_one(&mut store, now, chunk(4)), Put::Stored);
        assert!(store.get(chunk(2), 0).is_none());
        assert!(store.get(chunk(1), 0).is_some());
    }

    #[test]
    fn dead_chunks_stay_when_they_would_not_make_enough_room() {
        let (mut store, now) = (room_for(2), Instant::now());
        complete_one(&mut store, now, chunk(1));
        complete_one(&mut store, now, chunk(2));
        store.delete(now, chunk(1));
        let large = Bytes::from(vec![0; 3 * UNIT]);
        assert_eq!(store.put(now, chunk(3), 0, large, 0), Put::Full);
        assert!(store.get(chunk(1), 0).is_some());
    }

    #[test]
    fn deleting_and_freeing_the_unknown_changes_nothing() {
        let mut store = room_for(1);
        store.delete(Instant::now(), chunk(1));
        store.free(chunk(1));
        assert_eq!(store.usage(), Usage::default());
    }

    #[test]
    fn a_pending_chunk_that_is_deleted_is_gone() {
        let (mut store, now) = (room_for(1), Instant::now());
        put_one(&mut store, now, chunk(1));
        store.delete(now, chunk(1));
        assert_eq!(store.usage(), Usage::default());
        assert_eq!(put_one(&mut store, now, chunk(1)), Put::Stored);
    }

    #[test]
    fn a_pending_chunk_is_abandoned_a_timeout_after_its_last_unit() {
        let (mut store, start) = (room_for(4), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        put_one(&mut store, at(0), chunk(1));
        put_one(&mut store, at(0), chunk(2));
        store.put(at(30), chunk(1), 1, bytes(1), 0);
        let gone = |abandoned| Expired { abandoned, dead: 0 };
        assert_eq!(store.expire(at(59)), gone(0));
        assert_eq!(store.expire(at(60)), gone(1));
        assert!(store.get(chunk(1), 0).is_some());
        assert!(store.get(chunk(2), 0).is_none());
        assert_eq!(store.expire(at(89)), gone(0));
        assert_eq!(store.expire(at(90)), gone(1));
        assert_eq!(store.usage(), Usage::default());
    }

    #[test]
    fn a_dead_chunk_is_freed_a_timeout_after_its_death_and_a_complete_one_never() {
        let (mut store, start) = (room_for(2), Instant::now());
        complete_one(&mut store, start, chunk(1));
        complete_one(&mut store, start, chunk(2));
        store.delete(start, chunk(1));
        assert_eq!(
            store.expire(start + Duration::from_secs(299)),
            Expired::default()
        );
        let day = start + Duration::from_secs(86_400);
        assert_eq!(
            store.expire(day),
            Expired {
                abandoned: 0,
                dead: 1
            }
        );
        assert!(store.get(chunk(2), 0).is_some());
        assert_eq!(store.usage().dead, 0);
    }

    #[test]
    fn units_beyond_the_greatest_number_are_refused() {
        let (mut store, now) = (room_for(2), Instant::now());
        let mut put = |number| store.put(now, chunk(1), number, bytes(1), 0);
        assert_eq!(put(MAX_UNITS), Put::Full);
        assert_eq!(put(u32::MAX), Put::Full);
        assert_eq!(put(MAX_UNITS - 1), Put::Stored);
    }

    #[test]
    fn a_store_is_vacant_when_only_dead_chunks_are_left() {
        let (mut store, now) = (room_for(2), Instant::now());
        assert!(store.is_vacant());
        put_one(&mut store, now, chunk(1));
        assert!(!store.is_vacant());
        store.finish(chunk(1), 1, Bytes::new());
        assert!(!store.is_vacant());
        store.delete(now, chunk(1));
        assert!(store.is_vacant());
    }

    #[test]
    fn of_several_changes_of_its_expiry_the_latest_counts() {
        let (mut store, now) = (room_for(2), Instant::now());
        let change = |sequence, at_ms| Expiry { sequence, at_ms };
        put_one(&mut store, now, chunk(1));
        assert!(!store.set_expiry(chunk(1), change(1, 5)), "not complete");
        store.finish(chunk(1), 1, Bytes::new());
        assert!(store.set_expiry(chunk(1), change(2, 7)));
        assert!(store.set_expiry(chunk(1), change(1, 5)));
        let page = store.inventory(None).into_bytes();
        let told = infinicache_wire::inventory::read_page(page).unwrap();
        assert_eq!(told[0].expiry, change(2, 7));
        store.delete(now, chunk(1));
        assert!(!store.set_expiry(chunk(1), change(3, 9)), "dead");
    }

    #[test]
    fn an_inventory_tells_complete_chunks_in_pages_until_an_empty_one() {
        const CHUNKS: u64 = 10_000;
        let (mut store, now) = (store(1 << 30), Instant::now());
        for sequence in (0..CHUNKS).rev() {
            complete_one(&mut store, now, chunk(sequence));
        }
        put_one(&mut store, now, chunk(CHUNKS));
        let (mut told, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = store.inventory(after).into_bytes();
            let entries = infinicache_wire::inventory::read_page(page).unwrap();
            let Some(last) = entries.last() else { break };
            after = Some(last.chunk);
            told.extend(entries.into_iter().map(|entry| entry.chunk));
            pages += 1;
            // One that goes in between is left out.
            store.free(chunk(CHUNKS - 1));
        }
        let expected: Vec<ChunkId> = (0..CHUNKS - 1).map(chunk).collect();
        assert!(told == expected, "{} told", told.len());
        assert!(pages > 1);
    }

    #[test]
    fn what_is_not_complete_is_forgotten_with_the_proxy_that_knew_of_it() {
        let (mut store, now) = (room_for(4), Instant::now());
        for sequence in 1..=3 {
            complete_one(&mut store, now, chunk(sequence));
        }
        put_one(&mut store, now, chunk(4));
        store.delete(now, chunk(1));
        store.forget_unfinished();
        let usage = store.usage();
        assert_eq!(
            (
                usage.complete_chunks,
                usage.pending_chunks,
                usage.dead_chunks
            ),
            (2, 0, 0)
        );
    }

    #[test]
    fn the_table_gives_its_memory_back() {
        let (mut store, now) = (store(1 << 30), Instant::now());
        for sequence in 0..20_000 {
            store.finish(chunk(sequence), 0, Bytes::new());
        }
        for sequence in 0..20_000 {
            store.free(chunk(sequence));
        }
        store.expire(now);
        assert!(store.chunks.capacity() < 4096);
    }
}

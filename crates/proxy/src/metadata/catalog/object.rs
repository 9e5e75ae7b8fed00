//! One object: what is known of a committed value.
//!
//! An object is taken out of the catalog when it is replaced, deleted, expired,
//! evicted or lost. A read keeps it alive by holding it; the
//! chunks are freed on the nodes when the last holder lets go.

use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use infinicache_engine::Holders;
use infinicache_erasure::{Code, Geometry};
use infinicache_membership::{label, recovered_state::RecoveredObject};
use infinicache_wire::{ChunkId, MemberId, Version, WriteId};

use super::{expiration::Expiration, reference_bit::ReferenceBit};

/// Stands for no member in a list of holders, which is kept small.
const NOBODY: MemberId = MemberId(u32::MAX);

/// Reclaims the chunks that objects leave behind.
pub(crate) trait ChunkReclaimer: Send + Sync {
    /// An object was retired that takes `bytes` on `member`: they are freed once it is read no more.
    fn retired(&self, member: MemberId, bytes: u64);

    /// The same bytes are not to be freed there: the chunk was lost, or moved.
    fn unretired(&self, member: MemberId, bytes: u64);

    /// A retired object is read no more: `chunk` of `member` is not needed, which took `bytes`
    /// there.
    fn free(&self, chunk: ChunkId, member: MemberId, bytes: u64);

    /// A member let go of a retired object's chunk that took `bytes`.
    fn freed(&self, member: MemberId, bytes: u64);

    /// `chunk` of `member` is not needed any more, but its object lives on without it.
    fn abandon(&self, chunk: ChunkId, member: MemberId, bytes: u64);

    /// The object lacks a chunk.
    fn repair(&self, object: Arc<Object>);
}

/// A committed value.
pub(crate) struct Object {
    key: Box<[u8]>,
    write: WriteId,
    version: Version,
    geometry: Geometry,
    holders: Mutex<Box<[MemberId]>>,
    expiration: Expiration,
    reference_bit: ReferenceBit,
    dead: AtomicBool,
    /// Where it is in the ring.
    pub(super) slot: AtomicU32,
    reclaimer: Arc<dyn ChunkReclaimer>,
}

impl Object {
    pub(crate) fn new(
        key: Box<[u8]>,
        write: WriteId,
        version: Version,
        geometry: Geometry,
        holders: Box<[MemberId]>,
        expiration: Expiration,
        reclaimer: Arc<dyn ChunkReclaimer>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key,
            write,
            version,
            geometry,
            holders: Mutex::new(holders),
            expiration,
            reference_bit: ReferenceBit::default(),
            dead: AtomicBool::new(false),
            slot: AtomicU32::new(u32::MAX),
            reclaimer,
        })
    }

    /// An object that was found on its members.
    pub(crate) fn found(
        survivor: RecoveredObject<MemberId>,
        reclaimer: Arc<dyn ChunkReclaimer>,
    ) -> Arc<Self> {
        let holders = survivor.holders.iter();
        Self::new(
            survivor.key[..].into(),
            survivor.write,
            survivor.version,
            survivor.geometry,
            holders.map(|holder| holder.unwrap_or(NOBODY)).collect(),
            Expiration::new(survivor.expires_at, survivor.expiry_sequence),
            reclaimer,
        )
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn size(&self) -> u64 {
        self.geometry.size()
    }

    /// Bytes of a node's memory that a chunk takes.
    pub(crate) fn footprint(&self, index: usize) -> u64 {
        let (bytes, unit) = (self.geometry.chunk_len(index), self.geometry.unit());
        infinicache_wire::footprint(bytes, unit as u64, label::length(&self.key))
    }

    /// How many chunks it has when it is whole, how many of them are enough, and how many it can
    /// spare.
    pub(crate) fn code(&self) -> Code {
        self.geometry.code()
    }

    pub(crate) fn write(&self) -> WriteId {
        self.write
    }

    pub(crate) fn chunk(&self, index: usize) -> ChunkId {
        ChunkId {
            write: self.write,
            index: index as u8,
        }
    }

    /// When it expires.
    pub(crate) fn expiration(&self) -> &Expiration {
        &self.expiration
    }

    /// Whether it was used since the hand of the clock passed it.
    pub(crate) fn reference_bit(&self) -> &ReferenceBit {
        &self.reference_bit
    }

    /// From now on it is deleted; its chunks are freed when it is read no more.
    pub(crate) fn retire(&self) {
        let holders = self.holders();
        if self.dead.swap(true, Relaxed) {
            return;
        }
        for (index, &member) in holders.iter().enumerate() {
            if member != NOBODY {
                self.reclaimer.retired(member, self.footprint(index));
            }
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Which members hold its chunks, by index.
    pub(crate) fn members(&self) -> Vec<Option<MemberId>> {
        self.holders()
            .iter()
            .map(|&member| Some(member).filter(|&m| m != NOBODY))
            .collect()
    }

    /// Which member holds which of its chunks.
    pub(crate) fn held_by(&self) -> Vec<(u8, MemberId)> {
        let members = (0u8..).zip(self.members());
        members
            .filter_map(|(index, member)| Some((index, member?)))
            .collect()
    }

    /// Does something with the index and the member of each of its chunks.
    pub(crate) fn each_holder(&self, mut act: impl FnMut(usize, MemberId)) {
        for (index, &member) in self.holders().iter().enumerate() {
            if member != NOBODY {
                act(index, member);
            }
        }
    }

    /// Bytes of the memory of `member` that its chunks take.
    pub(crate) fn bytes_on(&self, member: MemberId) -> u64 {
        let mut bytes = 0;
        self.each_holder(|index, holder| {
            if holder == member {
                bytes += self.footprint(index);
            }
        });
        bytes
    }

    /// Whether one of its chunks is on `member`.
    pub(crate) fn is_held_by(&self, member: MemberId) -> bool {
        self.holders().contains(&member)
    }

    /// How many chunks it has; fewer than `data` of its code are a loss.
    pub(crate) fn chunks_left(&self) -> usize {
        self.holders()
            .iter()
            .filter(|&&member| member != NOBODY)
            .count()
    }

    /// Whether it has fewer chunks than its code.
    pub(crate) fn lacks_chunks(&self) -> bool {
        self.chunks_left() < self.code().width()
    }

    /// `member` is gone, and all that it held; whether the object lost a chunk by it.
    pub(crate) fn lose(&self, member: MemberId) -> bool {
        let mut holders = self.holders();
        let mut lost = false;
        for (index, holder) in holders.iter_mut().enumerate() {
            if *holder != member {
                continue;
            }
            *holder = NOBODY;
            lost = true;
            if self.is_dead() {
                self.reclaimer.unretired(member, self.footprint(index));
            }
        }
        lost
    }

    /// Enters a chunk's new holder; returns the one that it had.
    pub(crate) fn move_to(&self, index: usize, member: MemberId) -> Option<MemberId> {
        let mut holders = self.holders();
        let previous = std::mem::replace(&mut holders[index], member);
        let previous = Some(previous).filter(|&member| member != NOBODY);
        if self.is_dead() {
            let bytes = self.footprint(index);
            self.reclaimer.retired(member, bytes);
            if let Some(previous) = previous {
                self.reclaimer.unretired(previous, bytes);
            }
        }
        previous
    }

    /// `member` let go of a chunk of an object that was retired: nothing is left to be freed.
    pub(crate) fn was_freed(&self, index: usize, member: MemberId) {
        {
            let mut holders = self.holders();
            // It may have moved since: that is another chunk, and not freed.
            if holders[index] != member {
                return;
            }
            holders[index] = NOBODY;
        }
        self.reclaimer.freed(member, self.footprint(index));
    }

    fn holders(&self) -> MutexGuard<'_, Box<[MemberId]>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A read refers to an object and follows its chunks as they move.
#[derive(Clone, Debug)]
pub(crate) struct ObjectRef(pub(crate) Arc<Object>);

impl Holders for ObjectRef {
    fn write(&self) -> WriteId {
        self.0.write
    }

    fn geometry(&self) -> Geometry {
        self.0.geometry
    }

    fn holder(&self, index: usize) -> Option<MemberId> {
        Some(self.0.holders()[index]).filter(|&member| member != NOBODY)
    }

    fn give_up(&self, index: usize, member: MemberId) {
        let object = &self.0;
        if object.is_dead() {
            return;
        }
        {
            let mut holders = object.holders();
            if holders[index] != member {
                return;
            }
            holders[index] = NOBODY;
        }
        let bytes = object.footprint(index);
        object.reclaimer.abandon(object.chunk(index), member, bytes);
        object.reclaimer.repair(object.clone());
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if !self.is_dead() {
            return;
        }
        for (index, member) in self.members().into_iter().enumerate() {
            let Some(member) = member else { continue };
            let bytes = self.footprint(index);
            self.reclaimer.free(self.chunk(index), member, bytes);
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("write", &self.write)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// An object that is found by its key.
#[derive(Debug)]
pub(super) struct ByKey(pub(super) Arc<Object>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

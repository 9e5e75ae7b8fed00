//! The recovered state: which objects there are, from what the members of the latest view hold.
//!
//! An overwrite or a delete is acknowledged only when fewer than k chunks of the
//! old value are left on members. So a value of which k distinct chunks are
//! found was neither overwritten nor deleted, whatever was not heard; and one of
//! which fewer are found is lost, or was on its way in or out. Of several values
//! of a key the one with the highest version wins: the others were not, or need
//! not have been, acknowledged.

use std::collections::hash_map::Entry as Slot;

use bytes::Bytes;
use infinicache_erasure::Geometry;
use infinicache_host::{fail_point, hash::HashMap};
use infinicache_wire::{
    ChunkId, Version, WriteId,
    inventory::{Expiry, InventoryEntry},
};

use crate::label::{self, Label};

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredObject<M> {
    /// Whose value it is.
    pub key: Bytes,
    /// The write that its chunks are of.
    pub write: WriteId,
    /// Which value of the key it is.
    pub version: Version,
    /// How it is cut into chunks.
    pub geometry: Geometry,
    /// Milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// How often its expiry was changed.
    pub expiry_sequence: u32,
    /// Who holds which chunk.
    pub holders: Vec<Option<M>>,
}

/// What is to become of all that was found.
#[derive(Debug)]
pub struct RecoveredState<M> {
    /// The values of keys.
    pub recovered: Vec<RecoveredObject<M>>,
    /// What was found of other values: it has to be deleted before a client may learn that it is.
    pub obsolete: Vec<RecoveredObject<M>>,
    /// Chunks that are there twice, or make no sense.
    pub orphans: Vec<(M, ChunkId)>,
    /// Keys of which chunks were found, but of no value enough.
    pub lost: usize,
}

/// What the members have told so far.
#[derive(Debug)]
pub struct ChunkInventories<M> {
    writes: HashMap<WriteId, FoundValue<M>>,
    orphans: Vec<(M, ChunkId)>,
}

/// A value of which chunks were found.
#[derive(Debug)]
struct FoundValue<M> {
    label: Label,
    expiry: Expiry,
    holders: Vec<Option<M>>,
}

impl<M: Copy> RecoveredObject<M> {
    /// Who holds which chunk, of those that were found.
    pub fn held_by(&self) -> impl Iterator<Item = (u8, M)> {
        (0u8..)
            .zip(&self.holders)
            .filter_map(|(index, holder)| Some((index, (*holder)?)))
    }
}

impl<M: Copy> Default for ChunkInventories<M> {
    fn default() -> Self {
        Self {
            writes: HashMap::default(),
            orphans: Vec::new(),
        }
    }
}

impl<M: Copy> ChunkInventories<M> {
    /// A member holds a complete chunk.
    pub fn found(&mut self, member: M, entry: InventoryEntry) {
        let InventoryEntry {
            chunk,
            units,
            expiry,
            label,
        } = entry;
        if !self.enter(member, chunk, units, expiry, label) {
            self.orphans.push((member, chunk));
        }
    }

    fn enter(
        &mut self,
        member: M,
        chunk: ChunkId,
        units: u32,
        expiry: Expiry,
        label: Bytes,
    ) -> bool {
        let Some(label) = label::decode(label) else {
            return false;
        };
        let index = usize::from(chunk.index);
        let width = label.geometry.code().width();
        if index >= width || label.geometry.chunk_units(index) != units {
            return false;
        }
        // Of two that are as late, both are the same.
        let is_later = |one: Expiry, other: Expiry| match fail_point("expiry_sequence") {
            true => one.sequence < other.sequence,
            false => one.sequence > other.sequence,
        };
        let expiry = match is_later(expiry, label.expiry) {
            true => expiry,
            false => label.expiry,
        };
        let candidate = match self.writes.entry(chunk.write) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(vacant) => vacant.insert(FoundValue {
                // The page that it was read from is not kept for it.
                label: Label {
                    key: Bytes::copy_from_slice(&label.key),
                    ..label.clone()
                },
                expiry,
                holders: vec![None; width],
            }),
        };
        let known = &mut candidate.label;
        if known.key != label.key || known.geometry != label.geometry {
            return false;
        }
        // A commit that was tried again has another version on those that it reached late.
        known.version = known.version.max(label.version);
        if is_later(expiry, candidate.expiry) {
            candidate.expiry = expiry;
        }
        let holders = &mut candidate.holders;
        let mut index = index;
        if fail_point("distinct_indexes") {
            let free = holders.iter().position(Option::is_none);
            index = free.unwrap_or(index);
        }
        match &mut holders[index] {
            Some(_) => false,
            free => {
                *free = Some(member);
                true
            }
        }
    }

    /// Decides, as of a time in milliseconds since 1970.
    pub fn decide(self, now_ms: u64) -> RecoveredState<M> {
        let Self { writes, orphans } = self;
        let mut found = HashMap::default();
        let mut keys = HashMap::default();
        for (write, candidate) in writes {
            let FoundValue {
                label,
                expiry,
                holders,
            } = candidate;
            let chunks = holders.iter().flatten().count();
            let is_whole = chunks >= label.geometry.code().data();
            let expires_at = Some(expiry.at_ms).filter(|&at| at > 0);
            let recovered = RecoveredObject {
                key: label.key,
                write,
                version: label.version,
                geometry: label.geometry,
                expires_at,
                expiry_sequence: expiry.sequence,
                holders,
            };
            let best: &mut Option<(Version, WriteId)> =
                keys.entry(recovered.key.clone()).or_default();
            if is_whole {
                *best = match fail_point("highest_version") {
                    true => Some((recovered.version, write)),
                    false => (*best).max(Some((recovered.version, write))),
                };
            }
            found.insert(write, recovered);
        }
        let lost = keys.values().filter(|best| best.is_none()).count();
        let is_value = |it: &RecoveredObject<M>| {
            let best = keys.get(&it.key).copied().flatten();
            best.is_some_and(|(_, write)| write == it.write)
                && it.expires_at.is_none_or(|at| at > now_ms)
        };
        let (recovered, obsolete): (Vec<_>, Vec<_>) = found.into_values().partition(is_value);
        RecoveredState {
            recovered,
            obsolete,
            orphans,
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use infinicache_erasure::Code;

    use super::*;

    const NOW: u64 = 1_000;

    /// A value of 2+2 in four units.
    fn geometry() -> Geometry {
        Geometry::new(100_000, Code::new(2, 2).unwrap())
    }

    fn entry(key: &str, number: u64, index: u8) -> InventoryEntry {
        let version = Version {
            epoch: 1,
            counter: number,
        };
        InventoryEntry {
            chunk: ChunkId {
                write: WriteId {
                    epoch: 1,
                    sequence: number,
                },
                index,
            },
            units: geometry().chunk_units(usize::from(index)),
            expiry: Expiry::default(),
            label: label::encode(key.as_bytes(), &geometry(), version, Expiry::default()),
        }
    }

    fn decide(entries: impl IntoIterator<Item = (u32, InventoryEntry)>) -> RecoveredState<u32> {
        let mut inventories = ChunkInventories::default();
        for (member, entry) in entries {
            inventories.found(member, entry);
        }
        inventories.decide(NOW)
    }

    #[test]
    fn a_value_is_there_if_k_of_its_chunks_are() {
        let state = decide([(7, entry("key", 1, 0)), (9, entry("key", 1, 3))]);
        let [recovered] = &state.recovered[..] else {
            panic!("{state:?}");
        };
        assert_eq!(recovered.key, "key");
        assert_eq!(recovered.holders, [Some(7), None, None, Some(9)]);
        assert!(state.orphans.is_empty());
    }

    #[test]
    fn with_fewer_it_is_lost_and_what_was_found_has_to_go() {
        let state = decide([(7, entry("key", 1, 0))]);
        assert!(state.recovered.is_empty());
        let other: Vec<_> = state.obsolete[0].held_by().collect();
        assert_eq!(other, [(0, 7)]);
        assert_eq!(state.lost, 1);
    }

    #[test]
    fn the_same_chunk_twice_is_one() {
        let state = decide([(7, entry("key", 1, 0)), (8, entry("key", 1, 0))]);
        assert!(state.recovered.is_empty());
        assert_eq!(state.orphans, [(8, entry("key", 1, 0).chunk)]);
    }

    #[test]
    fn the_highest_version_that_is_whole_wins() {
        let old = (0..4).map(|index| (u32::from(index), entry("key", 1, index)));
        let new = (0..2).map(|index| (u32::from(index) + 4, entry("key", 2, index)));
        let partial = [(9, entry("key", 3, 0))];
        let state = decide(old.chain(new).chain(partial));
        let [recovered] = &state.recovered[..] else {
            panic!("{state:?}");
        };
        assert_eq!(recovered.version.counter, 2);
        let obsolete: usize = state.obsolete.iter().map(|it| it.held_by().count()).sum();
        assert_eq!(obsolete, 5);
        assert_eq!(state.lost, 0);
    }

    #[test]
    fn the_last_change_of_expiry_counts_whoever_has_it() {
        let changed = |sequence, at_ms| InventoryEntry {
            expiry: Expiry { sequence, at_ms },
            ..entry("key", 1, 1)
        };
        let at = |sequence, at_ms| {
            let state = decide([(1, entry("key", 1, 0)), (2, changed(sequence, at_ms))]);
            state.recovered.first().map(|it| it.expires_at)
        };
        assert_eq!(at(0, 0), Some(None));
        assert_eq!(at(3, NOW + 1), Some(Some(NOW + 1)));
        assert_eq!(at(4, 0), Some(None));
        assert_eq!(at(5, NOW), None, "expired");
    }

    #[test]
    fn a_chunk_that_was_rebuilt_after_the_last_change_of_expiry_knows_it() {
        let expiry = Expiry {
            sequence: 2,
            at_ms: NOW + 7,
        };
        let version = Version {
            epoch: 1,
            counter: 1,
        };
        let rebuilt = InventoryEntry {
            label: label::encode(b"key", &geometry(), version, expiry),
            ..entry("key", 1, 1)
        };
        let state = decide([(1, entry("key", 1, 0)), (2, rebuilt)]);
        let recovered = &state.recovered[0];
        assert_eq!(recovered.expires_at, Some(NOW + 7));
        assert_eq!(recovered.expiry_sequence, 2);
    }

    #[test]
    fn chunks_that_make_no_sense_are_left_over() {
        let odd = [
            InventoryEntry {
                units: 77,
                ..entry("key", 1, 0)
            },
            InventoryEntry {
                label: Bytes::from_static(b"?"),
                ..entry("key", 1, 1)
            },
            InventoryEntry {
                chunk: ChunkId {
                    index: 4,
                    ..entry("key", 1, 0).chunk
                },
                ..entry("key", 1, 0)
            },
        ];
        let state = decide(odd.into_iter().map(|entry| (1, entry)));
        assert_eq!(state.orphans.len(), 3);
        assert_eq!(state.lost, 0);
    }

    #[test]
    fn a_commit_that_was_tried_again_is_one_value() {
        let again = InventoryEntry {
            label: entry("key", 5, 1).label,
            ..entry("key", 1, 1)
        };
        let state = decide([(1, entry("key", 1, 0)), (2, again)]);
        assert_eq!(state.recovered[0].version.counter, 5);
    }
}

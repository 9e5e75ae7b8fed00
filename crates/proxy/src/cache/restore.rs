//! What a run before has left becomes this run's.

use infinicache_host::fail_point;
use infinicache_membership::recovered_state::RecoveredObject;
use infinicache_wire::{ChunkId, MemberId};

use super::chunk_holders::ChunkHolders;
use crate::{
    gc_queue::GcTask,
    metadata::catalog::{ChunkReclaimer, Object},
};

impl ChunkHolders {
    /// Enters objects that were found on members; how many of them lack chunks.
    pub(crate) fn adopt(&self, recovered: Vec<RecoveredObject<MemberId>>) -> usize {
        let mut degraded = 0;
        for recovered in recovered {
            let object = Object::found(recovered, self.reclaimer.clone());
            for (index, member) in object.held_by() {
                if let Some(member) = self.members.get(member) {
                    member.memory.take(object.footprint(usize::from(index)));
                    member.memory.count_chunk(true);
                }
            }
            self.metadata.catalog.insert(object.clone());
            // Some may have said that they go while it was not known what they hold.
            for (_, member) in object.held_by() {
                if let Some(member) = self.members.get(member) {
                    self.follow_draining(&object, &member);
                }
            }
            if object.lacks_chunks() {
                degraded += 1;
                self.reclaimer.repair(object);
            }
        }
        degraded
    }

    /// What was found of an obsolete value is deleted, and has a tombstone until it is.
    pub(crate) fn delete_obsolete(&self, other: &RecoveredObject<MemberId>) {
        let (write, data) = (other.write, other.geometry.code().data());
        if !fail_point("leftovers_get_tombstones") {
            self.deletes
                .add_tombstone(&other.key, write, data, other.held_by());
        }
        for (index, member) in other.held_by() {
            let chunk = ChunkId { write, index };
            self.reclaimer.push(GcTask::Free(chunk, member));
        }
    }

    /// A chunk that was found without being needed is to be freed.
    pub(crate) fn free_orphan(&self, chunk: ChunkId, member: MemberId) {
        self.metadata.tombstones.orphan(chunk, member);
        self.reclaimer.push(GcTask::Free(chunk, member));
    }
}

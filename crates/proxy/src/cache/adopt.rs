//! What a run before has left becomes this run's.

use infinicache_host::fail_point;
use infinicache_membership::verdict::Survivor;
use infinicache_wire::{ChunkId, MemberId};

use super::Cache;
use crate::{
    catalog::{Keeper, Object},
    chores::Chore,
};

impl Cache {
    /// Enters objects that were found on members; how many of them lack chunks.
    pub(crate) fn adopt(&self, survivors: Vec<Survivor<MemberId>>) -> usize {
        let mut degraded = 0;
        for survivor in survivors {
            let object = Object::found(survivor, self.0.keeper.clone());
            for (index, member) in object.held_by() {
                if let Some(member) = self.0.nodes.member(member) {
                    member.take(object.footprint(usize::from(index)));
                    member.count_chunk(true);
                }
            }
            self.0.catalog.insert(object.clone());
            // Some may have said that they go while it was not known what they hold.
            for (_, member) in object.held_by() {
                if let Some(member) = self.0.nodes.member(member) {
                    self.follow_leaving(&object, &member);
                }
            }
            if object.lacks_chunks() {
                degraded += 1;
                self.0.keeper.repair(object);
            }
        }
        degraded
    }

    /// What was found of a value that is nobody's goes, and counts as on its way out until it has.
    pub(crate) fn part_with_found(&self, other: &Survivor<MemberId>) {
        let (write, data) = (other.write, other.geometry.code().data());
        if !fail_point("leftovers_part") {
            self.begin_parting(&other.key, write, data, other.held_by());
        }
        for (index, member) in other.held_by() {
            let chunk = ChunkId { write, index };
            self.0.keeper.leave(Chore::Free(chunk, member));
        }
    }

    /// A chunk that was found without being needed is to be freed.
    pub(crate) fn free_stray(&self, chunk: ChunkId, member: MemberId) {
        self.0.partings.stray(chunk, member);
        self.0.keeper.leave(Chore::Free(chunk, member));
    }
}

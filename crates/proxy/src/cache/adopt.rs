//! What a run before has left becomes this run's.

use infinicache_wire::{ChunkId, MemberId};

use super::Cache;
use crate::{
    catalog::{Keeper, Object},
    house::Chore,
    tenure::verdict::Survivor,
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

    /// A chunk that belongs to nothing is to be freed.
    pub(crate) fn leave_free(&self, chunk: ChunkId, member: MemberId) {
        self.0.keeper.leave(Chore::Free(chunk, member));
    }
}

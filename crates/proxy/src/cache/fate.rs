//! What becomes of objects when members come and go.

use std::sync::Arc;

use infinicache_wire::MemberId;
use tracing::warn;

use super::{BATCH, Cache};
use crate::{
    catalog::{Keeper, Object},
    nodes::member::Member,
};

impl Cache {
    /// Enters a rebuilt chunk, if the object is still the value of its key.
    pub(crate) async fn enter(&self, object: &Arc<Object>, index: usize, member: &Member) -> bool {
        let _turn = self.0.turns.take(object.key()).await;
        if object.is_dead() || self.0.nodes.member(member.id).is_none() {
            return false;
        }
        if let Some(previous) = object.move_to(index, member.id) {
            let bytes = object.footprint(index);
            self.0.keeper.free(object.chunk(index), previous, bytes);
        }
        true
    }

    /// Moves what a member that is about to go holds.
    pub(crate) fn vacate(&self, member: MemberId) {
        let mut from = Some(0);
        while let Some(slot) = from {
            let (objects, next) = self.0.catalog.walk(slot, BATCH);
            let held = objects
                .into_iter()
                .filter(|object| object.is_held_by(member));
            held.for_each(|object| self.0.keeper.repair(object));
            from = next;
        }
    }

    /// Loses what a member held; objects that lack too many chunks are lost altogether.
    pub(crate) fn lose_member(&self, member: MemberId) {
        let mut from = Some(0);
        while let Some(slot) = from {
            let (objects, next) = self.0.catalog.walk(slot, BATCH);
            for object in objects.into_iter().filter(|object| object.lose(member)) {
                if object.chunks_left() >= object.data() {
                    self.0.keeper.repair(object);
                } else if self.0.catalog.remove(&object) {
                    warn!(write = ?object.chunk(0).write, size = object.size(), "object lost");
                    object.retire();
                    self.0.metrics.removed("lost");
                }
            }
            from = next;
        }
    }
}

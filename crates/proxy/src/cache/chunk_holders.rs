//! Which member holds which chunk, as members come and go.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use infinicache_engine::{Holders, NodeLink};
use infinicache_host::fail_point;
use infinicache_membership::label;
use infinicache_wire::{MemberId, Reply, Request, inventory::Expiry};
use tokio::time;
use tracing::warn;

use super::delete::Deletes;
use crate::{
    gc_queue::{GcQueue, GcTask},
    metadata::{
        Metadata,
        catalog::{ChunkReclaimer, Object, ObjectRef},
    },
    pool::{Members, Membership, member::Member},
};

/// How long a member may take to complete a chunk that is rebuilt.
const FINISH_DEADLINE: Duration = Duration::from_secs(2);

/// The holders of objects' chunks. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct ChunkHolders {
    pub(super) metadata: Arc<Metadata>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) reclaimer: Arc<GcQueue>,
    pub(super) deletes: Deletes,
}

impl ChunkHolders {
    /// Has a member complete a rebuilt chunk, and enters it, if the object is still the value of
    /// its key.
    ///
    /// A later run of the proxy may find the chunk from the moment it is complete: nothing else
    /// happens to the key meanwhile, and a member of which it is not known is removed.
    pub(crate) async fn enter(&self, object: &Arc<Object>, index: usize, member: &Member) -> bool {
        let _turn = self.metadata.key_locks.lock(object.key()).await;
        let is_dead = object.is_dead() && !fail_point("repair_if_current");
        if is_dead || !self.membership.counts(member) {
            return false;
        }
        match self.complete_rebuilt(object, index, member).await {
            Some(true) => {}
            Some(false) => return false,
            None => {
                self.membership.remove_silent(&[member.id]).await;
                return false;
            }
        }
        if self.members.get(member.id).is_none() {
            return false;
        }
        if let Some(previous) = object.move_to(index, member.id) {
            let bytes = object.footprint(index);
            self.reclaimer.abandon(object.chunk(index), previous, bytes);
        }
        self.follow_draining(object, member);
        true
    }

    /// Whether a member completed a chunk; `None` if it does not say.
    async fn complete_rebuilt(
        &self,
        object: &Arc<Object>,
        index: usize,
        member: &Member,
    ) -> Option<bool> {
        let Some(link) = member.link() else {
            return Some(false);
        };
        let found = ObjectRef(object.clone());
        let geometry = found.geometry();
        let chunk = object.chunk(index);
        // With the last change of its expiry: there must be no moment at which it has an earlier one.
        let expiry = if fail_point("rebuilt_expiry") {
            Expiry::default()
        } else {
            object.expiration().entry()
        };
        let label = label::encode(object.key(), &geometry, object.version(), expiry);
        let finish = Request::Finish {
            chunk,
            units: geometry.chunk_units(index),
            label,
        };
        match time::timeout(FINISH_DEADLINE, link.call(finish)).await {
            Ok(Reply::Done { .. }) => Some(true),
            Ok(Reply::Late | Reply::Unreachable) | Err(_) => None,
            Ok(_) => Some(false),
        }
    }

    /// Moves what a member that is about to go holds.
    pub(crate) fn evacuate_member(&self, member: MemberId) {
        self.metadata.catalog.for_each(|object| {
            if object.is_held_by(member) {
                self.reclaimer.push(GcTask::Evacuate(object));
            }
        });
    }

    /// An object of which too few chunks were found to be sound is no key's value any more.
    pub(super) fn give_up_lost(&self, object: &Arc<Object>) {
        if object.chunks_left() < object.code().data() && self.metadata.catalog.remove(object) {
            let members = object.members();
            warn!(write = %object.write(), size = object.size(), ?members, "object lost");
            self.deletes.delete_in_background(object, "lost");
        }
    }

    /// A member has just got a chunk: if it is draining by now, the evacuation that looked at what
    /// it holds may have missed it.
    pub(super) fn follow_draining(&self, object: &Arc<Object>, member: &Member) {
        if member.must_evacuate() {
            self.reclaimer.push(GcTask::Evacuate(object.clone()));
        }
    }

    /// Whether there is an object that a member holds a chunk of, and that has too few without it
    /// and those that are `silent`.
    pub(crate) fn needs(&self, member: MemberId, silent: &BTreeSet<MemberId>) -> bool {
        let is_left = |holder: MemberId| holder != member && !silent.contains(&holder);
        let mut is_needed = false;
        self.metadata.catalog.for_each(|object| {
            is_needed |= object.is_held_by(member)
                && object
                    .held_by()
                    .into_iter()
                    .filter(|(_, it)| is_left(*it))
                    .count()
                    < object.code().data();
        });
        is_needed
    }

    /// Loses what a member held; objects that lack too many chunks are lost altogether.
    pub(crate) fn lose_member(&self, member: MemberId) {
        self.metadata.catalog.for_each(|object| {
            if !object.lose(member) {
                return;
            }
            if object.chunks_left() >= object.code().data() {
                self.reclaimer.repair(object);
            } else {
                self.give_up_lost(&object);
            }
        });
    }
}

//! Deletes: what was replaced or removed is deleted on its members.

use std::{sync::Arc, time::Instant};

use infinicache_engine::Error;
use infinicache_host::{clock, fail_point, task};
use infinicache_membership::{
    delete_quorum::DeleteQuorum,
    quorum_timeout::{CALL_TIMEOUT, QuorumTimeout},
};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId};
use tokio::time;
use tracing::trace;

use super::quorum_call::{Quorum, QuorumCaller, UNKNOWN_OUTCOME};
use crate::{
    gc_queue::{GcQueue, GcTask},
    hot_cache::HotCache,
    metadata::catalog::Object,
    metadata::tombstones::{KeyTombstones, Tombstones},
    metrics::Metrics,
    pool::Membership,
};

/// What becomes of the chunks of an object that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkDisposal {
    /// They stay for those who read them, until the last one lets go of the object.
    Dead,
    /// They are freed at once: only the caller knows the object.
    Freed,
}

impl ChunkDisposal {
    /// The end of an object that its caller alone has no use for.
    pub(super) fn of(object: &Arc<Object>) -> Self {
        if Arc::strong_count(object) == 1 {
            Self::Freed
        } else {
            Self::Dead
        }
    }

    fn request(self, chunk: ChunkId) -> Request {
        match self {
            Self::Dead => Request::Delete { chunk },
            Self::Freed => Request::Free { chunk },
        }
    }
}

/// Deletes objects that were taken out of the catalog. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Deletes {
    pub(super) membership: Arc<Membership>,
    pub(super) quorum: QuorumCaller,
    pub(super) tombstones: Arc<Tombstones>,
    pub(super) reclaimer: Arc<GcQueue>,
    pub(super) hot_cache: Arc<HotCache>,
    pub(super) metrics: Arc<Metrics>,
    /// How many members the widest code can do without.
    pub(super) parity: usize,
}

impl Deletes {
    /// An object that was taken out of the catalog is deleted on its members. Returns when too few
    /// chunks are left that could be taken for a value.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn delete(
        &self,
        object: &Arc<Object>,
        reason: &'static str,
        disposal: ChunkDisposal,
    ) -> Result<(), Error> {
        self.mark_deleted(object, reason);
        let request = |index| disposal.request(object.chunk(usize::from(index)));
        let was_freed = |index, member| {
            if disposal == ChunkDisposal::Freed {
                object.was_freed(usize::from(index), member);
            }
        };
        if !self.delete_at_once(object, request, was_freed).await {
            let quorum = self.add_tombstone_of(object);
            if fail_point("delete_quorum") {
                self.delete_outstanding(object, &quorum);
                return Ok(());
            }
            let acknowledged = |index, member| {
                self.chunk_freed(object.chunk(usize::from(index)), member);
                was_freed(index, member);
            };
            let call = Change {
                quorum,
                acknowledged,
            };
            let spare = object.code().parity();
            self.call_until_reached(call, spare, request).await?;
        }
        if fail_point("earlier_tombstones") {
            return Ok(());
        }
        self.until_done(object.key()).await
    }

    /// Whether all members of a small value let go of it at once, as they do when all is well:
    /// then there is nothing to be remembered of it.
    async fn delete_at_once(
        &self,
        object: &Object,
        request: impl Fn(u8) -> Request,
        was_freed: impl Fn(u8, MemberId),
    ) -> bool {
        let quorum = DeleteQuorum::new(object.code().data(), object.held_by());
        if !quorum.needs_all() {
            return false;
        }
        let unacknowledged = UnacknowledgedDelete {
            deletes: self,
            object,
        };
        let mut call = Change {
            quorum,
            acknowledged: was_freed,
        };
        self.quorum.call_at_once(request, &mut call).await;
        unacknowledged.disarm();
        call.outstanding().is_empty() && !self.tombstones.has_orphans(object.write())
    }

    /// The same, without waiting for the members.
    pub(crate) fn delete_in_background(&self, object: &Arc<Object>, reason: &'static str) {
        self.mark_deleted(object, reason);
        let quorum = self.add_tombstone_of(object);
        // The caller holds it once. If it is read by others, its memory is not to be freed yet.
        if Arc::strong_count(object) > 1 {
            self.delete_outstanding(object, &quorum);
        }
    }

    fn delete_outstanding(&self, object: &Object, quorum: &DeleteQuorum<MemberId>) {
        for (index, member) in quorum.outstanding() {
            let chunk = object.chunk(usize::from(index));
            self.reclaimer.push(GcTask::Delete(chunk, member));
        }
    }

    /// From now on an object is deleted.
    fn mark_deleted(&self, object: &Object, reason: &'static str) {
        trace!(key = %object.key().escape_ascii(), write = %object.write(), reason, "value removed");
        object.retire();
        self.hot_cache.drop_value(object.write());
        self.metrics.removed(reason);
    }

    fn add_tombstone_of(&self, object: &Object) -> DeleteQuorum<MemberId> {
        let (key, write) = (object.key(), object.write());
        self.add_tombstone(key, write, object.code().data(), object.held_by())
    }

    /// What is left of a value goes; there may be nothing that has to.
    pub(super) fn add_tombstone(
        &self,
        key: &[u8],
        write: WriteId,
        data: usize,
        holders: impl IntoIterator<Item = (u8, MemberId)>,
    ) -> DeleteQuorum<MemberId> {
        let now = clock::now();
        let quorum = self.tombstones.begin(key, write, data, holders, now);
        if let Some(key_tombstones) = self.tombstones.of(key) {
            self.collect(&key_tombstones);
        }
        quorum
    }

    /// Asks members for a change until the old state cannot be found any more; those that do not
    /// answer in time are removed.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn change(
        &self,
        object: &Object,
        request: impl Fn(u8) -> Request,
    ) -> Result<(), Error> {
        let quorum = DeleteQuorum::new(object.code().data(), object.held_by());
        let mut call = Change {
            quorum,
            acknowledged: |_, _| (),
        };
        if call.quorum.needs_all() {
            self.quorum.call_at_once(&request, &mut call).await;
        }
        let spare = object.code().parity();
        self.call_until_reached(call, spare, request).await
    }

    async fn call_until_reached(
        &self,
        mut call: Change<impl Fn(u8, MemberId)>,
        spare: usize,
        request: impl Fn(u8) -> Request,
    ) -> Result<(), Error> {
        self.quorum.call(spare, request, &mut call).await;
        if call.is_reached(&self.membership) || self.quorum.remove_silent(&call).await {
            Ok(())
        } else {
            Err(UNKNOWN_OUTCOME)
        }
    }

    /// Waits until no earlier value of a key can be found any more.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn until_done(&self, key: &[u8]) -> Result<(), Error> {
        let Some(key_tombstones) = self.tombstones.of(key) else {
            return Ok(());
        };
        let mut changes = self.membership.changes();
        let mut timeout = QuorumTimeout::new(clock::now());
        loop {
            let mut acknowledged = std::pin::pin!(key_tombstones.acknowledgements().notified());
            acknowledged.as_mut().enable();
            if self.collect(&key_tombstones) {
                return Ok(());
            }
            let end = timeout.ends(key_tombstones.left().len(), self.parity);
            tokio::select! {
                biased;
                () = acknowledged => {}
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if timeout.is_over(clock::now(), end) {
                        break;
                    }
                }
            }
        }
        self.remove_unacknowledged(&key_tombstones).await
    }

    /// Removes members that have not let go of a key's old values.
    async fn remove_unacknowledged(&self, key_tombstones: &KeyTombstones) -> Result<(), Error> {
        let removed = self.membership.remove_silent(&key_tombstones.left()).await;
        if self.collect(key_tombstones) || removed {
            Ok(())
        } else {
            Err(UNKNOWN_OUTCOME)
        }
    }

    /// Removes members that keep what was removed from being gone for good, and asks them again: a
    /// member that was not linked when it was asked may answer by now, and hold nothing that a
    /// later run would find on it.
    pub(crate) fn give_up_overdue(&self, now: Instant) {
        for key_tombstones in self.tombstones.overdue(now, CALL_TIMEOUT) {
            for (chunk, member) in key_tombstones.chunks_left() {
                self.reclaimer.push(GcTask::Delete(chunk, member));
            }
            let deletes = self.clone();
            task::spawn(async move { deletes.remove_unacknowledged(&key_tombstones).await });
        }
    }

    /// A member let go of a chunk.
    pub(crate) fn chunk_freed(&self, chunk: ChunkId, member: MemberId) {
        let may_be_member = |member| self.membership.may_be_member(member);
        self.tombstones.acknowledged(chunk, member, may_be_member);
    }

    fn collect(&self, key_tombstones: &KeyTombstones) -> bool {
        let may_be_member = |member| self.membership.may_be_member(member);
        self.tombstones.collect(key_tombstones, may_be_member)
    }
}

/// A change that members make to their chunks: the old state must not be found any more.
struct Change<A> {
    quorum: DeleteQuorum<MemberId>,
    acknowledged: A,
}

impl<A: Fn(u8, MemberId)> Quorum for Change<A> {
    fn answered(&mut self, index: u8, member: MemberId, reply: Option<&Reply>) -> bool {
        // A member that does not know the chunk does not hold it.
        let is_acknowledged = matches!(reply, Some(Reply::Done { .. } | Reply::NotFound));
        if is_acknowledged {
            self.quorum.acknowledged(index, member);
            (self.acknowledged)(index, member);
        }
        is_acknowledged
    }

    fn outstanding(&self) -> Vec<(u8, MemberId)> {
        self.quorum.outstanding().collect()
    }

    fn is_reached(&self, membership: &Membership) -> bool {
        self.quorum
            .is_reached(|member| membership.may_be_member(member))
    }
}

/// A value whose members were asked to let go of it; if the caller does not wait for their answers,
/// it is remembered as being on its way out.
struct UnacknowledgedDelete<'a> {
    deletes: &'a Deletes,
    object: &'a Object,
}

impl UnacknowledgedDelete<'_> {
    /// The caller has their answers.
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnacknowledgedDelete<'_> {
    fn drop(&mut self) {
        self.deletes.add_tombstone_of(self.object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::OneNode;

    #[tokio::test]
    async fn nothing_is_remembered_of_a_small_value_that_its_members_let_go_of_at_once() {
        let node = OneNode::new().await;
        let object = node.object(100);
        let retired = node
            .cache
            .deletes()
            .delete(&object, "replaced", ChunkDisposal::Freed);
        retired.await.unwrap();
        assert_eq!(node.cache.metadata().tombstones.len(), 0);
        assert_eq!(object.members(), [None, None]);
    }

    #[tokio::test]
    async fn a_value_is_remembered_if_nobody_waits_until_its_members_have_let_go_of_it() {
        let node = OneNode::new().await;
        let object = node.object(100);
        node.pool.fall_silent();
        {
            let retiring = node
                .cache
                .deletes()
                .delete(&object, "replaced", ChunkDisposal::Freed);
            let retiring = std::pin::pin!(retiring);
            assert!(futures_util::poll!(retiring).is_pending());
        }
        let key_tombstones = node.cache.metadata().tombstones.of(b"key").unwrap();
        assert_eq!(key_tombstones.left(), [node.member]);
    }
}

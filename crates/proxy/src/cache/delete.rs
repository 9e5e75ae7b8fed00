//! Deletes: what was replaced or removed is deleted on its members.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_engine::Error;
use infinicache_host::{clock, fail_point, stall_point};
use infinicache_membership::{delete_quorum::DeleteQuorum, quorum_timeout::QuorumTimeout};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId};
use tokio::time;
use tracing::{debug, trace};

use super::Cache;
use crate::{gc_queue::GcTask, metadata::catalog::Object, metadata::tombstones::KeyTombstones};

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
        match Arc::strong_count(object) {
            1 => Self::Freed,
            _ => Self::Dead,
        }
    }
}

impl Cache {
    /// An object that was taken out of the catalog dies on its members. Returns when too few
    /// chunks are left that could be taken for a value.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn delete_chunks(
        &self,
        object: &Arc<Object>,
        reason: &'static str,
        disposal: ChunkDisposal,
    ) -> Result<(), Error> {
        self.mark_deleted(object, reason);
        let request = |index| {
            let chunk = object.chunk(usize::from(index));
            match disposal {
                ChunkDisposal::Dead => Request::Delete { chunk },
                ChunkDisposal::Freed => Request::Free { chunk },
            }
        };
        let was_freed = |index, member| {
            if disposal == ChunkDisposal::Freed {
                object.was_freed(usize::from(index), member);
            }
        };
        if !self.delete_at_once(object, &request, was_freed).await {
            let quorum = self.begin_delete(object);
            let let_go = |index, member| {
                self.chunk_freed(object.chunk(usize::from(index)), member);
                was_freed(index, member);
            };
            if fail_point("delete_quorum") {
                self.leave_to_die(object, &quorum);
                return Ok(());
            }
            self.call_until_quorum(quorum, object.parity(), request, let_go)
                .await?;
        }
        match fail_point("earlier_tombstones") {
            true => Ok(()),
            false => self.until_deletes_are_done(object.key()).await,
        }
    }

    /// Whether all members of a small value let go of it at once, as they do when all is well:
    /// then there is nothing to be remembered of it.
    async fn delete_at_once(
        &self,
        object: &Object,
        request: impl Fn(u8) -> Request,
        was_freed: impl Fn(u8, MemberId),
    ) -> bool {
        if object.data() > 1 {
            return false;
        }
        let unacknowledged = UnacknowledgedDelete {
            cache: self,
            object,
        };
        let holders = object.held_by();
        let heard = self.fast_quorum_call(&holders, request).await;
        std::mem::forget(unacknowledged);
        heard
            .iter()
            .for_each(|&(index, member)| was_freed(index, member));
        heard.len() == holders.len() && !self.0.tombstones.has_orphans(object.write())
    }

    /// The same, without waiting for the members.
    pub(crate) fn delete_in_background(&self, object: &Arc<Object>, reason: &'static str) {
        self.mark_deleted(object, reason);
        let quorum = self.begin_delete(object);
        // The caller holds it once. If it is read by others, its memory is not to be freed yet.
        if Arc::strong_count(object) > 1 {
            self.leave_to_die(object, &quorum);
        }
    }

    fn leave_to_die(&self, object: &Object, quorum: &DeleteQuorum<MemberId>) {
        for (index, member) in quorum.outstanding() {
            let chunk = object.chunk(usize::from(index));
            self.0.reclaimer.push(GcTask::Delete(chunk, member));
        }
    }

    /// From now on an object is deleted.
    fn mark_deleted(&self, object: &Object, reason: &'static str) {
        trace!(key = %object.key().escape_ascii(), write = %object.write(), reason, "value removed");
        object.retire();
        self.0.hot_cache.drop_value(object.write());
        self.0.metrics.removed(reason);
    }

    fn begin_delete(&self, object: &Object) -> DeleteQuorum<MemberId> {
        let (key, write) = (object.key(), object.write());
        self.add_tombstone(key, write, object.data(), object.held_by())
    }

    /// What is left of a value goes; there may be nothing that has to.
    pub(super) fn add_tombstone(
        &self,
        key: &[u8],
        write: WriteId,
        data: usize,
        holders: impl IntoIterator<Item = (u8, MemberId)>,
    ) -> DeleteQuorum<MemberId> {
        let quorum = self
            .0
            .tombstones
            .begin(key, write, data, holders, clock::now());
        if let Some(key_tombstones) = self.0.tombstones.of(key) {
            self.collect_tombstones(&key_tombstones);
        }
        quorum
    }

    /// Asks members for a change until the old state cannot be found any more; those that do not
    /// answer in time are removed.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn quorum_call(
        &self,
        mut quorum: DeleteQuorum<MemberId>,
        parity: usize,
        request: impl Fn(u8) -> Request,
        acknowledged: impl Fn(u8, MemberId),
    ) -> Result<(), Error> {
        if quorum.needs_all() {
            let holders: Vec<_> = quorum.outstanding().collect();
            for (index, member) in self.fast_quorum_call(&holders, &request).await {
                quorum.acknowledged(index, member);
                acknowledged(index, member);
            }
        }
        self.call_until_quorum(quorum, parity, request, acknowledged)
            .await
    }

    /// Those of `holders` who make a change at once, as all do when all is well.
    async fn fast_quorum_call(
        &self,
        holders: &[(u8, MemberId)],
        request: impl Fn(u8) -> Request,
    ) -> Vec<(u8, MemberId)> {
        let asked = holders
            .iter()
            .map(|(index, member)| (*member, request(*index)));
        let replies = self.0.nodes.ask_at_once(asked).await;
        let answered = holders.iter().zip(&replies);
        let heard = answered.filter(|(_, reply)| is_acknowledgement(reply));
        heard.map(|(holder, _)| *holder).collect()
    }

    /// The same as [`quorum_call`](Self::quorum_call), one member after another has answered.
    async fn call_until_quorum(
        &self,
        mut quorum: DeleteQuorum<MemberId>,
        parity: usize,
        request: impl Fn(u8) -> Request,
        acknowledged: impl Fn(u8, MemberId),
    ) -> Result<(), Error> {
        let nodes = &self.0.nodes;
        let is_over =
            |quorum: &DeleteQuorum<MemberId>| quorum.is_reached(|it| nodes.may_be_member(it));
        let mut asking: FuturesUnordered<_> = quorum
            .outstanding()
            .map(|(index, member)| {
                let request = request(index);
                async move { (index, member, nodes.ask(member, request).await) }
            })
            .collect();
        let mut changes = nodes.view_changes();
        let mut quorum_timeout = QuorumTimeout::new(clock::now());
        while !is_over(&quorum) {
            let end = quorum_timeout.ends(quorum.outstanding().count(), parity);
            tokio::select! {
                biased;
                Some((index, member, reply)) = asking.next() => {
                    if is_acknowledgement(&reply) {
                        quorum_timeout.heard(clock::now());
                        quorum.acknowledged(index, member);
                        acknowledged(index, member);
                    }
                }
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if quorum_timeout.is_over(clock::now(), end) {
                        break;
                    }
                }
            }
        }
        if is_over(&quorum) {
            return Ok(());
        }
        let silent: Vec<MemberId> = quorum.outstanding().map(|(_, member)| member).collect();
        debug!(?silent, "members do not acknowledge a change");
        let now = clock::now();
        silent
            .iter()
            .for_each(|member| self.0.latencies.was_late(*member, now));
        match nodes.remove_silent(&silent).await || is_over(&quorum) {
            true => Ok(()),
            false => Err(UNKNOWN_OUTCOME),
        }
    }

    /// Waits until no earlier value of a key can be found any more.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn until_deletes_are_done(&self, key: &[u8]) -> Result<(), Error> {
        let Some(key_tombstones) = self.0.tombstones.of(key) else {
            return Ok(());
        };
        let mut changes = self.0.nodes.view_changes();
        let mut quorum_timeout = QuorumTimeout::new(clock::now());
        loop {
            let mut acknowledged = std::pin::pin!(key_tombstones.acknowledgements().notified());
            acknowledged.as_mut().enable();
            if self.collect_tombstones(&key_tombstones) {
                return Ok(());
            }
            let end =
                quorum_timeout.ends(key_tombstones.left().len(), self.0.settings.code.parity());
            tokio::select! {
                biased;
                () = acknowledged => {}
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if quorum_timeout.is_over(clock::now(), end) {
                        break;
                    }
                }
            }
        }
        self.remove_unacknowledged(&key_tombstones).await
    }

    /// Removes who has not let go of a key's old values.
    pub(crate) async fn remove_unacknowledged(
        &self,
        key_tombstones: &KeyTombstones,
    ) -> Result<(), Error> {
        let removed = self.0.nodes.remove_silent(&key_tombstones.left()).await;
        match self.collect_tombstones(key_tombstones) || removed {
            true => Ok(()),
            false => Err(UNKNOWN_OUTCOME),
        }
    }

    /// A member let go of a chunk.
    pub(crate) fn chunk_freed(&self, chunk: ChunkId, member: MemberId) {
        let may_be_member = |member| self.0.nodes.may_be_member(member);
        self.0.tombstones.acknowledged(chunk, member, may_be_member);
    }

    fn collect_tombstones(&self, key_tombstones: &KeyTombstones) -> bool {
        let may_be_member = |member| self.0.nodes.may_be_member(member);
        self.0.tombstones.collect(key_tombstones, may_be_member)
    }

    /// That a change is committed, as far as another run of the proxy is concerned. Most members
    /// may just have said goodbye, and the others be about to renew its lease.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there may be one by now.
    pub(super) async fn confirm_lease(&self) -> Result<(), Error> {
        stall_point().await;
        if fail_point("lease_again") {
            return Ok(());
        }
        let is_leader = self.0.nodes.until_may_answer();
        let in_time = time::timeout(LEASE_WAIT, is_leader).await;
        in_time.map_err(|_| UNKNOWN_OUTCOME)
    }
}

/// A value whose members were asked to let go of it; if the caller does not wait for their answers,
/// it is remembered as being on its way out.
struct UnacknowledgedDelete<'a> {
    cache: &'a Cache,
    object: &'a Object,
}

impl Drop for UnacknowledgedDelete<'_> {
    fn drop(&mut self) {
        self.cache.begin_delete(self.object);
    }
}

/// Whether a member has made a change: one that does not know the chunk does not hold it.
fn is_acknowledgement(reply: &Option<Reply>) -> bool {
    matches!(reply, Some(Reply::Done { .. } | Reply::NotFound))
}

/// For how long a change waits for a majority of the members to renew its lease.
const LEASE_WAIT: Duration = Duration::from_secs(1);

/// The client's error for a change that may or may not outlive this run of the proxy.
const UNKNOWN_OUTCOME: Error =
    Error::TimedOut("members did not acknowledge: the outcome is unknown");

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
            .delete_chunks(&object, "replaced", ChunkDisposal::Freed);
        retired.await.unwrap();
        assert_eq!(node.cache.tombstones().len(), 0);
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
                .delete_chunks(&object, "replaced", ChunkDisposal::Freed);
            let retiring = std::pin::pin!(retiring);
            assert!(futures_util::poll!(retiring).is_pending());
        }
        let key_tombstones = node.cache.tombstones().of(b"key").unwrap();
        assert_eq!(key_tombstones.left(), [node.member]);
    }
}

//! What was replaced or removed dies on the nodes.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_client::Error;
use infinicache_host::{clock, fail_point};
use infinicache_membership::{farewell::Farewell, patience::Patience};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId};
use tokio::time;
use tracing::{debug, trace};

use super::Cache;
use crate::{catalog::Object, chores::Chore, partings::OfKey};

/// What becomes of the chunks of an object that is nobody's value any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They stay for those who read them, until the last one lets go of the object.
    Dead,
    /// They are freed at once: nobody but the caller knows the object.
    Freed,
}

impl Ending {
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
    pub(super) async fn retire(
        &self,
        object: &Arc<Object>,
        reason: &'static str,
        ending: Ending,
    ) -> Result<(), Error> {
        self.bury(object, reason);
        let request = |index| {
            let chunk = object.chunk(usize::from(index));
            match ending {
                Ending::Dead => Request::Delete { chunk },
                Ending::Freed => Request::Free { chunk },
            }
        };
        let was_freed = |index, member| {
            if ending == Ending::Freed {
                object.was_freed(usize::from(index), member);
            }
        };
        if !self.dies_at_once(object, &request, was_freed).await {
            let farewell = self.begin_farewell(object);
            let let_go = |index, member| {
                self.let_go(object.chunk(usize::from(index)), member);
                was_freed(index, member);
            };
            if fail_point("farewell") {
                self.leave_to_die(object, &farewell);
                return Ok(());
            }
            self.insist(farewell, object.parity(), request, let_go)
                .await?;
        }
        match fail_point("earlier_farewells") {
            true => Ok(()),
            false => self.settle(object.key()).await,
        }
    }

    /// Whether all members of a small value let go of it at once, as they do when all is well:
    /// then there is nothing to be remembered of it.
    async fn dies_at_once(
        &self,
        object: &Object,
        request: impl Fn(u8) -> Request,
        was_freed: impl Fn(u8, MemberId),
    ) -> bool {
        if object.data() > 1 {
            return false;
        }
        let unheard = Unheard {
            cache: self,
            object,
        };
        let holders = object.held_by();
        let heard = self.heard_at_once(&holders, request).await;
        std::mem::forget(unheard);
        heard
            .iter()
            .for_each(|&(index, member)| was_freed(index, member));
        heard.len() == holders.len() && !self.0.partings.has_strays(object.write())
    }

    /// The same, without waiting for the members.
    pub(crate) fn retire_unasked(&self, object: &Arc<Object>, reason: &'static str) {
        self.bury(object, reason);
        let farewell = self.begin_farewell(object);
        // The caller holds it once. If it is read by others, its memory is not to be freed yet.
        if Arc::strong_count(object) > 1 {
            self.leave_to_die(object, &farewell);
        }
    }

    fn leave_to_die(&self, object: &Object, farewell: &Farewell<MemberId>) {
        for (index, member) in farewell.left() {
            let chunk = object.chunk(usize::from(index));
            self.0.keeper.leave(Chore::Delete(chunk, member));
        }
    }

    /// From now on an object is nobody's value.
    fn bury(&self, object: &Object, reason: &'static str) {
        trace!(key = %object.key().escape_ascii(), write = %object.write(), reason, "value removed");
        object.retire();
        self.0.shelf.drop_value(object.write());
        self.0.metrics.removed(reason);
    }

    fn begin_farewell(&self, object: &Object) -> Farewell<MemberId> {
        let (key, write) = (object.key(), object.write());
        self.begin_parting(key, write, object.data(), object.held_by())
    }

    /// What is left of a value goes; there may be nothing that has to.
    pub(super) fn begin_parting(
        &self,
        key: &[u8],
        write: WriteId,
        data: usize,
        holders: impl IntoIterator<Item = (u8, MemberId)>,
    ) -> Farewell<MemberId> {
        let farewell = self
            .0
            .partings
            .begin(key, write, data, holders, clock::now());
        if let Some(of_key) = self.0.partings.of(key) {
            self.conclude(&of_key);
        }
        farewell
    }

    /// Asks members for a change until the old state cannot be found any more; those that do not
    /// answer in time are expelled.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn persuade(
        &self,
        mut farewell: Farewell<MemberId>,
        parity: usize,
        request: impl Fn(u8) -> Request,
        acknowledged: impl Fn(u8, MemberId),
    ) -> Result<(), Error> {
        if farewell.takes_all() {
            let holders: Vec<_> = farewell.left().collect();
            for (index, member) in self.heard_at_once(&holders, &request).await {
                farewell.acknowledged(index, member);
                acknowledged(index, member);
            }
        }
        self.insist(farewell, parity, request, acknowledged).await
    }

    /// Those of `holders` who make a change at once, as all do when all is well.
    async fn heard_at_once(
        &self,
        holders: &[(u8, MemberId)],
        request: impl Fn(u8) -> Request,
    ) -> Vec<(u8, MemberId)> {
        let asked = holders
            .iter()
            .map(|(index, member)| (*member, request(*index)));
        let replies = self.0.nodes.ask_at_once(asked).await;
        let answered = holders.iter().zip(&replies);
        let heard = answered.filter(|(_, reply)| is_gone(reply));
        heard.map(|(holder, _)| *holder).collect()
    }

    /// The same as [`persuade`](Self::persuade), one member after another has answered.
    async fn insist(
        &self,
        mut farewell: Farewell<MemberId>,
        parity: usize,
        request: impl Fn(u8) -> Request,
        acknowledged: impl Fn(u8, MemberId),
    ) -> Result<(), Error> {
        let nodes = &self.0.nodes;
        let is_over = |farewell: &Farewell<MemberId>| farewell.is_over(|it| nodes.may_count(it));
        let mut asking: FuturesUnordered<_> = farewell
            .left()
            .map(|(index, member)| {
                let request = request(index);
                async move { (index, member, nodes.ask(member, request).await) }
            })
            .collect();
        let mut changes = nodes.roster_changes();
        let mut patience = Patience::new(clock::now());
        while !is_over(&farewell) {
            let end = patience.ends(farewell.left().count(), parity);
            tokio::select! {
                biased;
                Some((index, member, reply)) = asking.next() => {
                    if is_gone(&reply) {
                        patience.heard(clock::now());
                        farewell.acknowledged(index, member);
                        acknowledged(index, member);
                    }
                }
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if patience.is_over(clock::now(), end) {
                        break;
                    }
                }
            }
        }
        if is_over(&farewell) {
            return Ok(());
        }
        let silent: Vec<MemberId> = farewell.left().map(|(_, member)| member).collect();
        debug!(?silent, "members do not acknowledge a change");
        let now = clock::now();
        silent
            .iter()
            .for_each(|member| self.0.health.was_late(*member, now));
        match nodes.expel(&silent).await || is_over(&farewell) {
            true => Ok(()),
            false => Err(UNKNOWN),
        }
    }

    /// Waits until no earlier value of a key can be found any more.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn settle(&self, key: &[u8]) -> Result<(), Error> {
        let Some(of_key) = self.0.partings.of(key) else {
            return Ok(());
        };
        let mut changes = self.0.nodes.roster_changes();
        let mut patience = Patience::new(clock::now());
        loop {
            let mut acknowledged = std::pin::pin!(of_key.acknowledgements().notified());
            acknowledged.as_mut().enable();
            if self.conclude(&of_key) {
                return Ok(());
            }
            let end = patience.ends(of_key.left().len(), self.0.settings.code.parity());
            tokio::select! {
                biased;
                () = acknowledged => {}
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if patience.is_over(clock::now(), end) {
                        break;
                    }
                }
            }
        }
        self.give_up_waiting(&of_key).await
    }

    /// Expels who has not let go of a key's old values.
    pub(crate) async fn give_up_waiting(&self, of_key: &OfKey) -> Result<(), Error> {
        let expelled = self.0.nodes.expel(&of_key.left()).await;
        match self.conclude(of_key) || expelled {
            true => Ok(()),
            false => Err(UNKNOWN),
        }
    }

    /// A member let go of a chunk.
    pub(crate) fn let_go(&self, chunk: ChunkId, member: MemberId) {
        let may_count = |member| self.0.nodes.may_count(member);
        self.0.partings.acknowledged(chunk, member, may_count);
    }

    fn conclude(&self, of_key: &OfKey) -> bool {
        let may_count = |member| self.0.nodes.may_count(member);
        self.0.partings.conclude(of_key, may_count)
    }

    /// That a change is in force, as far as another run of the proxy is concerned. Most members may
    /// just have said goodbye, and the others be about to vouch for this run.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there may be one by now.
    pub(super) async fn still_in_charge(&self) -> Result<(), Error> {
        if fail_point("lease_again") {
            return Ok(());
        }
        let in_charge = self.0.nodes.until_may_answer();
        let in_time = time::timeout(OUT_OF_TOUCH, in_charge).await;
        in_time.map_err(|_| UNKNOWN)
    }
}

/// A value whose members were asked to let go of it; if nobody waits for their answers, it is
/// remembered as being on its way out.
struct Unheard<'a> {
    cache: &'a Cache,
    object: &'a Object,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        self.cache.begin_farewell(self.object);
    }
}

/// Whether a member has made a change: whoever does not know the chunk does not hold it.
fn is_gone(reply: &Option<Reply>) -> bool {
    matches!(reply, Some(Reply::Done { .. } | Reply::NotFound))
}

/// For how long a change waits for a majority of the members to vouch for this run.
const OUT_OF_TOUCH: Duration = Duration::from_secs(1);

/// What the client is told of a change that may or may not outlive this run of the proxy.
const UNKNOWN: Error = Error::TimedOut("members did not acknowledge: the outcome is unknown");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::OneNode;

    #[tokio::test]
    async fn nothing_is_remembered_of_a_small_value_that_its_members_let_go_of_at_once() {
        let node = OneNode::new().await;
        let object = node.object(100);
        let retired = node.cache.retire(&object, "replaced", Ending::Freed);
        retired.await.unwrap();
        assert_eq!(node.cache.partings().len(), 0);
        assert_eq!(object.members(), [None, None]);
    }

    #[tokio::test]
    async fn a_value_is_remembered_if_nobody_waits_until_its_members_have_let_go_of_it() {
        let node = OneNode::new().await;
        let object = node.object(100);
        node.pool.fall_silent();
        {
            let retiring = node.cache.retire(&object, "replaced", Ending::Freed);
            let retiring = std::pin::pin!(retiring);
            assert!(futures_util::poll!(retiring).is_pending());
        }
        let of_key = node.cache.partings().of(b"key").unwrap();
        assert_eq!(of_key.left(), [node.member]);
    }
}

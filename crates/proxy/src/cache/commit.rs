//! A write becomes the value of its key, or leaves no trace.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_engine::{CommitOutcome, Error, Expiry, Terms};
use infinicache_erasure::{Code, Geometry};
use infinicache_host::{clock, fail_point, stall_point};
use infinicache_membership::{finish_round::FinishRound, label, quorum_timeout::CALL_TIMEOUT};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, Version, WriteId, inventory};
use tokio::time;
use tracing::debug;

use super::{Cache, delete::ChunkDisposal};
use crate::{
    capacity::open_writes::OpenWrite,
    gc_queue::GcTask,
    metadata::catalog::{ChunkReclaimer, Object, ObjectRef},
    pool::member::Member,
};

/// What a write is to become.
#[derive(Debug)]
pub(super) struct CommitRecord {
    pub(super) geometry: Geometry,
    pub(super) version: Version,
    /// Milliseconds since 1970.
    expires_at: Option<u64>,
}

impl CommitRecord {
    /// What its members are to keep with its chunks.
    pub(super) fn label(&self, key: &[u8]) -> Bytes {
        let expiry = inventory::Expiry {
            sequence: 0,
            at_ms: self.expires_at.unwrap_or(0),
        };
        label::encode(key, &self.geometry, self.version, expiry)
    }
}

impl Cache {
    /// Decides a commit, one at a time for each key; if it may only take the place of one object,
    /// that has to be the value of the key still.
    pub(super) async fn commit_in_turn(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
        place_of: Option<&Arc<Object>>,
    ) -> Result<CommitOutcome<ObjectRef>, Error> {
        let write = self.0.open_writes.get(write).ok_or(Error::NoWrite)?;
        if size > self.0.settings.max_object_bytes || write.size.is_some_and(|told| told != size) {
            self.give_up(write.id);
            return Err(Error::Refused(
                "the value is not as long as it may be".into(),
            ));
        }
        write.touch();
        if write.state().evicted_own && !terms.are_blind() {
            self.give_up(write.id);
            let text = "the value before made room for this one, whose terms depend on it";
            return Err(Error::OutOfMemory(text.into()));
        }

        let _turn = self.0.key_locks.lock(&write.key).await;
        let current = self.find(&write.key);
        let is_current = |object: &Arc<Object>| {
            let current = current.as_ref();
            current.is_some_and(|ObjectRef(current)| Arc::ptr_eq(current, object))
        };
        if !terms.hold(current.is_some()) || !place_of.is_none_or(is_current) {
            self.give_up(write.id);
            // An earlier attempt may have come as far as to be found.
            self.close_aborted(&write).await?;
            // And a later run may know another value.
            self.confirm_lease().await?;
            return Ok(CommitOutcome::ConditionFailed { current });
        }
        let commit_record = self.commit_record(size, write.code, terms, current.as_ref());
        drop(current);
        let label = commit_record.label(&write.key);
        let members = write.state().members.clone();
        // Whose chunks do not count cannot be relied on.
        let mut incomplete: Vec<u8> = (0u8..)
            .zip(&members)
            .filter(|(_, member)| !self.0.nodes.counts(member))
            .map(|(index, _)| index)
            .collect();
        if incomplete.is_empty() {
            write.state().finishing = true;
            let finish = |chunk: ChunkId| Request::Finish {
                chunk,
                units: commit_record.geometry.chunk_units(usize::from(chunk.index)),
                label: label.clone(),
            };
            incomplete = self.complete(&write, &members, finish).await?;
        }
        if !incomplete.is_empty() {
            debug!(write = %write.id, ?incomplete, "members did not complete their chunks");
            return Ok(CommitOutcome::Incomplete(incomplete));
        }

        stall_point().await;
        let replaced = self.install(write.id, &commit_record, &members)?;
        self.supersede_earlier(&write.key, replaced.as_ref(), terms.previous)
            .await?;
        let is_value = |it: &Arc<Object>| terms.previous && !it.is_expired(self.now_ms());
        let previous = replaced.filter(is_value);
        Ok(CommitOutcome::Stored {
            version: commit_record.version,
            previous: previous.map(ObjectRef),
        })
    }

    /// What a write is to become, by its terms and the value that is there now.
    pub(super) fn commit_record(
        &self,
        size: u64,
        code: Code,
        terms: &Terms,
        current: Option<&ObjectRef>,
    ) -> CommitRecord {
        CommitRecord {
            geometry: Geometry::new(size, code),
            version: Version {
                epoch: self.0.settings.epoch.get(),
                counter: self.0.next_commit(),
            },
            expires_at: match terms.expiry {
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
                Expiry::After(ttl_ms) => Some(self.now_ms().saturating_add(ttl_ms)),
                Expiry::Keep => current.and_then(|found| found.0.expires_at()),
            },
        }
    }

    /// Makes a write the value of its key, now that `members` have completed its chunks; returns
    /// the value that was.
    ///
    /// Nothing waits here: either all of it happens or none.
    pub(super) fn install(
        &self,
        write: WriteId,
        commit_record: &CommitRecord,
        members: &[Arc<Member>],
    ) -> Result<Option<Arc<Object>>, Error> {
        let write = self.0.open_writes.close(write).ok_or(Error::NoWrite)?;
        let object = Object::new(
            write.key.as_ref().into(),
            write.id,
            commit_record.version,
            commit_record.geometry,
            members.iter().map(|member| member.id).collect(),
            commit_record.expires_at,
            self.0.reclaimer.clone(),
        );
        self.return_unused(&write, &object);
        let replaced = self.0.catalog.insert(object.clone());
        // A member may have been lost between its answer and now, or be about to go.
        for member in members {
            self.follow_draining(&object, member);
            if self.0.nodes.member(member.id).is_none() {
                object.lose(member.id);
                self.0.reclaimer.repair(object.clone());
            }
        }
        Ok(replaced)
    }

    /// Returns once no earlier value of a key can be found any more: what was replaced, of which
    /// the chunks stay if it is still `wanted`, and what was removed before.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it is not known whether that is so.
    pub(super) async fn supersede_earlier(
        &self,
        key: &[u8],
        replaced: Option<&Arc<Object>>,
        wanted: bool,
    ) -> Result<(), Error> {
        match replaced {
            Some(replaced) => {
                let disposal = match wanted {
                    true => ChunkDisposal::Dead,
                    false => ChunkDisposal::of(replaced),
                };
                self.delete_chunks(replaced, "replaced", disposal).await?;
            }
            None => self.until_deletes_are_done(key).await?,
        }
        self.confirm_lease().await
    }

    /// Has every member complete its chunk, as `request` asks it to; those that did not.
    ///
    /// A member that does not say is removed: its chunk may be complete, and must not be found.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it could not be.
    pub(super) async fn complete(
        &self,
        write: &OpenWrite,
        members: &[Arc<Member>],
        request: impl Fn(ChunkId) -> Request,
    ) -> Result<Vec<u8>, Error> {
        let chunk = |index: usize| ChunkId {
            write: write.id,
            index: index as u8,
        };
        if write.code.data() == 1 {
            let asked = members.iter().enumerate();
            let asked = asked.map(|(index, member)| (member.id, request(chunk(index))));
            let at_once = self.0.nodes.ask_at_once(asked).await;
            let is_done = |reply: &Option<Reply>| matches!(reply, Some(Reply::Done { .. }));
            if at_once.len() == members.len() && at_once.iter().all(is_done) {
                return Ok(Vec::new());
            }
        }

        let parity = write.code.parity();
        let mut finishing = FinishRound::new(members.len(), parity, clock::now());
        let mut answers: FuturesUnordered<_> = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let request = request(chunk(index));
                async move { (index, self.0.nodes.ask(member.id, request).await) }
            })
            .collect();
        // Of them the view has to be rid.
        let mut gone = Vec::new();
        while let Some(deadline) = finishing.deadline() {
            match time::timeout_at(deadline.into(), answers.next()).await {
                Ok(Some((index, reply))) => {
                    let complete = matches!(reply, Some(Reply::Done { .. }));
                    finishing.answered(index, complete, clock::now());
                    gone.extend(reply.is_none().then_some(members[index].id));
                }
                Ok(None) => break,
                Err(_) if fail_point("own_pauses") => break,
                Err(_) if finishing.is_over(clock::now(), deadline) => break,
                Err(_) => {}
            }
        }
        let silent: Vec<MemberId> = finishing
            .silent()
            .map(|index| members[usize::from(index)].id)
            .collect();
        let rid = self.0.nodes.until_gone(&gone);
        let is_rid = time::timeout(CALL_TIMEOUT, rid).await.is_ok();
        match is_rid && self.0.nodes.remove_silent(&silent).await {
            true => Ok(finishing.incomplete()),
            false => Err(Error::TimedOut("members did not complete the write")),
        }
    }

    /// A write that is given up is gone for good.
    async fn close_aborted(&self, write: &OpenWrite) -> Result<(), Error> {
        let was_finishing = write.state().finishing;
        match was_finishing {
            true => self.until_deletes_are_done(&write.key).await,
            false => Ok(()),
        }
    }

    /// What was taken ahead is given back; what the object takes stays.
    fn return_unused(&self, write: &OpenWrite, object: &Object) {
        let mut state = write.state();
        let taken = std::mem::take(&mut state.taken);
        for (index, member) in state.members.iter().enumerate() {
            member.take(object.footprint(index));
            member.give_back(taken);
            member.count_chunk(true);
        }
        self.free_replaced(write.id, &state.replaced);
    }

    /// Frees all that a write that is given up has sent.
    pub(super) fn release(&self, write: &OpenWrite) {
        let mut state = write.state();
        if state.finishing && !fail_point("given_up_is_removed") {
            let holders = (0u8..).zip(state.members.iter().map(|member| member.id));
            let data = write.code.data();
            self.add_tombstone(&write.key, write.id, data, holders);
        }
        let taken = std::mem::take(&mut state.taken);
        for (index, member) in state.members.iter().enumerate() {
            member.give_back(taken);
            let chunk = ChunkId {
                write: write.id,
                index: index as u8,
            };
            self.0.reclaimer.push(GcTask::Free(chunk, member.id));
        }
        self.free_replaced(write.id, &state.replaced);
    }

    fn free_replaced(&self, write: WriteId, replaced: &[(u8, Arc<Member>)]) {
        for (index, member) in replaced {
            let chunk = ChunkId {
                write,
                index: *index,
            };
            // It was not completed, or its member does not count any more.
            self.0.reclaimer.push(GcTask::Free(chunk, member.id));
        }
    }
}

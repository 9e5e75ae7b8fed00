//! A write becomes the value of its key, or leaves no trace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use infinicache_engine::{CommitOutcome, Error, Expiry, Terms};
use infinicache_erasure::{Code, Geometry};
use infinicache_host::stall_point;
use infinicache_membership::{
    Epoch, finish_quorum::FinishQuorum, label, quorum_timeout::CALL_TIMEOUT,
};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, Version, WriteId, inventory};
use tokio::time;
use tracing::debug;

use super::{
    chunk_holders::ChunkHolders,
    delete::{ChunkDisposal, Deletes},
    open::Writes,
    quorum_call::{Quorum, QuorumCaller},
};
use crate::{
    capacity::open_writes::OpenWrite,
    gc_queue::GcQueue,
    metadata::{
        Metadata,
        catalog::{ChunkReclaimer, Object, ObjectRef, expiration::Expiration},
    },
    pool::{Members, Membership, member::Member},
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

/// Commits writes: each becomes the value of its key, or leaves no trace.
pub(super) struct Commits {
    pub(super) metadata: Arc<Metadata>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) writes: Writes,
    pub(super) deletes: Deletes,
    pub(super) holders: ChunkHolders,
    pub(super) quorum: QuorumCaller,
    pub(super) reclaimer: Arc<GcQueue>,
    pub(super) epoch: Epoch,
    /// The number of the last commit.
    pub(super) last: AtomicU64,
}

impl Commits {
    /// Decides a commit, one at a time for each key; if it may only take the place of one object,
    /// that has to be the value of the key still.
    pub(super) async fn commit_in_turn(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
        place_of: Option<&Arc<Object>>,
    ) -> Result<CommitOutcome<ObjectRef>, Error> {
        let write = self.writes.open().get(write).ok_or(Error::NoWrite)?;
        if size > self.writes.max_object_bytes || write.size.is_some_and(|told| told != size) {
            self.writes.give_up(write.id);
            return Err(Error::Refused(
                "the value is not as long as it may be".into(),
            ));
        }
        write.touch();
        if write.state().evicted_own && !terms.are_blind() {
            self.writes.give_up(write.id);
            let text = "the value before made room for this one, whose terms depend on it";
            return Err(Error::OutOfMemory(text.into()));
        }

        let _turn = self.metadata.key_locks.lock(&write.key).await;
        let current = self.metadata.find(&write.key);
        let is_current = |object: &Arc<Object>| {
            let current = current.as_ref();
            current.is_some_and(|ObjectRef(current)| Arc::ptr_eq(current, object))
        };
        if !terms.hold(current.is_some()) || !place_of.is_none_or(is_current) {
            self.writes.give_up(write.id);
            // An earlier attempt may have come as far as to be found.
            self.close_aborted(&write).await?;
            // And a later run may know another value.
            self.quorum.confirm_lease().await?;
            return Ok(CommitOutcome::ConditionFailed { current });
        }
        let commit_record = self.commit_record(size, write.code, terms, current.as_ref());
        drop(current);
        let label = commit_record.label(&write.key);
        let members = write.state().members.clone();
        // Whose chunks do not count cannot be relied on.
        let mut incomplete: Vec<u8> = (0u8..)
            .zip(&members)
            .filter(|(_, member)| !self.membership.counts(member))
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
        let is_value =
            |it: &Arc<Object>| terms.previous && !it.expiration().is_over(self.metadata.now_ms());
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
                epoch: self.epoch.get(),
                counter: self.last.fetch_add(1, Relaxed) + 1,
            },
            expires_at: match terms.expiry {
                Expiry::Never => None,
                Expiry::At(at) => Some(at),
                Expiry::After(ttl_ms) => Some(self.metadata.now_ms().saturating_add(ttl_ms)),
                Expiry::Keep => current.and_then(|found| found.0.expiration().at_ms()),
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
        let write = self.writes.open().close(write).ok_or(Error::NoWrite)?;
        let object = Object::new(
            write.key.as_ref().into(),
            write.id,
            commit_record.version,
            commit_record.geometry,
            members.iter().map(|member| member.id).collect(),
            Expiration::new(commit_record.expires_at, 0),
            self.reclaimer.clone(),
        );
        self.writes.return_unused(&write, &object);
        let replaced = self.metadata.catalog.insert(object.clone());
        // A member may have been lost between its answer and now, or be about to go.
        for member in members {
            self.holders.follow_draining(&object, member);
            if self.members.get(member.id).is_none() {
                object.lose(member.id);
                self.reclaimer.repair(object.clone());
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
                let disposal = if wanted {
                    ChunkDisposal::Dead
                } else {
                    ChunkDisposal::of(replaced)
                };
                self.deletes.delete(replaced, "replaced", disposal).await?;
            }
            None => self.deletes.until_done(key).await?,
        }
        self.quorum.confirm_lease().await
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
        let request = |index| {
            request(ChunkId {
                write: write.id,
                index,
            })
        };
        let mut finish = Finish {
            members,
            quorum: FinishQuorum::new(members.len()),
            gone: Vec::new(),
        };
        if write.code.data() == 1 {
            self.quorum.call_at_once(request, &mut finish).await;
        }
        let spare = write.code.parity();
        self.quorum.call(spare, request, &mut finish).await;
        let incomplete = finish.quorum.incomplete();
        if incomplete.is_empty() {
            return Ok(incomplete);
        }
        let gone = self.membership.until_gone(&finish.gone);
        let are_gone = time::timeout(CALL_TIMEOUT, gone).await.is_ok();
        if are_gone && self.quorum.remove_silent(&finish).await {
            Ok(incomplete)
        } else {
            Err(Error::TimedOut("members did not complete the write"))
        }
    }

    /// A write that is given up is gone for good.
    async fn close_aborted(&self, write: &OpenWrite) -> Result<(), Error> {
        let was_finishing = write.state().finishing;
        if was_finishing {
            self.deletes.until_done(&write.key).await?;
        }
        Ok(())
    }
}

/// Members are asked to complete their chunks of a write.
struct Finish<'a> {
    members: &'a [Arc<Member>],
    quorum: FinishQuorum,
    /// Members that the view has to be rid of.
    gone: Vec<MemberId>,
}

impl Quorum for Finish<'_> {
    fn answered(&mut self, index: u8, member: MemberId, reply: Option<&Reply>) -> bool {
        let is_complete = matches!(reply, Some(Reply::Done { .. }));
        self.quorum.answered(index, is_complete);
        self.gone.extend(reply.is_none().then_some(member));
        true
    }

    fn outstanding(&self) -> Vec<(u8, MemberId)> {
        let silent = self.quorum.silent();
        silent
            .map(|index| (index, self.members[usize::from(index)].id))
            .collect()
    }

    fn is_reached(&self, _: &Membership) -> bool {
        self.quorum.silent().next().is_none()
    }
}

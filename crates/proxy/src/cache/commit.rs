//! A write becomes the value of its key, or leaves no trace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_client::{Commit, Condition, Error, Expiry, NodeLink, Terms};
use infinicache_erasure::Geometry;
use infinicache_wire::{ChunkId, Reply, Request, Version, WriteId};
use tokio::time;
use tracing::debug;

use super::Cache;
use crate::{
    catalog::{Found, Keeper, Object},
    house::Chore,
    label,
    nodes::member::Member,
    tenure::finishing::Finishing,
    writes::OpenWrite,
};

/// How long a member may take to complete a chunk that is rebuilt.
const FINISH_DEADLINE: Duration = Duration::from_secs(5);

impl Cache {
    /// Decides a commit, one at a time for each key.
    pub(super) async fn decide(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<Commit<Found>, Error> {
        let write = self.0.writes.get(write).ok_or(Error::NoWrite)?;
        if size > self.0.settings.max_object_bytes || write.size.is_some_and(|told| told != size) {
            self.give_up(write.id);
            return Err(Error::Refused(
                "the value is not as long as it may be".into(),
            ));
        }
        write.touch();

        let _turn = self.0.turns.take(&write.key).await;
        let current = self.find(&write.key);
        let holds = match terms.condition {
            None => true,
            Some(Condition::Absent) => current.is_none(),
            Some(Condition::Present) => current.is_some(),
        };
        if !holds {
            self.give_up(write.id);
            return Ok(Commit::ConditionFailed { current });
        }
        let expires_at = match terms.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
            Expiry::Keep => current.and_then(|found| found.0.expires_at()),
        };

        let geometry = Geometry::new(size, write.code);
        let version = Version {
            epoch: self.0.settings.epoch,
            counter: self.0.next_commit(),
        };
        let label = label::encode(&write.key, &geometry, version, expires_at);
        let members = write.state().members.clone();
        let incomplete = self.complete(&write, &geometry, &members, label).await;
        if !incomplete.is_empty() {
            debug!(write = %write.id, ?incomplete, "members did not complete their chunks");
            return Ok(Commit::Incomplete(incomplete));
        }

        // From here on nothing waits: either all of this happens or none.
        let write = self.0.writes.close(write.id).ok_or(Error::NoWrite)?;
        let object = Object::new(
            write.key.as_ref().into(),
            write.id,
            version,
            geometry,
            members.iter().map(|member| member.id).collect(),
            expires_at,
            self.0.keeper.clone(),
        );
        self.settle_room(&write, &object);
        let replaced = self.0.catalog.insert(object.clone());
        // A member may have been lost between its Finish and now.
        for member in members
            .iter()
            .filter(|member| self.0.nodes.member(member.id).is_none())
        {
            object.lose(member.id);
            self.0.keeper.repair(object.clone());
        }
        let Some(replaced) = replaced else {
            return Ok(Commit::Stored {
                version,
                previous: None,
            });
        };
        self.retire(&replaced, "replaced").await;
        let is_value = !replaced.is_expired(super::now_ms());
        Ok(Commit::Stored {
            version,
            previous: is_value.then_some(Found(replaced)),
        })
    }

    /// Has every member complete its chunk; those that did not, or not in time.
    async fn complete(
        &self,
        write: &OpenWrite,
        geometry: &Geometry,
        members: &[Arc<Member>],
        label: Bytes,
    ) -> Vec<u8> {
        let parity = write.code.parity();
        let mut finishing = Finishing::new(members.len(), parity, Instant::now());
        let mut answers: FuturesUnordered<_> = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let request = Request::Finish {
                    chunk: ChunkId {
                        write: write.id,
                        index: index as u8,
                    },
                    units: geometry.chunk_units(index),
                    label: label.clone(),
                };
                async move { (index, finish(member, request).await) }
            })
            .collect();
        while let Some(deadline) = finishing.deadline() {
            match time::timeout_at(deadline.into(), answers.next()).await {
                Ok(Some((index, complete))) => {
                    finishing.answered(index, complete, Instant::now());
                }
                Ok(None) | Err(_) => break,
            }
        }
        finishing.incomplete()
    }

    /// What was taken ahead is given back; what the object takes stays.
    fn settle_room(&self, write: &OpenWrite, object: &Object) {
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
        let taken = std::mem::take(&mut state.taken);
        for (index, member) in state.members.iter().enumerate() {
            member.give_back(taken);
            let chunk = ChunkId {
                write: write.id,
                index: index as u8,
            };
            self.0.keeper.leave(Chore::Free(chunk, member.id));
        }
        self.free_replaced(write.id, &state.replaced);
    }

    fn free_replaced(&self, write: WriteId, replaced: &[(u8, Arc<Member>)]) {
        for (index, member) in replaced {
            let chunk = ChunkId {
                write,
                index: *index,
            };
            self.0.keeper.leave(Chore::Free(chunk, member.id));
        }
    }
}

/// Whether a member completed its chunk.
async fn finish(member: &Member, request: Request) -> bool {
    match member.link() {
        Some(link) => matches!(link.call(request).await, Reply::Done { .. }),
        None => false,
    }
}

/// Whether a member completed a rebuilt chunk in time.
pub(crate) async fn finish_rebuilt(member: &Member, request: Request) -> bool {
    let finished = time::timeout(FINISH_DEADLINE, finish(member, request)).await;
    finished.unwrap_or(false)
}

//! What objects leave behind to be done.
//!
//! Chunks that are to go wait by member, objects to be repaired or moved by their write. A task
//! that waits already is not queued again. There are at most as many objects as the metadata has, but
//! a member that is slow to let go of chunks could be owed any number: beyond a bound the proxy
//! forgets them, and reconciles the member instead, which finds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use infinicache_wire::{ChunkId, MemberId, WriteId};
use tokio::sync::Notify;

use crate::{
    metadata::catalog::{ChunkReclaimer, Object},
    metadata::tombstones::Tombstones,
    pool::Members,
};

/// Chunks of a member that may wait.
const MOST_CHUNKS: usize = 1 << 16;

/// Work that can wait a moment.
#[derive(Debug)]
pub(crate) enum GcTask {
    /// Tell a member to let go of a chunk.
    Free(ChunkId, MemberId),
    /// Tell a member that a chunk is dead, though a client still reads it.
    Delete(ChunkId, MemberId),
    /// Compare what a member holds with the metadata: too much of it was to go.
    Reconcile(MemberId),
    /// Rebuild what an object lacks.
    Repair(Arc<Object>),
    /// Move what an object has on members that are about to go.
    Evacuate(Arc<Object>),
}

/// Keeps the books at once, and queues the rest as tasks.
pub(crate) struct GcQueue {
    members: Arc<Members>,
    tombstones: Arc<Tombstones>,
    waiting: Mutex<WaitingTasks>,
    pushed: Notify,
}

impl GcQueue {
    pub(crate) fn new(members: Arc<Members>, tombstones: Arc<Tombstones>) -> Self {
        Self {
            members,
            tombstones,
            waiting: Mutex::default(),
            pushed: Notify::new(),
        }
    }

    /// Never waits, as objects are dropped anywhere.
    pub(crate) fn push(&self, task: GcTask) {
        self.waiting().push(task);
        self.pushed.notify_one();
    }

    /// Waits for a task, and takes it. For one who does them.
    pub(crate) async fn next(&self) -> GcTask {
        loop {
            if let Some(task) = self.take() {
                return task;
            }
            self.pushed.notified().await;
        }
    }

    pub(crate) fn take(&self) -> Option<GcTask> {
        self.waiting().take()
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingTasks> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a chunk goes: the second has all that the first has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChunkRelease {
    Delete,
    Free,
}

#[derive(Default)]
struct WaitingTasks {
    /// None is empty.
    chunks: BTreeMap<MemberId, BTreeMap<ChunkId, ChunkRelease>>,
    /// Of which member a chunk was taken last: they take turns.
    last: Option<MemberId>,
    overrun: BTreeSet<MemberId>,
    to_repair: BTreeMap<WriteId, Arc<Object>>,
    to_evacuate: BTreeMap<WriteId, Arc<Object>>,
}

impl WaitingTasks {
    fn push(&mut self, task: GcTask) {
        match task {
            GcTask::Free(chunk, member) => self.release(chunk, member, ChunkRelease::Free),
            GcTask::Delete(chunk, member) => self.release(chunk, member, ChunkRelease::Delete),
            GcTask::Reconcile(member) => {
                self.chunks.remove(&member);
                self.overrun.insert(member);
            }
            GcTask::Repair(object) => {
                self.to_repair.insert(object.write(), object);
            }
            GcTask::Evacuate(object) => {
                self.to_evacuate.insert(object.write(), object);
            }
        }
    }

    fn release(&mut self, chunk: ChunkId, member: MemberId, how: ChunkRelease) {
        let chunks = self.chunks.entry(member).or_default();
        let waiting = chunks.entry(chunk).or_insert(how);
        *waiting = how.max(*waiting);
        if chunks.len() > MOST_CHUNKS {
            self.push(GcTask::Reconcile(member));
        }
    }

    fn take(&mut self) -> Option<GcTask> {
        if let Some((_, object)) = self.to_repair.pop_first() {
            return Some(GcTask::Repair(object));
        }
        if let Some((_, object)) = self.to_evacuate.pop_first() {
            return Some(GcTask::Evacuate(object));
        }
        if let Some(member) = self.overrun.pop_first() {
            return Some(GcTask::Reconcile(member));
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.chunks.range((after, Bound::Unbounded)).next();
        let (&member, _) = next.or_else(|| self.chunks.first_key_value())?;
        self.last = Some(member);
        let chunks = self.chunks.get_mut(&member)?;
        let (chunk, how) = chunks.pop_first()?;
        if chunks.is_empty() {
            self.chunks.remove(&member);
        }
        Some(match how {
            ChunkRelease::Free => GcTask::Free(chunk, member),
            ChunkRelease::Delete => GcTask::Delete(chunk, member),
        })
    }
}

impl ChunkReclaimer for GcQueue {
    fn retired(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.members.get(member) {
            member.memory.retire(bytes);
        }
    }

    fn unretired(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.members.get(member) {
            member.memory.unretire(bytes);
        }
    }

    fn free(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        self.freed(member, bytes);
        self.push(GcTask::Free(chunk, member));
    }

    fn freed(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.members.get(member) {
            member.memory.free_retired(bytes);
            member.memory.count_chunk(false);
        }
    }

    fn abandon(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        self.tombstones.orphan(chunk, member);
        if let Some(member) = self.members.get(member) {
            member.memory.give_back(bytes);
            member.memory.count_chunk(false);
        }
        self.push(GcTask::Free(chunk, member));
    }

    fn repair(&self, object: Arc<Object>) {
        self.push(GcTask::Repair(object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::catalog::fixture;

    const ONE: MemberId = MemberId(1);
    const OTHER: MemberId = MemberId(2);

    fn chunk(sequence: u64) -> ChunkId {
        let write = WriteId { epoch: 1, sequence };
        ChunkId { write, index: 0 }
    }

    /// All that waits, in words.
    fn all(tasks: &mut WaitingTasks) -> Vec<String> {
        let name = |task| match task {
            GcTask::Free(chunk, member) => format!("free {} {}", chunk.write.sequence, member.0),
            GcTask::Delete(chunk, member) => {
                format!("delete {} {}", chunk.write.sequence, member.0)
            }
            GcTask::Reconcile(member) => format!("reconcile {}", member.0),
            GcTask::Repair(_) => "repair".into(),
            GcTask::Evacuate(_) => "evacuate".into(),
        };
        std::iter::from_fn(|| tasks.take()).map(name).collect()
    }

    #[test]
    fn what_waits_already_is_not_done_twice_and_members_take_turns() {
        let mut tasks = WaitingTasks::default();
        let object = fixture::object("key", 2048, (2, 2), None);
        for _ in 0..3 {
            tasks.push(GcTask::Free(chunk(1), ONE));
            tasks.push(GcTask::Delete(chunk(1), ONE));
            tasks.push(GcTask::Delete(chunk(2), ONE));
            tasks.push(GcTask::Delete(chunk(3), OTHER));
            tasks.push(GcTask::Repair(object.clone()));
            tasks.push(GcTask::Evacuate(object.clone()));
        }
        let expected = ["repair", "evacuate", "free 1 1", "delete 3 2", "delete 2 1"];
        assert_eq!(all(&mut tasks), expected);
    }

    #[test]
    fn a_member_that_is_owed_too_much_is_asked_what_it_holds_and_others_are_not() {
        let mut tasks = WaitingTasks::default();
        tasks.push(GcTask::Free(chunk(0), OTHER));
        for sequence in 0..=MOST_CHUNKS as u64 {
            tasks.push(GcTask::Free(chunk(sequence), ONE));
        }
        tasks.push(GcTask::Free(chunk(0), ONE));
        let expected = ["reconcile 1", "free 0 1", "free 0 2"];
        assert_eq!(all(&mut tasks), expected);
    }
}

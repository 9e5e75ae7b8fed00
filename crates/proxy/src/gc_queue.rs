//! What objects leave behind to be done.

use std::sync::Arc;

use infinicache_wire::{ChunkId, MemberId};
use tokio::sync::mpsc;

use crate::{
    metadata::catalog::{ChunkReclaimer, Object},
    metadata::tombstones::Tombstones,
    pool::Nodes,
};

/// Work that can wait a moment.
#[derive(Debug)]
pub(crate) enum GcTask {
    /// Tell a member to let go of a chunk.
    Free(ChunkId, MemberId),
    /// Tell a member that a chunk is dead, though a client still reads it.
    Delete(ChunkId, MemberId),
    /// Rebuild what an object lacks.
    Repair(Arc<Object>),
    /// Move what an object has on members that are about to go.
    Evacuate(Arc<Object>),
}

/// Keeps the books at once, and queues the rest as tasks.
///
/// Tasks are at most one for each chunk there was, so their queue is bounded by the metadata.
pub(crate) struct GcQueue {
    nodes: Nodes,
    tombstones: Arc<Tombstones>,
    gc_tasks: mpsc::UnboundedSender<GcTask>,
}

impl GcQueue {
    pub(crate) fn new(
        nodes: Nodes,
        tombstones: Arc<Tombstones>,
        gc_tasks: mpsc::UnboundedSender<GcTask>,
    ) -> Self {
        Self {
            nodes,
            tombstones,
            gc_tasks,
        }
    }

    pub(crate) fn push(&self, task: GcTask) {
        // No task is done any more once the proxy stops.
        let _ = self.gc_tasks.send(task);
    }
}

impl ChunkReclaimer for GcQueue {
    fn retired(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.nodes.member(member) {
            member.retire(bytes);
        }
    }

    fn unretired(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.nodes.member(member) {
            member.unretire(bytes);
        }
    }

    fn free(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        self.freed(member, bytes);
        self.push(GcTask::Free(chunk, member));
    }

    fn freed(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.nodes.member(member) {
            member.free_retired(bytes);
            member.count_chunk(false);
        }
    }

    fn abandon(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        self.tombstones.orphan(chunk, member);
        if let Some(member) = self.nodes.member(member) {
            member.give_back(bytes);
            member.count_chunk(false);
        }
        self.push(GcTask::Free(chunk, member));
    }

    fn repair(&self, object: Arc<Object>) {
        self.push(GcTask::Repair(object));
    }
}

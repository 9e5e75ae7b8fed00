//! What objects leave behind to be done.

use std::sync::Arc;

use infinicache_wire::{ChunkId, MemberId};
use tokio::sync::mpsc;

use crate::{
    catalog::{Keeper, Object},
    nodes::Nodes,
    partings::Partings,
};

/// Work that can wait a moment.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Tell a member to let go of a chunk.
    Free(ChunkId, MemberId),
    /// Tell a member that a chunk is dead, though somebody still reads it.
    Delete(ChunkId, MemberId),
    /// Rebuild what an object lacks.
    Repair(Arc<Object>),
    /// Move what an object has on members that are about to go.
    Evacuate(Arc<Object>),
}

/// Keeps the books at once, and leaves the rest as chores.
///
/// Chores are at most one for each chunk there was, so their queue is bounded by the metadata.
pub(crate) struct Housekeeper {
    nodes: Nodes,
    partings: Arc<Partings>,
    chores: mpsc::UnboundedSender<Chore>,
}

impl Housekeeper {
    pub(crate) fn new(
        nodes: Nodes,
        partings: Arc<Partings>,
        chores: mpsc::UnboundedSender<Chore>,
    ) -> Self {
        Self {
            nodes,
            partings,
            chores,
        }
    }

    pub(crate) fn leave(&self, chore: Chore) {
        // Nobody does chores any more once the proxy stops.
        let _ = self.chores.send(chore);
    }
}

impl Keeper for Housekeeper {
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
        self.leave(Chore::Free(chunk, member));
    }

    fn freed(&self, member: MemberId, bytes: u64) {
        if let Some(member) = self.nodes.member(member) {
            member.free_retired(bytes);
            member.count_chunk(false);
        }
    }

    fn abandon(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        self.partings.stray(chunk, member);
        if let Some(member) = self.nodes.member(member) {
            member.give_back(bytes);
            member.count_chunk(false);
        }
        self.leave(Chore::Free(chunk, member));
    }

    fn repair(&self, object: Arc<Object>) {
        self.leave(Chore::Repair(object));
    }
}

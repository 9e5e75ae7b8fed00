//! Writes that are open: begun, but neither committed nor given up.
//!
//! Each holds room on its members for the part of the value that may have been
//! sent. One that no client goes on with is aborted after a while.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_erasure::{Code, Geometry};
use infinicache_host::{
    clock,
    hash::{DashMap, dash_map},
};
use infinicache_membership::{Epoch, label};
use infinicache_wire::{MemberId, WriteId, footprint};

use crate::pool::member::Member;

/// A write that no client goes on with for this long is aborted.
pub(crate) const IDLE_DEADLINE: Duration = Duration::from_secs(90);

/// An open write.
#[derive(Debug)]
pub(crate) struct OpenWrite {
    pub(crate) id: WriteId,
    pub(crate) key: Bytes,
    pub(crate) code: Code,
    /// Length of the value, if it is known.
    pub(crate) size: Option<u64>,
    /// Its terms will not depend on the value that the key has: that may go to make room.
    pub(crate) blind: bool,
    state: Mutex<OpenWriteState>,
}

#[derive(Debug)]
pub(crate) struct OpenWriteState {
    /// Which member takes which chunk.
    pub(crate) members: Vec<Arc<Member>>,
    /// Members that failed, which may hold parts of a chunk.
    pub(crate) replaced: Vec<(u8, Arc<Member>)>,
    /// Bytes that are taken on each of `members`.
    pub(crate) taken: u64,
    /// Whether the value that the key had was evicted to make room for this one.
    pub(crate) evicted_own: bool,
    /// Whether members were asked to complete their chunks: from then on it could be found.
    pub(crate) finishing: bool,
    touched: Instant,
}

impl OpenWriteState {
    /// The nodes of all chunks but one.
    pub(crate) fn nodes_beside(&self, index: u8) -> Vec<usize> {
        let others = (0u8..).zip(&self.members);
        let others = others.filter(|(other, _)| *other != index);
        others.map(|(_, member)| member.node).collect()
    }

    /// A member takes chunk `index` in the place of another, which is the one to be freed of it in
    /// the end; one that took it before is not, from now on.
    pub(crate) fn substitute(&mut self, index: u8, substitute: Arc<Member>) {
        let id = substitute.id;
        let replaced = std::mem::replace(&mut self.members[usize::from(index)], substitute);
        self.replaced.retain(|it| (it.0, it.1.id) != (index, id));
        self.replaced.push((index, replaced));
    }
}

impl OpenWrite {
    pub(crate) fn new(
        id: WriteId,
        key: Bytes,
        code: Code,
        size: Option<u64>,
        blind: bool,
        members: Vec<Arc<Member>>,
    ) -> Self {
        let state = OpenWriteState {
            members,
            replaced: Vec::new(),
            taken: 0,
            evicted_own: false,
            finishing: false,
            touched: clock::now(),
        };
        Self {
            id,
            key,
            code,
            size,
            blind,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, OpenWriteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client goes on with it.
    pub(crate) fn touch(&self) {
        self.state().touched = clock::now();
    }

    /// Whether `member` takes chunk `index`.
    pub(crate) fn is_on(&self, index: u8, member: MemberId) -> bool {
        self.state()
            .members
            .get(usize::from(index))
            .is_some_and(|taker| taker.id == member)
    }

    /// Bytes that the first `bytes` of the value take on each member.
    pub(crate) fn share(&self, bytes: u64) -> u64 {
        // Nothing is known yet of the last stripe of a value of unknown size: it counts as full.
        let geometry = match self.size {
            Some(size) => Geometry::new(size, self.code),
            None => Geometry::unbounded(self.code),
        };
        let (unit, label) = (geometry.unit() as u64, label::length(&self.key));
        if bytes == 0 {
            return footprint(0, 0, label);
        }
        let stripes = bytes
            .min(geometry.size())
            .div_ceil(geometry.stripe().max(1) as u64);
        if stripes >= u64::from(geometry.stripes()) {
            return footprint(geometry.chunk_len(0), unit, label);
        }
        footprint(stripes * unit, unit, label)
    }
}

/// All open writes.
#[derive(Debug)]
pub(crate) struct OpenWrites {
    epoch: Epoch,
    last: AtomicU64,
    open: DashMap<WriteId, Arc<OpenWrite>>,
}

impl OpenWrites {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            last: AtomicU64::new(0),
            open: dash_map(),
        }
    }

    /// An id that no other write has or will have.
    pub(crate) fn next_id(&self) -> WriteId {
        WriteId {
            epoch: self.epoch.get(),
            sequence: self.last.fetch_add(1, Relaxed) + 1,
        }
    }

    pub(crate) fn insert(&self, write: Arc<OpenWrite>) {
        self.open.insert(write.id, write);
    }

    pub(crate) fn get(&self, id: WriteId) -> Option<Arc<OpenWrite>> {
        self.open.get(&id).map(|write| write.value().clone())
    }

    /// Takes a write out: the caller that gets it settles it.
    pub(crate) fn close(&self, id: WriteId) -> Option<Arc<OpenWrite>> {
        self.open.remove(&id).map(|(_, write)| write)
    }

    /// Writes that no client has gone on with.
    pub(crate) fn idle(&self, now: Instant) -> Vec<WriteId> {
        let is_idle = |write: &OpenWrite| now >= write.state().touched + IDLE_DEADLINE;
        self.open
            .iter()
            .filter(|write| is_idle(write))
            .map(|write| write.id)
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_takes_its_chunk_again_is_not_freed_of_it() {
        let [a, b] = [1, 2].map(|id| Arc::new(Member::of(MemberId(id))));
        let id = WriteId {
            epoch: 1,
            sequence: 1,
        };
        let code = Code::new(1, 0).unwrap();
        let write = OpenWrite::new(id, Bytes::new(), code, None, false, vec![a.clone()]);
        let mut state = write.state();
        let replaced = |state: &OpenWriteState| -> Vec<(u8, MemberId)> {
            let replaced = state.replaced.iter();
            replaced.map(|(index, it)| (*index, it.id)).collect()
        };
        state.substitute(0, b.clone());
        assert_eq!(replaced(&state), [(0, a.id)]);
        state.substitute(0, a.clone());
        assert_eq!(state.members[0].id, a.id);
        assert_eq!(replaced(&state), [(0, b.id)]);
    }
}

//! Room: what is placed on each member, and eviction when it is too much.
//!
//! The proxy plans each member's memory to the byte. Room is made before bytes
//! are sent, a step at a time, so that a value that is announced but never comes
//! evicts next to nothing.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::debug;

use crate::{
    catalog::{Catalog, Object},
    nodes::member::Member,
};

/// Gives out room, one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<()>);

/// A member has no room.
#[derive(Debug, thiserror::Error)]
#[error("{needed} bytes needed on a node with {free} free of {capacity}, and nothing to evict")]
pub(crate) struct NoRoom {
    needed: u64,
    free: u64,
    capacity: u64,
    /// What was evicted is still read, or what may not go yet will: there may be room then.
    pub(crate) soon: bool,
}

impl NoRoom {
    fn on(member: &Member, needed: u64, soon: bool) -> Self {
        Self {
            needed,
            free: member.free(),
            capacity: member.capacity(),
            soon,
        }
    }
}

impl Room {
    /// Takes `bytes` on a member if they are free; whether they were.
    pub(crate) fn take_free(&self, member: &Member, bytes: u64) -> bool {
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = member.free() >= bytes;
        if is_free {
            member.take(bytes);
        }
        is_free
    }

    /// Takes `bytes` on each of `members`, evicting what must go of what may.
    ///
    /// Evicted objects are given to `retire`.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing is taken then, though something may have been evicted. Whoever
    /// asks has made sure that it could fit at all.
    pub(crate) fn take(
        &self,
        catalog: &Catalog,
        members: &[Arc<Member>],
        bytes: u64,
        may_go: impl Fn(&Object) -> bool,
        mut retire: impl FnMut(Arc<Object>),
    ) -> Result<(), NoRoom> {
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for member in members {
            while member.free() < bytes {
                let victim = catalog.evict(|it| it.is_held_by(member.id) && may_go(it));
                let victim = victim.ok_or_else(|| NoRoom::on(member, bytes, false))?;
                debug!(size = victim.size(), "evicted");
                let before = member.free();
                retire(victim);
                // One that is still read frees its memory later: do not evict everything meanwhile.
                if member.free() <= before {
                    return Err(NoRoom::on(member, bytes, true));
                }
            }
        }
        members.iter().for_each(|member| member.take(bytes));
        Ok(())
    }
}

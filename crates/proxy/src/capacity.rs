//! Capacity: what is placed on each member, and eviction when it is too much.
//!
//! The proxy plans each member's memory to the byte. Room is made before bytes
//! are sent, a step at a time, so that a value that is announced but never comes
//! evicts next to nothing. All members of a write are looked at before anything
//! is evicted: a write that has to be refused because of one of them costs
//! nothing on the others.
//!
//! A removed value that is still read keeps its room until its readers end. What
//! is on its way out like that is waited for, and not evicted for once more; what
//! was waited for in vain counts as pinned.

pub(crate) mod open_writes;

use std::sync::{Arc, Mutex, PoisonError};

use tracing::debug;

use crate::{
    metadata::catalog::{
        Catalog, Object,
        shortfall::Shortfall,
        victims::{EvictionClass, NotEnough, Wanted},
    },
    pool::member::Member,
};

/// Bytes on a member from which on it is worth waiting for what is being freed. Below, a value more
/// that goes is a small one, and leaves room for the next write.
const WORTH_WAITING: u64 = 64 << 10;

/// Plans capacity, one request at a time.
#[derive(Debug, Default)]
pub(crate) struct CapacityPlanner(Mutex<()>);

/// Room that is wanted on one member.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) member: Arc<Member>,
    /// Bytes that are to be taken now.
    pub(crate) bytes: u64,
    /// Those and what is to be taken later: nothing is evicted unless it all can fit.
    pub(crate) in_all: u64,
}

impl Share {
    /// Room of which nothing is left for later.
    pub(crate) fn whole(member: Arc<Member>, bytes: u64) -> Self {
        Self {
            member,
            bytes,
            in_all: bytes,
        }
    }

    fn is_free(&self) -> bool {
        self.member.memory.free() >= self.bytes
    }
}

/// A member has no room.
#[derive(Debug, thiserror::Error)]
#[error(
    "{needed} bytes needed on a node with {free} free of {capacity}, {retired} held by reads of \
     removed values, {kept} by the value before, and too little to evict"
)]
pub(crate) struct InsufficientCapacity {
    pub(crate) member: Arc<Member>,
    needed: u64,
    free: u64,
    capacity: u64,
    retired: u64,
    /// What the value takes that is to be replaced, and stays until it is.
    pub(crate) kept: u64,
    pub(crate) outlook: Outlook,
}

/// Whether there is going to be room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// There will be once what is being freed is.
    BeingFreed,
    /// There will be if what may not go at this moment may later.
    Uncertain,
    /// What may ever go is too little.
    None,
}

impl InsufficientCapacity {
    fn on(share: &Share, needed: u64, outlook: Outlook) -> Self {
        let member = share.member.clone();
        Self {
            needed,
            free: member.memory.free(),
            capacity: member.memory.capacity(),
            retired: member.memory.retired(),
            kept: 0,
            outlook,
            member,
        }
    }

    /// Bytes that are lacking.
    pub(crate) fn lacking(&self) -> u64 {
        self.needed.saturating_sub(self.free)
    }

    /// Whether it is enough to wait, on `member`.
    pub(crate) fn is_being_freed_on(&self, member: &Member) -> bool {
        self.outlook == Outlook::BeingFreed && self.member.id == member.id
    }

    fn too_little(shares: &[Share], found: NotEnough) -> Self {
        let is_it = |share: &&Share| share.member.id == found.on;
        let share = shares.iter().find(is_it).unwrap_or(&shares[0]);
        let outlook = if !found.soon {
            Outlook::None
        } else if share.member.memory.being_freed() > 0 {
            Outlook::BeingFreed
        } else {
            Outlook::Uncertain
        };
        Self::on(share, share.in_all, outlook)
    }
}

impl CapacityPlanner {
    /// Takes `bytes` on a member if they are free; whether they were.
    pub(crate) fn reserve_free(&self, member: &Member, bytes: u64) -> bool {
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = member.memory.free() >= bytes;
        if is_free {
            member.memory.take(bytes);
        }
        is_free
    }

    /// Takes the bytes of each share, evicting what must go of what may.
    ///
    /// Evicted objects are given to `retire`.
    ///
    /// # Errors
    ///
    /// [`InsufficientCapacity`]; nothing is taken then. Something may have been evicted, but only
    /// if its memory is [being freed](Outlook::BeingFreed).
    pub(crate) fn reserve(
        &self,
        catalog: &Catalog,
        shares: &[Share],
        eviction_class: impl Fn(&Arc<Object>) -> EvictionClass,
        mut retire: impl FnMut(Arc<Object>),
    ) -> Result<(), InsufficientCapacity> {
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = wanted(shares);
        if !wanted.in_all.is_met() {
            match catalog.evict(&wanted, eviction_class) {
                Ok(victims) => victims.into_iter().for_each(|victim| {
                    debug!(size = victim.size(), "evicted");
                    retire(victim);
                }),
                // What is needed later may not go at this moment, but nothing has to go yet.
                Err(found) if found.soon && shares.iter().all(Share::is_free) => {}
                Err(found) => return Err(InsufficientCapacity::too_little(shares, found)),
            }
        }
        if let Some(share) = shares.iter().find(|share| !share.is_free()) {
            return Err(InsufficientCapacity::on(
                share,
                share.bytes,
                Outlook::BeingFreed,
            ));
        }
        shares
            .iter()
            .for_each(|share| share.member.memory.take(share.bytes));
        Ok(())
    }
}

/// What is lacking. Nothing goes for what is being freed; but if that turned out to be pinned, the
/// rest would have to do without it.
fn wanted(shares: &[Share]) -> Wanted {
    let lacking = |needed: fn(&Share) -> u64, coming: fn(&Share) -> u64| {
        let on_member = |share: &Share| {
            let there = share.member.memory.free() + coming(share);
            (share.member.id, needed(share).saturating_sub(there))
        };
        Shortfall::new(shares.iter().map(on_member))
    };
    let worth_waiting = |share: &Share| {
        if share.bytes >= WORTH_WAITING {
            share.member.memory.being_freed()
        } else {
            0
        }
    };
    Wanted {
        now: lacking(|share| share.bytes, worth_waiting),
        in_all: lacking(|share| share.in_all, |_| 0),
        at_best: lacking(|share| share.in_all, |share| share.member.memory.retired()),
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{ChunkId, MemberId};

    use super::*;
    use crate::metadata::catalog::{ChunkReclaimer, fixture};

    /// Sizes are in units of so many bytes, so that most are worth waiting for.
    const CAPACITY: u64 = 100 * K;
    const K: u64 = 10_000;

    /// Three members, and the values that are on the first of them or on all.
    struct Pool {
        members: Vec<Arc<Member>>,
        catalog: Catalog,
        capacity: CapacityPlanner,
    }

    /// Keeps the books of members.
    struct Books(Vec<Arc<Member>>);

    impl Books {
        fn of(&self, member: MemberId) -> &Member {
            &self.0[member.0 as usize]
        }
    }

    impl ChunkReclaimer for Books {
        fn retired(&self, member: MemberId, bytes: u64) {
            self.of(member).memory.retire(bytes);
        }

        fn unretired(&self, member: MemberId, bytes: u64) {
            self.of(member).memory.unretire(bytes);
        }

        fn free(&self, _: ChunkId, member: MemberId, bytes: u64) {
            self.freed(member, bytes);
        }

        fn freed(&self, member: MemberId, bytes: u64) {
            self.of(member).memory.free_retired(bytes);
        }

        fn abandon(&self, _: ChunkId, _: MemberId, _: u64) {}

        fn repair(&self, _: Arc<Object>) {}
    }

    impl Pool {
        fn new() -> Self {
            let member = |id| Arc::new(Member::with_capacity(MemberId(id), CAPACITY));
            Self {
                members: (0..3).map(member).collect(),
                catalog: Catalog::default(),
                capacity: CapacityPlanner::default(),
            }
        }

        /// Stores a value of which each of the first `width` members has all bytes.
        fn store(&self, name: &str, size: u64, width: usize) -> Arc<Object> {
            let books = Arc::new(Books(self.members.clone()));
            let object = fixture::kept(name, size, (1, width - 1), None, books);
            object.each_holder(|index, member| {
                self.members[member.0 as usize]
                    .memory
                    .take(object.footprint(index));
            });
            self.catalog.insert(object.clone());
            object
        }

        fn take(&self, bytes: &[u64]) -> Result<(), InsufficientCapacity> {
            let share =
                |(member, bytes): (&Arc<Member>, &u64)| Share::whole(member.clone(), *bytes);
            self.reserve_shares(self.members.iter().zip(bytes).map(share).collect())
        }

        fn reserve_shares(&self, shares: Vec<Share>) -> Result<(), InsufficientCapacity> {
            let eviction_class = |object: &Arc<Object>| match Catalog::would_free(object, 0) {
                true => EvictionClass::Now,
                false => EvictionClass::Later,
            };
            let retire = |victim: Arc<Object>| victim.retire();
            self.capacity
                .reserve(&self.catalog, &shares, eviction_class, retire)
        }

        fn remove(&self, object: &Arc<Object>) {
            assert!(self.catalog.remove(object));
            object.retire();
        }

        fn free(&self) -> Vec<u64> {
            self.members
                .iter()
                .map(|member| member.memory.free())
                .collect()
        }

        fn has(&self, name: &str) -> bool {
            self.catalog.peek(name.as_bytes()).is_some()
        }
    }

    #[test]
    fn a_write_that_one_member_has_no_room_for_costs_nothing_on_the_others() {
        let pool = Pool::new();
        drop(pool.store("other", 60 * K, 2));
        let before = pool.free();
        pool.members[2].memory.take(60 * K);
        let insufficient = pool.take(&[60 * K; 3]).unwrap_err();
        assert_eq!(insufficient.outlook, Outlook::None);
        assert_eq!(insufficient.member.id, MemberId(2));
        assert!(pool.has("other"));
        assert_eq!(pool.free()[..2], before[..2]);
        pool.take(&[60 * K; 2]).unwrap();
        assert!(!pool.has("other"));
    }

    #[test]
    fn what_is_being_freed_is_waited_for_and_nothing_else_goes_for_it() {
        let pool = Pool::new();
        drop(pool.store("other", 40 * K, 1));
        let read = pool.store("read", 40 * K, 1);
        pool.remove(&read);
        let insufficient = pool.take(&[40 * K]).unwrap_err();
        assert_eq!(insufficient.outlook, Outlook::BeingFreed);
        assert!(pool.has("other"));
        drop(read);
        pool.take(&[40 * K]).unwrap();
        assert!(pool.has("other"));
    }

    #[test]
    fn what_is_waited_for_in_vain_is_made_up_for_by_others_until_it_is_freed() {
        let pool = Pool::new();
        drop(pool.store("other", 40 * K, 1));
        let read = pool.store("read", 40 * K, 1);
        pool.remove(&read);
        pool.members[0].memory.count_as_pinned();
        pool.take(&[40 * K]).unwrap();
        assert!(!pool.has("other"));
        drop(read);
        assert_eq!(pool.members[0].memory.retired(), 0);
        assert_eq!(pool.members[0].memory.being_freed(), 0);

        pool.members[0].memory.give_back(40 * K);
        let read = pool.store("read", 40 * K, 1);
        pool.remove(&read);
        assert!(
            pool.members[0].memory.being_freed() > 40 * K,
            "it is another one"
        );
    }

    #[test]
    fn a_value_that_cannot_fit_beside_what_is_pinned_evicts_nothing() {
        let pool = Pool::new();
        drop(pool.store("other", 30 * K, 1));
        let removed = pool.store("removed", 30 * K, 1);
        pool.remove(&removed);
        let read = pool.store("read", 30 * K, 1);
        for outlook in [Outlook::BeingFreed, Outlook::Uncertain] {
            assert_eq!(pool.take(&[80 * K]).unwrap_err().outlook, outlook);
            pool.members[0].memory.count_as_pinned();
        }
        let insufficient = pool.take(&[98 * K]).unwrap_err();
        assert_eq!(insufficient.outlook, Outlook::None);
        assert!(pool.has("other") && pool.has("read"));
        drop((removed, read));
        pool.take(&[80 * K]).unwrap();
    }

    #[test]
    fn nothing_goes_for_a_step_of_a_value_that_cannot_fit_in_the_end() {
        let pool = Pool::new();
        drop(pool.store("other", 50 * K, 1));
        let read = pool.store("read", 40 * K, 1);
        let step = |bytes, in_all| Share {
            member: pool.members[0].clone(),
            bytes,
            in_all,
        };
        let insufficient = pool.reserve_shares(vec![step(10 * K, 70 * K)]).unwrap_err();
        assert_eq!(insufficient.outlook, Outlook::Uncertain);
        assert!(pool.has("other"));
        // There is room for this step: whether there is for the next will be seen then.
        pool.reserve_shares(vec![step(K, 70 * K)]).unwrap();
        assert!(pool.has("other"));
        let insufficient = pool.reserve_shares(vec![step(1, 97 * K)]).unwrap_err();
        assert_eq!(insufficient.outlook, Outlook::None);
        drop(read);
        pool.reserve_shares(vec![step(10 * K, 70 * K)]).unwrap();
    }

    #[test]
    fn the_books_are_even_whatever_becomes_of_a_retired_objects_chunks() {
        let pool = Pool::new();
        let free = pool.free();
        let object = pool.store("key", 10 * K, 2);
        let bytes = object.footprint(0);
        pool.remove(&object);
        object.retire();
        assert_eq!(pool.members[0].memory.retired(), bytes);
        assert_eq!(pool.members[1].memory.retired(), bytes);
        // One moves, the other is freed before its object.
        pool.members[2].memory.take(bytes);
        assert_eq!(object.move_to(0, MemberId(2)), Some(MemberId(0)));
        pool.members[0].memory.give_back(bytes);
        object.was_freed(1, MemberId(1));
        let retired =
            || -> Vec<u64> { pool.members.iter().map(|it| it.memory.retired()).collect() };
        assert_eq!(retired(), [0, 0, bytes]);
        drop(object);
        assert_eq!(retired(), [0, 0, 0]);
        assert_eq!(pool.free(), free);
    }
}

//! Tombstones: deleted values, until too few of their chunks are left on members.
//!
//! A chunk that is still on its member could be found by a later run of the
//! proxy. So what was removed is remembered here until too few of its chunks are
//! left for that, by key: a client may learn only then that the key has no value.
//! Chunks that were dropped from a value that lives on are remembered too: they
//! would have to go with it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_host::{fail_point, hash::DashMap};
use infinicache_membership::delete_quorum::DeleteQuorum;
use infinicache_wire::{ChunkId, MemberId, WriteId};
use tokio::sync::Notify;

/// The tombstones, by key and by write.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    keys: DashMap<Box<[u8]>, Arc<KeyTombstones>>,
    writes: DashMap<WriteId, Arc<KeyTombstones>>,
    orphans: DashMap<WriteId, Vec<(u8, MemberId)>>,
}

/// The tombstones of one key.
#[derive(Debug)]
pub(crate) struct KeyTombstones {
    key: Box<[u8]>,
    tombstones: Mutex<Vec<Tombstone>>,
    acknowledged: Notify,
}

#[derive(Debug)]
struct Tombstone {
    write: WriteId,
    since: Instant,
    quorum: DeleteQuorum<MemberId>,
}

impl Tombstones {
    /// A value of `key` is deleted; each of `holders` may hold a complete chunk of it.
    pub(crate) fn begin(
        &self,
        key: &[u8],
        write: WriteId,
        data: usize,
        holders: impl IntoIterator<Item = (u8, MemberId)>,
        now: Instant,
    ) -> DeleteQuorum<MemberId> {
        let orphans = self.orphans.get(&write).map(|orphans| orphans.clone());
        let orphans = orphans.filter(|_| !fail_point("orphans"));
        let holders = holders.into_iter().chain(orphans.into_iter().flatten());
        let quorum = DeleteQuorum::new(data, holders);
        let tombstone = Tombstone {
            write,
            since: now,
            quorum: quorum.clone(),
        };
        let key_tombstones = self.keys.entry(key.into()).or_insert_with(|| {
            Arc::new(KeyTombstones {
                key: key.into(),
                tombstones: Mutex::default(),
                acknowledged: Notify::new(),
            })
        });
        key_tombstones.tombstones().push(tombstone);
        self.writes.insert(write, key_tombstones.clone());
        quorum
    }

    /// A chunk was dropped from its value, and its member has yet to let go of it.
    pub(crate) fn orphan(&self, chunk: ChunkId, member: MemberId) {
        let mut orphans = self.orphans.entry(chunk.write).or_default();
        orphans.push((chunk.index, member));
    }

    /// Whether chunks were dropped from a value that their members have yet to let go of.
    pub(crate) fn has_orphans(&self, write: WriteId) -> bool {
        self.orphans.contains_key(&write)
    }

    /// A member let go of a chunk.
    pub(crate) fn acknowledged(
        &self,
        chunk: ChunkId,
        member: MemberId,
        may_be_member: impl Fn(MemberId) -> bool,
    ) {
        self.orphans.remove_if_mut(&chunk.write, |_, orphans| {
            orphans.retain(|orphan| *orphan != (chunk.index, member));
            orphans.is_empty()
        });
        let key_tombstones = self.writes.get(&chunk.write).map(|it| it.clone());
        let Some(key_tombstones) = key_tombstones else {
            return;
        };
        for tombstone in key_tombstones.tombstones().iter_mut() {
            if tombstone.write == chunk.write {
                tombstone.quorum.acknowledged(chunk.index, member);
            }
        }
        self.collect(&key_tombstones, may_be_member);
    }

    /// Forgets what is gone; whether all of a key's values are.
    pub(crate) fn collect(
        &self,
        key_tombstones: &KeyTombstones,
        may_be_member: impl Fn(MemberId) -> bool,
    ) -> bool {
        let mut tombstones = key_tombstones.tombstones();
        let before = tombstones.len();
        tombstones.retain(|tombstone| {
            let over = tombstone.quorum.is_reached(&may_be_member);
            if over {
                self.writes.remove(&tombstone.write);
            }
            !over
        });
        let concluded = tombstones.is_empty();
        let is_news = tombstones.len() < before;
        drop(tombstones);
        if concluded {
            self.keys
                .remove_if(&key_tombstones.key, |_, it| it.tombstones().is_empty());
        }
        // Not otherwise: those who wait look here themselves.
        if is_news {
            key_tombstones.acknowledged.notify_waiters();
        }
        concluded
    }

    /// The values of a key that are on their way out, if there are any.
    pub(crate) fn of(&self, key: &[u8]) -> Option<Arc<KeyTombstones>> {
        self.keys.get(key).map(|it| it.clone())
    }

    /// Whether values of a key are on their way out.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Keys whose values have been on their way out for longer than `patience`.
    pub(crate) fn overdue(&self, now: Instant, patience: Duration) -> Vec<Arc<KeyTombstones>> {
        self.keys
            .iter()
            .filter(|it| it.is_overdue(now, patience))
            .map(|it| it.clone())
            .collect()
    }

    /// Forgets the orphans of a member that does not count any more.
    pub(crate) fn forget(&self, member: MemberId) {
        self.orphans.retain(|_, orphans| {
            orphans.retain(|(_, orphan)| *orphan != member);
            !orphans.is_empty()
        });
    }

    /// How many values are on their way out.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }
}

impl KeyTombstones {
    /// Told of every acknowledgement.
    pub(crate) fn acknowledgements(&self) -> &Notify {
        &self.acknowledged
    }

    /// Whether a value has been on its way out for longer than `patience`.
    pub(crate) fn is_overdue(&self, now: Instant, patience: Duration) -> bool {
        let tombstones = self.tombstones();
        tombstones.iter().any(|it| now >= it.since + patience)
    }

    /// Which chunks have not been let go, and by whom.
    pub(crate) fn chunks_left(&self) -> Vec<(ChunkId, MemberId)> {
        let tombstones = self.tombstones();
        let left = tombstones.iter().flat_map(|tombstone| {
            let write = tombstone.write;
            let chunk = move |(index, member)| (ChunkId { write, index }, member);
            tombstone.quorum.outstanding().map(chunk)
        });
        left.collect()
    }

    /// Who has not let go.
    pub(crate) fn left(&self) -> Vec<MemberId> {
        let tombstones = self.tombstones();
        let mut left: Vec<MemberId> = tombstones
            .iter()
            .flat_map(|tombstone| tombstone.quorum.outstanding())
            .map(|(_, member)| member)
            .collect();
        left.sort_unstable();
        left.dedup();
        left
    }

    fn tombstones(&self) -> MutexGuard<'_, Vec<Tombstone>> {
        self.tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: WriteId = WriteId {
        epoch: 1,
        sequence: 2,
    };

    fn chunk(index: u8) -> ChunkId {
        ChunkId {
            write: WRITE,
            index,
        }
    }

    fn holders() -> [(u8, MemberId); 3] {
        [0, 1, 2].map(|index| (index, MemberId(u32::from(index))))
    }

    fn all(_: MemberId) -> bool {
        true
    }

    #[test]
    fn a_key_has_no_old_value_once_enough_members_have_let_go() {
        let tombstones = Tombstones::default();
        tombstones.begin(b"key", WRITE, 2, holders(), Instant::now());
        tombstones.acknowledged(chunk(0), MemberId(0), all);
        let key_tombstones = tombstones.of(b"key").unwrap();
        assert_eq!(key_tombstones.left(), [MemberId(1), MemberId(2)]);
        let left = [(chunk(1), MemberId(1)), (chunk(2), MemberId(2))];
        assert_eq!(key_tombstones.chunks_left(), left);
        tombstones.acknowledged(chunk(1), MemberId(1), all);
        assert!(tombstones.of(b"key").is_none());
        assert_eq!(tombstones.len(), 0);
    }

    #[tokio::test]
    async fn looking_in_vain_wakes_nobody() {
        let tombstones = Tombstones::default();
        tombstones.begin(b"key", WRITE, 1, holders(), Instant::now());
        let key_tombstones = tombstones.of(b"key").unwrap();
        let mut told = std::pin::pin!(key_tombstones.acknowledgements().notified());
        told.as_mut().enable();
        assert!(!tombstones.collect(&key_tombstones, all));
        assert!(futures_util::poll!(&mut told).is_pending());
        assert!(tombstones.collect(&key_tombstones, |_| false));
        assert!(futures_util::poll!(told).is_ready());
    }

    #[test]
    fn chunks_that_were_dropped_earlier_have_to_go_too() {
        let tombstones = Tombstones::default();
        tombstones.orphan(chunk(0), MemberId(9));
        tombstones.orphan(chunk(1), MemberId(9));
        tombstones.acknowledged(chunk(1), MemberId(9), all);
        tombstones.begin(b"key", WRITE, 1, [], Instant::now());
        assert_eq!(tombstones.of(b"key").unwrap().left(), [MemberId(9)]);
        tombstones.acknowledged(chunk(0), MemberId(9), all);
        assert!(tombstones.of(b"key").is_none());
        assert!(tombstones.orphans.is_empty());
    }

    #[test]
    fn members_that_do_not_count_any_more_are_not_waited_for() {
        let tombstones = Tombstones::default();
        tombstones.begin(b"key", WRITE, 1, holders(), Instant::now());
        let key_tombstones = tombstones.of(b"key").unwrap();
        assert!(!tombstones.collect(&key_tombstones, |member| member == MemberId(2)));
        assert!(tombstones.collect(&key_tombstones, |_| false));
        assert!(tombstones.of(b"key").is_none());
    }

    #[test]
    fn two_values_of_a_key_have_to_go_both() {
        let tombstones = Tombstones::default();
        let other = WriteId {
            sequence: 3,
            ..WRITE
        };
        tombstones.begin(b"key", WRITE, 3, holders(), Instant::now());
        tombstones.begin(b"key", other, 3, holders(), Instant::now());
        tombstones.acknowledged(chunk(0), MemberId(0), all);
        assert!(tombstones.of(b"key").is_some());
        let chunk = ChunkId {
            write: other,
            index: 0,
        };
        tombstones.acknowledged(chunk, MemberId(0), all);
        assert!(tombstones.of(b"key").is_none());
    }
}

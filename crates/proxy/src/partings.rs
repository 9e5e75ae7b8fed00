//! Values that are nobody's any more, until they are gone from all who count.
//!
//! A chunk that is still on its member could be found by a later run of the
//! proxy. So what was removed is remembered here until too few of its chunks are
//! left for that, by key: whoever is told that a key has no value may be told so
//! only then. Chunks that were dropped from a value that lives on are remembered
//! too: they would have to go with it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_host::{fail_point, hash::DashMap};
use infinicache_membership::farewell::Farewell;
use infinicache_wire::{ChunkId, MemberId, WriteId};
use tokio::sync::Notify;

/// What is on its way out.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    keys: DashMap<Box<[u8]>, Arc<OfKey>>,
    writes: DashMap<WriteId, Arc<OfKey>>,
    strays: DashMap<WriteId, Vec<(u8, MemberId)>>,
}

/// The values of one key that are on their way out.
#[derive(Debug)]
pub(crate) struct OfKey {
    key: Box<[u8]>,
    farewells: Mutex<Vec<Parting>>,
    acknowledged: Notify,
}

#[derive(Debug)]
struct Parting {
    write: WriteId,
    since: Instant,
    farewell: Farewell<MemberId>,
}

impl Partings {
    /// A value of `key` is nobody's any more; each of `holders` may hold a complete chunk of it.
    pub(crate) fn begin(
        &self,
        key: &[u8],
        write: WriteId,
        data: usize,
        holders: impl IntoIterator<Item = (u8, MemberId)>,
        now: Instant,
    ) -> Farewell<MemberId> {
        let strays = self.strays.get(&write).map(|strays| strays.clone());
        let strays = strays.filter(|_| !fail_point("strays"));
        let holders = holders.into_iter().chain(strays.into_iter().flatten());
        let farewell = Farewell::new(data, holders);
        let parting = Parting {
            write,
            since: now,
            farewell: farewell.clone(),
        };
        let of_key = self.keys.entry(key.into()).or_insert_with(|| {
            Arc::new(OfKey {
                key: key.into(),
                farewells: Mutex::default(),
                acknowledged: Notify::new(),
            })
        });
        of_key.farewells().push(parting);
        self.writes.insert(write, of_key.clone());
        farewell
    }

    /// A chunk was dropped from its value, and its member has yet to let go of it.
    pub(crate) fn stray(&self, chunk: ChunkId, member: MemberId) {
        let mut strays = self.strays.entry(chunk.write).or_default();
        strays.push((chunk.index, member));
    }

    /// Whether chunks were dropped from a value that their members have yet to let go of.
    pub(crate) fn has_strays(&self, write: WriteId) -> bool {
        self.strays.contains_key(&write)
    }

    /// A member let go of a chunk.
    pub(crate) fn acknowledged(
        &self,
        chunk: ChunkId,
        member: MemberId,
        may_count: impl Fn(MemberId) -> bool,
    ) {
        self.strays.remove_if_mut(&chunk.write, |_, strays| {
            strays.retain(|stray| *stray != (chunk.index, member));
            strays.is_empty()
        });
        let of_key = self.writes.get(&chunk.write).map(|it| it.clone());
        let Some(of_key) = of_key else { return };
        for parting in of_key.farewells().iter_mut() {
            if parting.write == chunk.write {
                parting.farewell.acknowledged(chunk.index, member);
            }
        }
        self.conclude(&of_key, may_count);
    }

    /// Forgets what is gone; whether all of a key's values are.
    pub(crate) fn conclude(&self, of_key: &OfKey, may_count: impl Fn(MemberId) -> bool) -> bool {
        let mut farewells = of_key.farewells();
        let before = farewells.len();
        farewells.retain(|parting| {
            let over = parting.farewell.is_over(&may_count);
            if over {
                self.writes.remove(&parting.write);
            }
            !over
        });
        let concluded = farewells.is_empty();
        let is_news = farewells.len() < before;
        drop(farewells);
        if concluded {
            self.keys
                .remove_if(&of_key.key, |_, it| it.farewells().is_empty());
        }
        // Not otherwise: those who wait look here themselves.
        if is_news {
            of_key.acknowledged.notify_waiters();
        }
        concluded
    }

    /// The values of a key that are on their way out, if there are any.
    pub(crate) fn of(&self, key: &[u8]) -> Option<Arc<OfKey>> {
        self.keys.get(key).map(|it| it.clone())
    }

    /// Whether values of a key are on their way out.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Keys whose values have been on their way out for longer than `patience`.
    pub(crate) fn overdue(&self, now: Instant, patience: Duration) -> Vec<Arc<OfKey>> {
        self.keys
            .iter()
            .filter(|it| it.is_overdue(now, patience))
            .map(|it| it.clone())
            .collect()
    }

    /// Forgets the strays of a member that does not count any more.
    pub(crate) fn forget(&self, member: MemberId) {
        self.strays.retain(|_, strays| {
            strays.retain(|(_, stray)| *stray != member);
            !strays.is_empty()
        });
    }

    /// How many values are on their way out.
    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }
}

impl OfKey {
    /// Told of every acknowledgement.
    pub(crate) fn acknowledgements(&self) -> &Notify {
        &self.acknowledged
    }

    /// Whether a value has been on its way out for longer than `patience`.
    pub(crate) fn is_overdue(&self, now: Instant, patience: Duration) -> bool {
        let farewells = self.farewells();
        farewells.iter().any(|it| now >= it.since + patience)
    }

    /// Which chunks have not been let go, and by whom.
    pub(crate) fn chunks_left(&self) -> Vec<(ChunkId, MemberId)> {
        let farewells = self.farewells();
        let left = farewells.iter().flat_map(|parting| {
            let write = parting.write;
            let chunk = move |(index, member)| (ChunkId { write, index }, member);
            parting.farewell.left().map(chunk)
        });
        left.collect()
    }

    /// Who has not let go.
    pub(crate) fn left(&self) -> Vec<MemberId> {
        let farewells = self.farewells();
        let mut left: Vec<MemberId> = farewells
            .iter()
            .flat_map(|parting| parting.farewell.left())
            .map(|(_, member)| member)
            .collect();
        left.sort_unstable();
        left.dedup();
        left
    }

    fn farewells(&self) -> MutexGuard<'_, Vec<Parting>> {
        self.farewells
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
        let partings = Partings::default();
        partings.begin(b"key", WRITE, 2, holders(), Instant::now());
        partings.acknowledged(chunk(0), MemberId(0), all);
        let of_key = partings.of(b"key").unwrap();
        assert_eq!(of_key.left(), [MemberId(1), MemberId(2)]);
        let left = [(chunk(1), MemberId(1)), (chunk(2), MemberId(2))];
        assert_eq!(of_key.chunks_left(), left);
        partings.acknowledged(chunk(1), MemberId(1), all);
        assert!(partings.of(b"key").is_none());
        assert_eq!(partings.len(), 0);
    }

    #[tokio::test]
    async fn looking_in_vain_wakes_nobody() {
        let partings = Partings::default();
        partings.begin(b"key", WRITE, 1, holders(), Instant::now());
        let of_key = partings.of(b"key").unwrap();
        let mut told = std::pin::pin!(of_key.acknowledgements().notified());
        told.as_mut().enable();
        assert!(!partings.conclude(&of_key, all));
        assert!(futures_util::poll!(&mut told).is_pending());
        assert!(partings.conclude(&of_key, |_| false));
        assert!(futures_util::poll!(told).is_ready());
    }

    #[test]
    fn chunks_that_were_dropped_earlier_have_to_go_too() {
        let partings = Partings::default();
        partings.stray(chunk(0), MemberId(9));
        partings.stray(chunk(1), MemberId(9));
        partings.acknowledged(chunk(1), MemberId(9), all);
        partings.begin(b"key", WRITE, 1, [], Instant::now());
        assert_eq!(partings.of(b"key").unwrap().left(), [MemberId(9)]);
        partings.acknowledged(chunk(0), MemberId(9), all);
        assert!(partings.of(b"key").is_none());
        assert!(partings.strays.is_empty());
    }

    #[test]
    fn members_that_do_not_count_any_more_are_not_waited_for() {
        let partings = Partings::default();
        partings.begin(b"key", WRITE, 1, holders(), Instant::now());
        let of_key = partings.of(b"key").unwrap();
        assert!(!partings.conclude(&of_key, |member| member == MemberId(2)));
        assert!(partings.conclude(&of_key, |_| false));
        assert!(partings.of(b"key").is_none());
    }

    #[test]
    fn two_values_of_a_key_have_to_go_both() {
        let partings = Partings::default();
        let other = WriteId {
            sequence: 3,
            ..WRITE
        };
        partings.begin(b"key", WRITE, 3, holders(), Instant::now());
        partings.begin(b"key", other, 3, holders(), Instant::now());
        partings.acknowledged(chunk(0), MemberId(0), all);
        assert!(partings.of(b"key").is_some());
        let chunk = ChunkId {
            write: other,
            index: 0,
        };
        partings.acknowledged(chunk, MemberId(0), all);
        assert!(partings.of(b"key").is_none());
    }
}

//! Which objects there are: the metadata that makes chunks into values.
//!
//! The [`Catalog`] answers three questions: what is the value of a key, which
//! objects are to be evicted, and which have expired. It moves no bytes and
//! waits for nothing; the caller that takes an object out of it deletes its chunks.
//!
//! - [`object`]: one object, and how it outlives its key while it is read; [`expiration`]: when it
//!   expires; `reference_bit`: whether it was used;
//! - `ring`: all objects in CLOCK order, and by expiry;
//! - [`victims`]: which of them are to be evicted, and [`shortfall`]: for how many bytes.

pub(crate) mod expiration;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod object;
mod reference_bit;
mod ring;
pub(crate) mod shortfall;
pub(crate) mod victims;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dashmap::Entry;
use infinicache_host::hash::DashMap;

pub(crate) use self::object::{ChunkReclaimer, Object, ObjectRef};
use self::{
    object::ByKey,
    ring::Ring,
    victims::{EvictionClass, NotEnough, Wanted},
};

/// All objects of the pool.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// A map rather than a set, because a set cannot replace an entry in one step.
    objects: DashMap<ByKey, ()>,
    ring: Mutex<Ring>,
}

impl Catalog {
    /// The object of a key, which counts as used; an expired one is no object.
    ///
    /// Only one that may have expired is worth a look at the clock.
    pub(crate) fn get(&self, key: &[u8], now_ms: impl FnOnce() -> u64) -> Option<Arc<Object>> {
        let object = self.objects.get(key)?.key().0.clone();
        object.reference_bit().set();
        let is_expired =
            object.expiration().at_ms().is_some() && object.expiration().is_over(now_ms());
        (!is_expired).then_some(object)
    }

    /// The object of a key, expired or not; it does not count as used.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<Arc<Object>> {
        Some(self.objects.get(key)?.key().0.clone())
    }

    /// Makes `object` the one of its key; returns the one that was.
    ///
    /// There is no moment at which the key has neither.
    pub(crate) fn insert(&self, object: Arc<Object>) -> Option<Arc<Object>> {
        self.ring().insert(&object);
        let previous = match self.objects.entry(ByKey(object)) {
            Entry::Occupied(entry) => Some(entry.replace_entry(()).0.0),
            Entry::Vacant(entry) => {
                entry.insert(());
                None
            }
        };
        if let Some(previous) = &previous {
            self.ring().remove(previous);
        }
        previous
    }

    /// Takes `object` out, if it still is the one of its key.
    pub(crate) fn remove(&self, object: &Arc<Object>) -> bool {
        let is_it = |candidate: &ByKey, (): &()| Arc::ptr_eq(&candidate.0, object);
        let removed = self.objects.remove_if(object.key(), is_it).is_some();
        if removed {
            self.ring().remove(object);
        }
        removed
    }

    /// Sets when `object` expires: never, if `None`.
    pub(crate) fn set_expiry(&self, object: &Arc<Object>, at_ms: Option<u64>) {
        self.ring().set_expiry(object, at_ms);
    }

    /// Takes out the objects that have to go to make room; none if none have to.
    ///
    /// # Errors
    ///
    /// [`NotEnough`]; nothing has gone then.
    pub(crate) fn evict(
        &self,
        wanted: &Wanted,
        eviction_class: impl Fn(&Arc<Object>) -> EvictionClass,
    ) -> Result<Vec<Arc<Object>>, NotEnough> {
        let victims = self.ring().victims(wanted, eviction_class)?;
        // One that has been replaced meanwhile frees its memory by that.
        let removed = victims.into_iter().filter(|victim| self.remove(victim));
        Ok(removed.collect())
    }

    /// Whether the memory of `object` would be freed if it were taken out, and `others` who hold it
    /// let go.
    pub(crate) fn would_free(object: &Arc<Object>, others: usize) -> bool {
        // The map and the ring hold it once each.
        Arc::strong_count(object) <= 2 + others
    }

    /// Takes out up to `limit` objects that have expired.
    pub(crate) fn expire(&self, now_ms: u64, limit: usize) -> Vec<Arc<Object>> {
        let expired = self.ring().expired(now_ms, limit);
        expired
            .into_iter()
            .filter(|object| self.remove(object))
            .collect()
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.ring().len()
    }

    /// Bytes of value that they hold.
    pub(crate) fn bytes(&self) -> u64 {
        self.ring().bytes()
    }

    /// How many objects expire.
    pub(crate) fn expiring(&self) -> usize {
        self.ring().expiring()
    }

    /// Some objects, beginning at slot `from`; and the slot to go on from, unless that was all.
    pub(crate) fn walk(&self, from: usize, count: usize) -> (Vec<Arc<Object>>, Option<usize>) {
        self.ring().walk(from, count)
    }

    /// The same, for those who take their time: what is evicted meanwhile frees its memory.
    pub(crate) fn survey(&self, from: usize, count: usize) -> (Vec<Weak<Object>>, Option<usize>) {
        let (objects, next) = self.walk(from, count);
        let objects = objects.iter().map(Arc::downgrade).collect();
        (objects, next)
    }

    /// Does something with every object, some at a time: they come and go meanwhile.
    pub(crate) fn for_each(&self, mut act: impl FnMut(Arc<Object>)) {
        const SOME: usize = 1_000;
        let mut from = Some(0);
        while let Some(slot) = from {
            let (objects, next) = self.walk(slot, SOME);
            objects.into_iter().for_each(&mut act);
            from = next;
        }
    }

    /// How many nodes the object of the widest code needs.
    pub(crate) fn widest(&self) -> usize {
        let mut widest = 0;
        self.for_each(|object| widest = widest.max(object.code().width()));
        widest
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::MemberId;

    use super::{shortfall::Shortfall, *};

    #[test]
    fn what_is_evicted_while_it_is_surveyed_frees_its_memory() {
        let catalog = Catalog::default();
        catalog.insert(fixture::object("key", 10, (1, 2), None));
        let (surveyed, end) = catalog.survey(0, 10);
        assert_eq!((surveyed.len(), end), (1, None));
        assert!(surveyed[0].upgrade().is_some());
        let lacking = Shortfall::new([(MemberId(0), 1)]);
        let wanted = Wanted {
            now: lacking.clone(),
            in_all: lacking.clone(),
            at_best: lacking,
        };
        let evicted = catalog.evict(&wanted, |_| EvictionClass::Now);
        assert_eq!(evicted.map(|objects| objects.len()), Ok(1));
        assert!(surveyed[0].upgrade().is_none());
    }
}

//! All objects in CLOCK order (Corbató 1968), and by expiry.
//!
//! Objects sit in slots; a hand goes round them. An object that was used since
//! the hand last passed is spared once; the first that was not is the victim:
//! see `victims`.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::object::Object;

#[derive(Debug, Default)]
pub(super) struct Ring {
    slots: Vec<Option<Arc<Object>>>,
    free: Vec<u32>,
    hand: usize,
    bytes: u64,
    /// By time, then by slot.
    expiring: BTreeSet<(u64, u32)>,
}

impl Ring {
    pub(super) fn insert(&mut self, object: &Arc<Object>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 objects")
        });
        self.slots[slot as usize] = Some(object.clone());
        object.slot.store(slot, Relaxed);
        self.bytes += object.size();
        if let Some(at) = object.expiration().at_ms() {
            self.expiring.insert((at, slot));
        }
    }

    pub(super) fn remove(&mut self, object: &Arc<Object>) {
        let Some(slot) = self.slot_of(object) else {
            return;
        };
        self.slots[slot as usize] = None;
        self.free.push(slot);
        self.bytes -= object.size();
        if let Some(at) = object.expiration().at_ms() {
            self.expiring.remove(&(at, slot));
        }
    }

    pub(super) fn set_expiry(&mut self, object: &Arc<Object>, at_ms: Option<u64>) {
        let Some(slot) = self.slot_of(object) else {
            return;
        };
        if let Some(at) = object.expiration().at_ms() {
            self.expiring.remove(&(at, slot));
        }
        object.expiration().set(at_ms);
        if let Some(at) = at_ms {
            self.expiring.insert((at, slot));
        }
    }

    /// The slots that are taken, in the order in which the hand comes to them.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (usize, &Arc<Object>)> {
        let (before, behind) = self.slots.split_at((self.hand + 1).min(self.slots.len()));
        let ahead = (before.len()..).zip(behind).chain((0..).zip(before));
        ahead.filter_map(|(slot, object)| Some((slot, object.as_ref()?)))
    }

    /// What is in a slot that is taken.
    pub(super) fn at(&self, slot: usize) -> Option<&Arc<Object>> {
        self.slots.get(slot)?.as_ref()
    }

    /// The hand has come to a slot.
    pub(super) fn turn_to(&mut self, slot: usize) {
        self.hand = slot;
    }

    pub(super) fn expired(&self, now_ms: u64, limit: usize) -> Vec<Arc<Object>> {
        let due = self.expiring.range(..=(now_ms, u32::MAX)).take(limit);
        due.filter_map(|(_, slot)| self.slots[*slot as usize].clone())
            .collect()
    }

    pub(super) fn walk(&self, from: usize, count: usize) -> (Vec<Arc<Object>>, Option<usize>) {
        let to = (from + count).min(self.slots.len());
        let objects = self.slots[from.min(to)..to]
            .iter()
            .flatten()
            .cloned()
            .collect();
        (objects, (to < self.slots.len()).then_some(to))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn expiring(&self) -> usize {
        self.expiring.len()
    }

    fn slot_of(&self, object: &Arc<Object>) -> Option<u32> {
        let slot = object.slot.load(Relaxed);
        let held = self.slots.get(slot as usize)?.as_ref()?;
        Arc::ptr_eq(held, object).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::catalog::fixture;

    fn object(name: &str, expires_at: Option<u64>) -> Arc<Object> {
        fixture::object(name, 10, (1, 2), expires_at)
    }

    fn ring(names: &[&str]) -> (Ring, Vec<Arc<Object>>) {
        let mut ring = Ring::default();
        let objects: Vec<_> = names.iter().map(|name| object(name, None)).collect();
        objects.iter().for_each(|object| ring.insert(object));
        (ring, objects)
    }

    #[test]
    fn objects_expire_in_order_and_an_expiry_can_be_changed_and_taken_back() {
        let mut ring = Ring::default();
        let (early, late) = (object("early", Some(10)), object("late", Some(20)));
        ring.insert(&late);
        ring.insert(&early);
        assert!(ring.expired(9, 10).is_empty());
        assert_eq!(ring.expired(10, 10)[0].key(), b"early");
        ring.set_expiry(&early, Some(30));
        assert_eq!(ring.expired(25, 10)[0].key(), b"late");
        ring.set_expiry(&late, None);
        assert!(ring.expired(25, 10).is_empty());
        ring.remove(&early);
        assert_eq!(ring.expiring(), 0);
        assert_eq!(late.expiration().at_ms(), None);
    }

    #[test]
    fn a_walk_meets_every_object_once() {
        let (mut ring, objects) = ring(&["a", "b", "c", "d", "e"]);
        ring.remove(&objects[1]);
        let (first, next) = ring.walk(0, 3);
        let (second, end) = ring.walk(next.unwrap(), 3);
        assert_eq!(end, None);
        let met: Vec<_> = first
            .iter()
            .chain(&second)
            .map(|object| object.key()[0])
            .collect();
        assert_eq!(met, b"acde");
    }
}

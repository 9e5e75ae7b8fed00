//! Objects that wait for chunks: those that lack some, and those on members that are about to go.
//!
//! The most endangered come first: those that can bear the fewest further
//! losses, then those that were used lately. There are two lanes, because moving
//! what is about to go must not wait for the rebuilding of what is gone. An
//! object is in one lane at a time and in one pair of hands, so that no two of
//! its chunks are put on the same node.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use infinicache_client::{Error, Holders};
use tokio::{sync::Notify, time};
use tracing::debug;

use crate::catalog::{Found, Object};

/// What an object waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Some of its chunks are on members that are about to go.
    Leaving,
    /// It lacks chunks.
    Lacking,
}

impl Lane {
    /// What failed is tried again after this long at first, doubled each time up to the second.
    fn backoff(self) -> (Duration, Duration) {
        match self {
            // A member stays for some seconds only.
            Self::Leaving => (Duration::from_millis(100), Duration::from_secs(1)),
            Self::Lacking => (Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

/// The fewest losses that an object can bear first, then the lately used, then by arrival.
type Place = (usize, bool, u64);

/// Objects that wait, the most endangered first.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    leaving: Notify,
    lacking: Notify,
}

#[derive(Default)]
struct State {
    /// Not held: an object that is evicted meanwhile shall free its memory.
    leaving: BTreeMap<Place, Weak<Object>>,
    lacking: BTreeMap<Place, Weak<Object>>,
    /// Where each object waits, by address; and how often it has failed.
    entries: HashMap<usize, Entry>,
    arrivals: u64,
    /// Of all entries.
    bytes: u64,
}

#[derive(Default)]
struct Entry {
    place: Option<(Lane, Place)>,
    /// Somebody is at it.
    taken: bool,
    /// It was added while somebody was at it.
    again: Option<Lane>,
    failures: u32,
    /// Of the chunks that it lacks.
    bytes: u64,
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut BTreeMap<Place, Weak<Object>> {
        match lane {
            Lane::Leaving => &mut self.leaving,
            Lane::Lacking => &mut self.lacking,
        }
    }

    fn remove(&mut self, address: usize) {
        if let Some(entry) = self.entries.remove(&address) {
            self.bytes -= entry.bytes;
        }
    }

    /// Enters an object, or moves it forward; whether it waits now, and where.
    fn add(&mut self, object: &Arc<Object>, lane: Lane) -> Option<Lane> {
        self.arrivals += 1;
        let margin = object.chunks_left().saturating_sub(object.data());
        let place = (margin, !object.was_used(), self.arrivals);
        let lacks = lacks(object);
        let entry = self.entries.entry(address(object)).or_default();
        self.bytes = self.bytes - entry.bytes + lacks;
        entry.bytes = lacks;
        if entry.taken {
            entry.again = Some(entry.again.map_or(lane, |again| again.min(lane)));
            return None;
        }
        let before = entry.place.take();
        let lane = before.map_or(lane, |(before, _)| before.min(lane));
        entry.place = Some((lane, place));
        if let Some((lane, place)) = before {
            self.lane(lane).remove(&place);
        }
        self.lane(lane).insert(place, Arc::downgrade(object));
        Some(lane)
    }

    /// Nobody is at the object any more; what it was added for meanwhile.
    fn put_down(&mut self, object: &Arc<Object>) -> Option<Lane> {
        let entry = self.entries.get_mut(&address(object))?;
        entry.taken = false;
        entry.again.take()
    }
}

impl Queue {
    /// Enters an object, or moves it forward.
    pub(crate) fn add(&self, object: &Arc<Object>, lane: Lane) {
        if object.is_dead() {
            return;
        }
        let waits = self.state().add(object, lane);
        self.tell(waits);
    }

    /// How many objects lack chunks, or are about to.
    pub(crate) fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Bytes of the chunks that they lack.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// The most endangered object of a lane, for as long as it is not given back.
    pub(crate) async fn next(&self, lane: Lane) -> Arc<Object> {
        loop {
            if let Some(object) = self.take(lane) {
                return object;
            }
            match lane {
                Lane::Leaving => self.leaving.notified().await,
                Lane::Lacking => self.lacking.notified().await,
            }
        }
    }

    fn take(&self, lane: Lane) -> Option<Arc<Object>> {
        let mut state = self.state();
        while let Some((_, object)) = state.lane(lane).pop_first() {
            let address = object.as_ptr().addr();
            let Some(object) = object.upgrade().filter(|object| !object.is_dead()) else {
                state.remove(address);
                continue;
            };
            if let Some(entry) = state.entries.get_mut(&address) {
                entry.place = None;
                entry.taken = true;
            }
            let more = !state.lane(lane).is_empty();
            drop(state);
            // One who waits is told of several that came at once only once.
            if more {
                self.tell(Some(lane));
            }
            return Some(object);
        }
        None
    }

    /// What the object was taken for is done, or it is gone.
    pub(crate) fn done(&self, object: &Arc<Object>) {
        let waits = {
            let mut state = self.state();
            match state.put_down(object) {
                Some(lane) if !object.is_dead() => state.add(object, lane),
                _ => {
                    state.remove(address(object));
                    None
                }
            }
        };
        self.tell(waits);
    }

    /// What the object was taken for failed: it is tried again later.
    pub(crate) fn failed(self: &Arc<Self>, object: &Arc<Object>, lane: Lane, error: &Error) {
        let (pause, waits) = {
            let mut state = self.state();
            let again = state.put_down(object);
            let waits = again.and_then(|lane| state.add(object, lane));
            let entry = state.entries.entry(address(object)).or_default();
            entry.failures += 1;
            let (first, most) = lane.backoff();
            let pause = first * 2u32.saturating_pow(entry.failures.min(16) - 1);
            (pause.min(most), waits)
        };
        debug!(%error, ?lane, ?pause, "object not whole yet");
        self.tell(waits);
        let (queue, object) = (self.clone(), Arc::downgrade(object));
        tokio::spawn(async move {
            time::sleep(pause).await;
            match object.upgrade().filter(|object| !object.is_dead()) {
                Some(object) => queue.add(&object, lane),
                None => queue.state().remove(object.as_ptr().addr()),
            }
        });
    }

    fn tell(&self, waits: Option<Lane>) {
        match waits {
            Some(Lane::Leaving) => self.leaving.notify_one(),
            Some(Lane::Lacking) => self.lacking.notify_one(),
            None => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the chunks that an object lacks.
fn lacks(object: &Arc<Object>) -> u64 {
    let geometry = Found(object.clone()).geometry();
    let members = object.members().into_iter().enumerate();
    let lacking = members.filter(|(_, member)| member.is_none());
    lacking.map(|(index, _)| geometry.chunk_len(index)).sum()
}

/// Identifies an object in the queue: its place in memory is its own for as long as the queue refers to it.
fn address(object: &Arc<Object>) -> usize {
    Arc::as_ptr(object).addr()
}

#[cfg(test)]
mod tests {
    use infinicache_wire::MemberId;

    use super::*;
    use crate::catalog::fixture;

    /// An object of 2+2 chunks of 1024 bytes, of which so many are lost.
    fn object(lost: u32) -> Arc<Object> {
        let object = fixture::object("key", 2048, (2, 2), None);
        (0..lost).for_each(|member| assert!(object.lose(MemberId(member))));
        object
    }

    #[test]
    fn the_most_endangered_come_first_and_among_them_the_lately_used() {
        let (queue, lane) = (Queue::default(), Lane::Lacking);
        let objects = [object(1), object(2), object(2), object(1)];
        objects[2].touch();
        objects.iter().for_each(|object| queue.add(object, lane));
        let order = std::iter::from_fn(|| queue.take(lane));
        let order: Vec<_> = order.collect();
        for (taken, expected) in order.iter().zip([2, 1, 0, 3]) {
            assert!(Arc::ptr_eq(taken, &objects[expected]));
        }
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn an_object_is_in_one_pair_of_hands_at_a_time() {
        let (queue, it) = (Queue::default(), object(1));
        queue.add(&it, Lane::Leaving);
        let taken = queue.take(Lane::Leaving).unwrap();
        queue.add(&it, Lane::Lacking);
        assert!(queue.take(Lane::Lacking).is_none());
        queue.done(&taken);
        assert!(queue.take(Lane::Lacking).is_some());
        queue.done(&taken);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_about_to_go_does_not_wait_among_what_is_gone() {
        let (queue, it) = (Queue::default(), object(1));
        queue.add(&it, Lane::Lacking);
        queue.add(&it, Lane::Leaving);
        assert!(queue.take(Lane::Lacking).is_none());
        assert!(queue.take(Lane::Leaving).is_some());
        queue.done(&it);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_to_go_is_known_in_bytes_until_it_is_done_or_dead() {
        let (queue, lane) = (Queue::default(), Lane::Lacking);
        let (one, two) = (object(1), object(2));
        queue.add(&one, lane);
        queue.add(&two, lane);
        queue.add(&two, lane);
        let unit = Found(one.clone()).geometry().chunk_len(0);
        assert_eq!(queue.bytes(), 3 * unit);
        let taken = queue.take(lane).unwrap();
        assert!(Arc::ptr_eq(&taken, &two));
        queue.done(&taken);
        assert_eq!(queue.bytes(), unit);
        one.retire();
        assert!(queue.take(lane).is_none());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_again_later() {
        let (queue, it) = (Arc::new(Queue::default()), object(1));
        queue.add(&it, Lane::Lacking);
        let taken = queue.next(Lane::Lacking).await;
        let began = time::Instant::now();
        queue.failed(&taken, Lane::Lacking, &Error::NoWrite);
        assert!(queue.take(Lane::Lacking).is_none());
        queue.next(Lane::Lacking).await;
        assert!(began.elapsed() >= Lane::Lacking.backoff().0);
    }
}

//! Objects that wait for chunks: those that lack some, and those on members that are about to go.
//!
//! The most endangered come first: those that can bear the fewest further
//! losses, then those that were used lately. There are two lanes, because moving
//! what is about to go must not wait for the rebuilding of what is gone. An
//! object is in one lane at a time and in one pair of hands, so that no two of
//! its chunks are put on the same node.
//!
//! What failed is tried again later, and later each time. Until then it is not
//! tried for being entered again, but for having lost another chunk. A [`Worker`]
//! pauses too after failures in a row, so that many objects for which nothing can
//! be done are not tried all the time.

mod worker;

pub(crate) use worker::Worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use infinicache_backoff::Backoff;
use infinicache_client::{Error, Holders};
use infinicache_host::{hash::HashMap, task};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
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
    /// How long after a failure it is tried again.
    fn backoff(self) -> Backoff {
        match self {
            // A member stays for some seconds only.
            Self::Leaving => Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            Self::Lacking => Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
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
    /// Where each object waits or rests, by address.
    entries: HashMap<usize, Entry>,
    arrivals: u64,
    /// Of all entries.
    bytes: u64,
}

#[derive(Default)]
struct Entry {
    place: Option<(Lane, Place)>,
    /// Somebody is at it: how many chunks it had when it was taken.
    taken: Option<usize>,
    /// It was added while somebody was at it.
    again: Option<Lane>,
    /// What failed in each lane.
    failed: [Failures; 2],
    /// Of the chunks that it lacks.
    bytes: u64,
}

/// What failed in one lane since something last succeeded there.
#[derive(Default)]
struct Failures {
    count: u32,
    rest: Option<Rest>,
}

/// An object is not tried before a time, unless it has lost a chunk by then.
struct Rest {
    until: Instant,
    chunks_left: usize,
}

impl Entry {
    /// Whether it is not to be tried yet.
    fn rests(&mut self, lane: Lane, chunks_left: usize) -> bool {
        let rest = &mut self.failed[lane as usize].rest;
        rest.take_if(|rest| chunks_left < rest.chunks_left);
        rest.is_some()
    }
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
        if entry.rests(lane, object.chunks_left()) {
            return None;
        }
        if entry.taken.is_some() {
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

    /// Nobody is at the object any more, of which a lane is done; what it waits for now.
    fn done(&mut self, object: &Arc<Object>, lane: Lane) -> Option<Lane> {
        let entry = self.entries.get_mut(&address(object))?;
        entry.taken = None;
        entry.failed[lane as usize] = Failures::default();
        let rests = entry.failed.iter().any(|failed| failed.rest.is_some());
        match entry.again.take() {
            _ if object.is_dead() => self.remove(address(object)),
            Some(lane) => return self.add(object, lane),
            None if rests => {
                let lacks = lacks(object);
                self.bytes = self.bytes - entry.bytes + lacks;
                entry.bytes = lacks;
            }
            None => self.remove(address(object)),
        }
        None
    }

    /// Nobody is at the object any more, of which a lane failed; until when it rests there, and
    /// what it waits for now.
    fn failed(&mut self, object: &Arc<Object>, lane: Lane) -> (Instant, Option<Lane>) {
        let entry = self.entries.entry(address(object)).or_default();
        let chunks_left = entry.taken.take().unwrap_or(0);
        let failed = &mut entry.failed[lane as usize];
        let until = Instant::now() + lane.backoff().wait(failed.count);
        failed.count = failed.count.saturating_add(1);
        failed.rest = Some(Rest { until, chunks_left });
        let again = entry.again.take();
        (until, again.and_then(|lane| self.add(object, lane)))
    }

    /// A time has come until which an object rested; what it waits for now.
    fn rested(&mut self, object: &Arc<Object>, lane: Lane, until: Instant) -> Option<Lane> {
        let entry = self.entries.get_mut(&address(object))?;
        let rest = &mut entry.failed[lane as usize].rest;
        rest.take_if(|rest| rest.until == until)?;
        self.add(object, lane)
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
    async fn next(&self, lane: Lane) -> Arc<Object> {
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
                entry.taken = Some(object.chunks_left());
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
    fn done(&self, object: &Arc<Object>, lane: Lane) {
        let waits = self.state().done(object, lane);
        self.tell(waits);
    }

    /// What the object was taken for failed: it is tried again later.
    fn failed(self: &Arc<Self>, object: &Arc<Object>, lane: Lane, error: &Error) {
        let (until, waits) = self.state().failed(object, lane);
        debug!(%error, ?lane, "object not whole yet");
        self.tell(waits);
        let (queue, object) = (self.clone(), Arc::downgrade(object));
        task::spawn(async move {
            time::sleep_until(until).await;
            match object.upgrade().filter(|object| !object.is_dead()) {
                Some(object) => {
                    let waits = queue.state().rested(&object, lane, until);
                    queue.tell(waits);
                }
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
        queue.done(&taken, Lane::Leaving);
        assert!(queue.take(Lane::Lacking).is_some());
        queue.done(&taken, Lane::Lacking);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_about_to_go_does_not_wait_among_what_is_gone() {
        let (queue, it) = (Queue::default(), object(1));
        queue.add(&it, Lane::Lacking);
        queue.add(&it, Lane::Leaving);
        assert!(queue.take(Lane::Lacking).is_none());
        assert!(queue.take(Lane::Leaving).is_some());
        queue.done(&it, Lane::Leaving);
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
        queue.done(&taken, lane);
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
        let began = Instant::now();
        queue.failed(&taken, Lane::Lacking, &Error::NoWrite);
        assert!(queue.take(Lane::Lacking).is_none());
        queue.next(Lane::Lacking).await;
        assert!(began.elapsed() >= Lane::Lacking.backoff().first());
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_not_tried_sooner_for_being_entered_again() {
        let (queue, it) = (Arc::new(Queue::default()), object(1));
        for lane in [Lane::Lacking, Lane::Leaving] {
            queue.add(&it, lane);
            let taken = queue.next(lane).await;
            queue.add(&it, lane);
            queue.failed(&taken, lane, &Error::NoWrite);
            queue.add(&it, lane);
            assert!(queue.take(lane).is_none(), "{lane:?}");
            let began = Instant::now();
            queue.next(lane).await;
            assert!(began.elapsed() >= lane.backoff().first(), "{lane:?}");
            queue.done(&taken, lane);
            assert_eq!(queue.len(), 0, "{lane:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_at_once_when_it_has_lost_another_chunk() {
        let (queue, it) = (Arc::new(Queue::default()), object(1));
        queue.add(&it, Lane::Lacking);
        for lost in [1, 2] {
            let taken = queue.next(Lane::Lacking).await;
            queue.failed(&taken, Lane::Lacking, &Error::NoWrite);
            assert!(it.lose(MemberId(lost)));
            queue.add(&it, Lane::Lacking);
            assert!(queue.take(Lane::Lacking).is_some());
            queue.failed(&taken, Lane::Lacking, &Error::NoWrite);
        }
        queue.next(Lane::Lacking).await;
        time::sleep(Lane::Lacking.backoff().longest()).await;
        assert!(queue.take(Lane::Lacking).is_none(), "it has been taken");
        queue.done(&it, Lane::Lacking);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_one_lane_changes_nothing_for_what_failed_in_the_other() {
        let (queue, it) = (Arc::new(Queue::default()), object(1));
        let began = Instant::now();
        queue.add(&it, Lane::Leaving);
        for _ in 0..8 {
            let taken = queue.next(Lane::Leaving).await;
            queue.add(&it, Lane::Lacking);
            queue.failed(&taken, Lane::Leaving, &Error::NoWrite);
            assert!(queue.take(Lane::Lacking).is_some());
            queue.done(&taken, Lane::Lacking);
            assert_eq!(queue.len(), 1);
        }
        queue.next(Lane::Leaving).await;
        // 0.1 + 0.2 + 0.4 + 0.8 + 4 times 1 s.
        assert!(began.elapsed() >= Duration::from_millis(5500));
    }
}

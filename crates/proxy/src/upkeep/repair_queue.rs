//! The repair queue: objects that lack chunks, and those on members that drain.
//!
//! The most degraded come first: those that can bear the fewest further
//! losses, then those that were used lately. There are two queues, because moving
//! what is about to go must not wait for the rebuilding of what is gone. An
//! object is in one queue at a time and in one pair of hands, so that no two of
//! its chunks are put on the same node.
//!
//! What failed is tried again later, and later each time. Until then it is not
//! tried for being entered again, but for having lost another chunk. A [`Worker`](worker::Worker)
//! pauses too after failures in a row, so that many objects for which nothing can
//! be done are not tried all the time.

pub(crate) mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use infinicache_backoff::Backoff;
use infinicache_engine::{Error, Holders};
use infinicache_host::{hash::HashMap, task};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tracing::debug;

use crate::metadata::catalog::{Object, ObjectRef};

/// What an object waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueKind {
    /// Some of its chunks are on members that are about to go.
    Draining,
    /// It lacks chunks.
    Degraded,
}

impl QueueKind {
    /// How long after a failure it is tried again.
    fn backoff(self) -> Backoff {
        match self {
            // A member stays for some seconds only.
            Self::Draining => Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            Self::Degraded => Backoff::new(Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

/// The fewest losses that an object can bear first, then the lately used, then by arrival.
type QueuePosition = (usize, bool, u64);

/// Objects that wait, the most degraded first.
#[derive(Default)]
pub(crate) struct RepairQueue {
    state: Mutex<QueueState>,
    draining: Notify,
    degraded: Notify,
}

#[derive(Default)]
struct QueueState {
    /// Not held: an object that is evicted meanwhile shall free its memory.
    draining: BTreeMap<QueuePosition, Weak<Object>>,
    degraded: BTreeMap<QueuePosition, Weak<Object>>,
    /// Where each object waits or rests, by address.
    entries: HashMap<usize, QueueEntry>,
    arrivals: u64,
    /// Of all entries.
    bytes: u64,
}

#[derive(Default)]
struct QueueEntry {
    place: Option<(QueueKind, QueuePosition)>,
    /// A worker has it: how many chunks it had when it was taken.
    taken: Option<usize>,
    /// It was added while a worker had it.
    again: Option<QueueKind>,
    /// What failed in each queue.
    failed: [Failures; 2],
    /// Of the chunks that it lacks.
    bytes: u64,
}

/// What failed in one queue since something last succeeded there.
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

impl QueueEntry {
    /// Whether it is not to be tried yet.
    fn rests(&mut self, kind: QueueKind, chunks_left: usize) -> bool {
        let rest = &mut self.failed[kind as usize].rest;
        rest.take_if(|rest| chunks_left < rest.chunks_left);
        rest.is_some()
    }
}

impl QueueState {
    fn queue(&mut self, kind: QueueKind) -> &mut BTreeMap<QueuePosition, Weak<Object>> {
        match kind {
            QueueKind::Draining => &mut self.draining,
            QueueKind::Degraded => &mut self.degraded,
        }
    }

    fn remove(&mut self, address: usize) {
        if let Some(entry) = self.entries.remove(&address) {
            self.bytes -= entry.bytes;
        }
    }

    /// Enters an object, or moves it forward; whether it waits now, and where.
    fn add(&mut self, object: &Arc<Object>, kind: QueueKind) -> Option<QueueKind> {
        self.arrivals += 1;
        let margin = object.chunks_left().saturating_sub(object.code().data());
        let place = (margin, !object.reference_bit().is_set(), self.arrivals);
        let lacks = lacks(object);
        let entry = self.entries.entry(address(object)).or_default();
        self.bytes = self.bytes - entry.bytes + lacks;
        entry.bytes = lacks;
        if entry.rests(kind, object.chunks_left()) {
            return None;
        }
        if entry.taken.is_some() {
            entry.again = Some(entry.again.map_or(kind, |again| again.min(kind)));
            return None;
        }
        let before = entry.place.take();
        let kind = before.map_or(kind, |(before, _)| before.min(kind));
        entry.place = Some((kind, place));
        if let Some((kind, place)) = before {
            self.queue(kind).remove(&place);
        }
        self.queue(kind).insert(place, Arc::downgrade(object));
        Some(kind)
    }

    /// No worker has the object any more, of which a queue is done; what it waits for now.
    fn done(&mut self, object: &Arc<Object>, kind: QueueKind) -> Option<QueueKind> {
        let entry = self.entries.get_mut(&address(object))?;
        entry.taken = None;
        entry.failed[kind as usize] = Failures::default();
        let rests = entry.failed.iter().any(|failed| failed.rest.is_some());
        match entry.again.take() {
            _ if object.is_dead() => self.remove(address(object)),
            Some(kind) => return self.add(object, kind),
            None if rests => {
                let lacks = lacks(object);
                self.bytes = self.bytes - entry.bytes + lacks;
                entry.bytes = lacks;
            }
            None => self.remove(address(object)),
        }
        None
    }

    /// No worker has the object any more, of which a queue failed; until when it rests there, and
    /// what it waits for now.
    fn failed(&mut self, object: &Arc<Object>, kind: QueueKind) -> (Instant, Option<QueueKind>) {
        let entry = self.entries.entry(address(object)).or_default();
        let chunks_left = entry.taken.take().unwrap_or(0);
        let failed = &mut entry.failed[kind as usize];
        let until = Instant::now() + kind.backoff().wait(failed.count);
        failed.count = failed.count.saturating_add(1);
        failed.rest = Some(Rest { until, chunks_left });
        let again = entry.again.take();
        (until, again.and_then(|kind| self.add(object, kind)))
    }

    /// A time has come until which an object rested; what it waits for now.
    fn rested(
        &mut self,
        object: &Arc<Object>,
        kind: QueueKind,
        until: Instant,
    ) -> Option<QueueKind> {
        let entry = self.entries.get_mut(&address(object))?;
        let rest = &mut entry.failed[kind as usize].rest;
        rest.take_if(|rest| rest.until == until)?;
        self.add(object, kind)
    }
}

impl RepairQueue {
    /// Enters an object, or moves it forward.
    pub(crate) fn add(&self, object: &Arc<Object>, kind: QueueKind) {
        if object.is_dead() {
            return;
        }
        let waits = self.state().add(object, kind);
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

    /// The most degraded object of a queue, for as long as it is not given back.
    async fn next(&self, kind: QueueKind) -> Arc<Object> {
        loop {
            if let Some(object) = self.take(kind) {
                return object;
            }
            match kind {
                QueueKind::Draining => self.draining.notified().await,
                QueueKind::Degraded => self.degraded.notified().await,
            }
        }
    }

    fn take(&self, kind: QueueKind) -> Option<Arc<Object>> {
        let mut state = self.state();
        while let Some((_, object)) = state.queue(kind).pop_first() {
            let address = object.as_ptr().addr();
            let Some(object) = object.upgrade().filter(|object| !object.is_dead()) else {
                state.remove(address);
                continue;
            };
            if let Some(entry) = state.entries.get_mut(&address) {
                entry.place = None;
                entry.taken = Some(object.chunks_left());
            }
            let more = !state.queue(kind).is_empty();
            drop(state);
            // A worker that waits is woken once for several that came at once.
            if more {
                self.tell(Some(kind));
            }
            return Some(object);
        }
        None
    }

    /// What the object was taken for is done, or it is gone.
    fn done(&self, object: &Arc<Object>, kind: QueueKind) {
        let waits = self.state().done(object, kind);
        self.tell(waits);
    }

    /// What the object was taken for failed: it is tried again later.
    fn failed(self: &Arc<Self>, object: &Arc<Object>, kind: QueueKind, error: &Error) {
        let (until, waits) = self.state().failed(object, kind);
        debug!(%error, ?kind, "object not whole yet");
        self.tell(waits);
        let (queue, object) = (self.clone(), Arc::downgrade(object));
        task::spawn(async move {
            time::sleep_until(until).await;
            match object.upgrade().filter(|object| !object.is_dead()) {
                Some(object) => {
                    let waits = queue.state().rested(&object, kind, until);
                    queue.tell(waits);
                }
                None => queue.state().remove(object.as_ptr().addr()),
            }
        });
    }

    fn tell(&self, waits: Option<QueueKind>) {
        match waits {
            Some(QueueKind::Draining) => self.draining.notify_one(),
            Some(QueueKind::Degraded) => self.degraded.notify_one(),
            None => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the chunks that an object lacks.
fn lacks(object: &Arc<Object>) -> u64 {
    let geometry = ObjectRef(object.clone()).geometry();
    let members = object.members().into_iter().enumerate();
    let degraded = members.filter(|(_, member)| member.is_none());
    degraded.map(|(index, _)| geometry.chunk_len(index)).sum()
}

/// Identifies an object in the queue: its place in memory is its own for as long as the queue refers to it.
fn address(object: &Arc<Object>) -> usize {
    Arc::as_ptr(object).addr()
}

#[cfg(test)]
mod tests {
    use infinicache_wire::MemberId;

    use super::*;
    use crate::metadata::catalog::fixture;

    /// An object of 2+2 chunks of 1024 bytes, of which so many are lost.
    fn object(lost: u32) -> Arc<Object> {
        let object = fixture::object("key", 2048, (2, 2), None);
        (0..lost).for_each(|member| assert!(object.lose(MemberId(member))));
        object
    }

    #[test]
    fn the_most_endangered_come_first_and_among_them_the_lately_used() {
        let (queue, kind) = (RepairQueue::default(), QueueKind::Degraded);
        let objects = [object(1), object(2), object(2), object(1)];
        objects[2].reference_bit().set();
        objects.iter().for_each(|object| queue.add(object, kind));
        let order = std::iter::from_fn(|| queue.take(kind));
        let order: Vec<_> = order.collect();
        for (taken, expected) in order.iter().zip([2, 1, 0, 3]) {
            assert!(Arc::ptr_eq(taken, &objects[expected]));
        }
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn an_object_is_in_one_pair_of_hands_at_a_time() {
        let (queue, it) = (RepairQueue::default(), object(1));
        queue.add(&it, QueueKind::Draining);
        let taken = queue.take(QueueKind::Draining).unwrap();
        queue.add(&it, QueueKind::Degraded);
        assert!(queue.take(QueueKind::Degraded).is_none());
        queue.done(&taken, QueueKind::Draining);
        assert!(queue.take(QueueKind::Degraded).is_some());
        queue.done(&taken, QueueKind::Degraded);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_about_to_go_does_not_wait_among_what_is_gone() {
        let (queue, it) = (RepairQueue::default(), object(1));
        queue.add(&it, QueueKind::Degraded);
        queue.add(&it, QueueKind::Draining);
        assert!(queue.take(QueueKind::Degraded).is_none());
        assert!(queue.take(QueueKind::Draining).is_some());
        queue.done(&it, QueueKind::Draining);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn what_is_to_go_is_known_in_bytes_until_it_is_done_or_dead() {
        let (queue, kind) = (RepairQueue::default(), QueueKind::Degraded);
        let (one, two) = (object(1), object(2));
        queue.add(&one, kind);
        queue.add(&two, kind);
        queue.add(&two, kind);
        let unit = ObjectRef(one.clone()).geometry().chunk_len(0);
        assert_eq!(queue.bytes(), 3 * unit);
        let taken = queue.take(kind).unwrap();
        assert!(Arc::ptr_eq(&taken, &two));
        queue.done(&taken, kind);
        assert_eq!(queue.bytes(), unit);
        one.retire();
        assert!(queue.take(kind).is_none());
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_again_later() {
        let (queue, it) = (Arc::new(RepairQueue::default()), object(1));
        queue.add(&it, QueueKind::Degraded);
        let taken = queue.next(QueueKind::Degraded).await;
        let began = Instant::now();
        queue.failed(&taken, QueueKind::Degraded, &Error::NoWrite);
        assert!(queue.take(QueueKind::Degraded).is_none());
        queue.next(QueueKind::Degraded).await;
        assert!(began.elapsed() >= QueueKind::Degraded.backoff().first());
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_not_tried_sooner_for_being_entered_again() {
        let (queue, it) = (Arc::new(RepairQueue::default()), object(1));
        for kind in [QueueKind::Degraded, QueueKind::Draining] {
            queue.add(&it, kind);
            let taken = queue.next(kind).await;
            queue.add(&it, kind);
            queue.failed(&taken, kind, &Error::NoWrite);
            queue.add(&it, kind);
            assert!(queue.take(kind).is_none(), "{kind:?}");
            let began = Instant::now();
            queue.next(kind).await;
            assert!(began.elapsed() >= kind.backoff().first(), "{kind:?}");
            queue.done(&taken, kind);
            assert_eq!(queue.len(), 0, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_at_once_when_it_has_lost_another_chunk() {
        let (queue, it) = (Arc::new(RepairQueue::default()), object(1));
        queue.add(&it, QueueKind::Degraded);
        for lost in [1, 2] {
            let taken = queue.next(QueueKind::Degraded).await;
            queue.failed(&taken, QueueKind::Degraded, &Error::NoWrite);
            assert!(it.lose(MemberId(lost)));
            queue.add(&it, QueueKind::Degraded);
            assert!(queue.take(QueueKind::Degraded).is_some());
            queue.failed(&taken, QueueKind::Degraded, &Error::NoWrite);
        }
        queue.next(QueueKind::Degraded).await;
        time::sleep(QueueKind::Degraded.backoff().longest()).await;
        assert!(
            queue.take(QueueKind::Degraded).is_none(),
            "it has been taken"
        );
        queue.done(&it, QueueKind::Degraded);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_one_lane_changes_nothing_for_what_failed_in_the_other() {
        let (queue, it) = (Arc::new(RepairQueue::default()), object(1));
        let began = Instant::now();
        queue.add(&it, QueueKind::Draining);
        for _ in 0..8 {
            let taken = queue.next(QueueKind::Draining).await;
            queue.add(&it, QueueKind::Degraded);
            queue.failed(&taken, QueueKind::Draining, &Error::NoWrite);
            assert!(queue.take(QueueKind::Degraded).is_some());
            queue.done(&taken, QueueKind::Degraded);
            assert_eq!(queue.len(), 1);
        }
        queue.next(QueueKind::Draining).await;
        // 0.1 + 0.2 + 0.4 + 0.8 + 4 times 1 s.
        assert!(began.elapsed() >= Duration::from_millis(5500));
    }
}

//! Repair: objects that lack chunks get them back, in the background.
//!
//! The most endangered objects come first: those that can bear the fewest
//! further losses. A repair rebuilds the missing chunks from any k others on
//! members that hold none of the object, and enters them if the object is still
//! the value of its key. Chunks on members that are about to go count as
//! missing too, only that they can still be read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use infinicache_client::{Error, Holders, rebuild::rebuild};
use tokio::{sync::Notify, time};
use tracing::{debug, info};

use crate::{
    cache::Cache,
    catalog::{Found, Keeper, Object},
    nodes::member::Member,
};

/// A repair that failed is tried again after this long, doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MOST_BACKOFF: Duration = Duration::from_secs(30);

/// Objects that wait for repair, the most endangered first.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    /// By how many further losses it can bear, then by arrival.
    /// Not held: an object that is evicted meanwhile shall free its memory.
    waiting: BTreeMap<(usize, u64), Weak<Object>>,
    /// Where each object waits, by address; and how often its repair has failed.
    entries: HashMap<usize, Entry>,
    arrivals: u64,
}

struct Entry {
    place: Option<(usize, u64)>,
    failures: u32,
}

impl Queue {
    /// Enters an object, or moves it forward.
    pub(crate) fn add(&self, object: Arc<Object>) {
        if object.is_dead() {
            return;
        }
        let mut state = self.state();
        let margin = object.chunks_left().saturating_sub(object.data());
        state.arrivals += 1;
        let place = (margin, state.arrivals);
        let entry = state.entries.entry(address(&object));
        let entry = entry.or_insert(Entry {
            place: None,
            failures: 0,
        });
        let moved = entry.place.replace(place);
        if let Some(moved) = moved {
            state.waiting.remove(&moved);
        }
        state.waiting.insert(place, Arc::downgrade(&object));
        drop(state);
        self.added.notify_one();
    }

    /// How many objects lack chunks.
    pub(crate) fn len(&self) -> usize {
        self.state().entries.len()
    }

    async fn next(&self) -> Arc<Object> {
        loop {
            {
                let mut state = self.state();
                while let Some((_, object)) = state.waiting.pop_first() {
                    let address = object.as_ptr().addr();
                    let Some(object) = object.upgrade() else {
                        state.entries.remove(&address);
                        continue;
                    };
                    if let Some(entry) = state.entries.get_mut(&address) {
                        entry.place = None;
                    }
                    return object;
                }
            }
            self.added.notified().await;
        }
    }

    /// The object is whole again, or gone: unless it was entered anew meanwhile.
    fn done(&self, object: &Arc<Object>) {
        let mut state = self.state();
        let entry = state.entries.get(&address(object));
        if entry.is_some_and(|entry| entry.place.is_none()) {
            state.entries.remove(&address(object));
        }
    }

    /// The object that was there is no more.
    fn forget(&self, address: usize) {
        self.state().entries.remove(&address);
    }

    /// How long to wait before the object is tried again.
    fn failed(&self, object: &Arc<Object>) -> Duration {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&address(object)) else {
            return FIRST_BACKOFF;
        };
        entry.failures += 1;
        (FIRST_BACKOFF * 2u32.saturating_pow(entry.failures.min(16) - 1)).min(MOST_BACKOFF)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Identifies an object in the queue: its place in memory is its own for as long as the queue refers to it.
fn address(object: &Arc<Object>) -> usize {
    Arc::as_ptr(object).addr()
}

/// Repairs what is in the queue, for ever, at no more than `bytes_per_second` of values.
pub(crate) async fn run(cache: Cache, queue: Arc<Queue>, bytes_per_second: u64) {
    loop {
        let object = queue.next().await;
        if object.is_dead() {
            queue.done(&object);
            continue;
        }
        let started = Instant::now();
        match repair(&cache, &object).await {
            Ok(chunks) => {
                queue.done(&object);
                if chunks > 0 {
                    info!(chunks, size = object.size(), elapsed = ?started.elapsed(), "object repaired");
                }
            }
            Err(error) => {
                let pause = queue.failed(&object);
                debug!(%error, ?pause, "object not repaired yet");
                cache.metrics().repair_failed();
                let (queue, object) = (queue.clone(), Arc::downgrade(&object));
                tokio::spawn(async move {
                    time::sleep(pause).await;
                    match object.upgrade().filter(|object| !object.is_dead()) {
                        Some(object) => queue.add(object),
                        None => queue.forget(object.as_ptr().addr()),
                    }
                });
                continue;
            }
        }
        let fair_share = object.size().saturating_mul(1_000_000) / bytes_per_second.max(1);
        time::sleep(Duration::from_micros(fair_share).saturating_sub(started.elapsed())).await;
    }
}

/// Rebuilds what an object lacks; how many chunks that were.
async fn repair(cache: &Cache, object: &Arc<Object>) -> Result<usize, Error> {
    let found = Found(object.clone());
    let geometry = found.geometry();
    let holders: Vec<Option<Arc<Member>>> = object
        .members()
        .into_iter()
        .map(|holder| holder.and_then(|id| cache.nodes().member(id)))
        .collect();
    let stays = |holder: &Option<Arc<Member>>| holder.as_ref().is_some_and(|it| !it.is_draining());
    let lacking: Vec<usize> = (0..holders.len())
        .filter(|&index| !stays(&holders[index]))
        .collect();
    if lacking.is_empty() {
        return Ok(0);
    }

    let staying = holders.iter().filter(|holder| stays(holder)).flatten();
    let excluded: Vec<usize> = staying.map(|member| member.node).collect();
    let parity = geometry.code().parity();
    // Some chunks now are better than all of them later.
    let mut targets = cache.place(lacking.len(), parity, &excluded).await;
    let mut count = lacking.len();
    while targets.is_err() && count > 1 {
        count -= 1;
        targets = cache.place(count, parity, &excluded).await;
    }
    let targets: Vec<(usize, Arc<Member>)> = lacking.iter().copied().zip(targets?).collect();

    let mut entered = 0;
    for (number, (index, target)) in targets.iter().enumerate() {
        let bytes = object.footprint(*index);
        let taken = cache.take_room(std::slice::from_ref(target), bytes, object.key());
        if let Err(no_room) = taken {
            // Nothing has been sent: what was taken before is to be given back.
            for (index, target) in &targets[..number] {
                target.give_back(object.footprint(*index));
            }
            return Err(Error::OutOfMemory(no_room.to_string()));
        }
    }
    let ids: Vec<_> = targets
        .iter()
        .map(|(index, target)| (*index, target.id))
        .collect();
    let rebuilt = rebuild(cache, &found, &ids, 0..geometry.stripes()).await;
    let failed = rebuilt
        .as_ref()
        .map_or_else(|_| lacking.clone(), Clone::clone);
    for (index, target) in targets {
        let chunk = object.chunk(index);
        target.count_chunk(true);
        if failed.contains(&index) || !cache.enter(object, index, &target).await {
            let bytes = object.footprint(index);
            cache.keeper().abandon(chunk, target.id, bytes);
            continue;
        }
        cache.metrics().repaired(geometry.chunk_len(index));
        entered += 1;
    }
    rebuilt?;
    if entered < lacking.len() {
        return Err(Error::Unreachable(format!(
            "{entered} of {} chunks repaired",
            lacking.len()
        )));
    }
    Ok(entered)
}

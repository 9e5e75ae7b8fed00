//! Housekeeping: what has to be done now and then, and what objects leave behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_client::{NodeLink, Pool};
use infinicache_wire::{ChunkId, MemberId, Request};
use tokio::{sync::mpsc, task, time};

use crate::{
    cache::Cache,
    catalog::{Keeper, Object},
    nodes::{Event, Nodes},
    repair::Queue,
};

/// How often expired objects are looked for.
const EXPIRY_TICK: Duration = Duration::from_millis(100);

/// How often idle writes and leases are looked for.
const IDLE_TICK: Duration = Duration::from_secs(2);

/// Chunks that may be freed at once.
const PARALLEL_FREES: usize = 256;

/// Work that can wait a moment.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Tell a member to let go of a chunk.
    Free(ChunkId, MemberId),
    /// Rebuild what an object lacks.
    Repair(Arc<Object>),
}

/// Keeps the books at once, and leaves the rest as chores.
///
/// Chores are at most one for each chunk there was, so their queue is bounded by the metadata.
pub(crate) struct Housekeeper {
    nodes: Nodes,
    chores: mpsc::UnboundedSender<Chore>,
}

impl Housekeeper {
    pub(crate) fn new(nodes: Nodes, chores: mpsc::UnboundedSender<Chore>) -> Self {
        Self { nodes, chores }
    }

    pub(crate) fn leave(&self, chore: Chore) {
        // Nobody does chores any more once the proxy stops.
        let _ = self.chores.send(chore);
    }
}

impl Keeper for Housekeeper {
    fn free(&self, chunk: ChunkId, member: MemberId, bytes: u64) {
        if let Some(member) = self.nodes.member(member) {
            member.give_back(bytes);
            member.count_chunk(false);
        }
        self.leave(Chore::Free(chunk, member));
    }

    fn repair(&self, object: Arc<Object>) {
        self.leave(Chore::Repair(object));
    }
}

/// Does the chores, for ever.
pub(crate) async fn do_chores(
    cache: Cache,
    repairs: Arc<Queue>,
    mut chores: mpsc::UnboundedReceiver<Chore>,
) {
    let mut freeing = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(_) = freeing.next() => {}
            chore = chores.recv(), if freeing.len() < PARALLEL_FREES => match chore {
                None => return,
                Some(Chore::Repair(object)) => repairs.add(object),
                Some(Chore::Free(chunk, member)) => {
                    if let Some(link) = cache.link(member) {
                        freeing.push(async move { link.call(Request::Free { chunk }).await });
                    }
                }
            },
        }
    }
}

/// Follows the nodes' fates, for ever.
pub(crate) async fn follow_nodes(cache: Cache, mut events: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        let cache = cache.clone();
        // Every object is looked at: not on a thread that serves clients.
        let walking = task::spawn_blocking(move || match event {
            Event::Lost(member) => cache.lose_member(member.id),
            Event::Leaving(member) => cache.vacate(member.id),
        });
        if walking.await.is_err() {
            return;
        }
    }
}

/// Removes what has expired and gives up what is idle, for ever.
pub(crate) async fn tidy(cache: Cache) {
    let mut ticks = time::interval(EXPIRY_TICK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut idle_at = Instant::now();
    loop {
        ticks.tick().await;
        while cache.expire() {
            task::yield_now().await;
        }
        if idle_at.elapsed() >= IDLE_TICK {
            idle_at = Instant::now();
            cache.give_up_idle();
            cache.leases().sweep(idle_at);
        }
    }
}

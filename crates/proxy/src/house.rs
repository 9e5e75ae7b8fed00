//! Housekeeping: what has to be done now and then, and what objects leave behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_client::{NodeLink, Pool};
use infinicache_wire::Request;
use tokio::{sync::mpsc, task, time};

use crate::{
    cache::{Cache, Chore},
    nodes::Event,
    repair::Queue,
};

/// How often expired objects are looked for.
const EXPIRY_TICK: Duration = Duration::from_millis(100);

/// How often idle writes and leases are looked for.
const IDLE_TICK: Duration = Duration::from_secs(2);

/// Chunks that may be freed at once.
const PARALLEL_FREES: usize = 256;

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

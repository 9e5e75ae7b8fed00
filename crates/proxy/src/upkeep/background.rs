//! Background loops: expiry, garbage collection, and the events of the pool.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_engine::{NodeLink, Pool};
use infinicache_host::{clock, fail_point, task};
use infinicache_wire::{ChunkId, MemberId, Reply, Request};
use tokio::time;
use tracing::{info, warn};

use crate::{
    cache::Cache,
    gc_queue::GcTask,
    pool::{PoolEvent, member::Member},
    upkeep::repair_queue::{QueueKind, RepairQueue},
};

/// How often expired objects are looked for.
const EXPIRY_TICK: Duration = Duration::from_millis(100);

/// How often idle writes and leases are looked for.
const IDLE_TICK: Duration = Duration::from_secs(2);

/// How long a member that is gone may take to be off the view, before that is worth a warning.
const LOSS_DEADLINE: Duration = Duration::from_secs(10);

/// Chunks that may be freed at once.
const PARALLEL_FREES: usize = 256;

/// Does the tasks of the queue, for ever.
pub(crate) async fn run_gc_tasks(cache: Cache, repair_queue: Arc<RepairQueue>) {
    let mut freeing = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = freeing.next() => {}
            task = cache.reclaimer().next(), if freeing.len() < PARALLEL_FREES => match task {
                GcTask::Repair(object) => repair_queue.add(&object, QueueKind::Degraded),
                GcTask::Evacuate(object) => repair_queue.add(&object, QueueKind::Draining),
                GcTask::Free(chunk, member) => {
                    freeing.push(let_go(&cache, Request::Free { chunk }, chunk, member));
                }
                GcTask::Delete(chunk, member) => {
                    freeing.push(let_go(&cache, Request::Delete { chunk }, chunk, member));
                }
                GcTask::Reconcile(member) => reconcile(&cache, member),
            },
        }
    }
}

/// Has a member reconciled, as if its link had broken: it was owed too much to be told of it all.
fn reconcile(cache: &Cache, member: MemberId) {
    // What is gone holds nothing.
    if let Some(there) = cache.nodes().members().get(member) {
        warn!(%member, "member is slow to let go of chunks: it is asked what it holds");
        cache.nodes().membership().returned(&there);
    }
}

/// Has a member let go of a chunk. One that is not linked is asked what it holds when it is.
async fn let_go(cache: &Cache, request: Request, chunk: ChunkId, member: MemberId) {
    let Some(link) = cache.link(member) else {
        return;
    };
    if matches!(link.call(request).await, Reply::Done { .. }) {
        cache.deletes().chunk_freed(chunk, member);
    }
}

/// Loses what a member held that is gone: for every run, as none can believe it any more once the
/// view without it is committed.
async fn lose(cache: Cache, member: MemberId) {
    let lost = [member];
    let mut gone = pin!(cache.nodes().membership().until_gone(&lost));
    while !fail_point("loss_committed") && time::timeout(LOSS_DEADLINE, &mut gone).await.is_err() {
        warn!(%member, "the view without a lost member is not committed");
    }
    cache.metadata().tombstones.forget(member);
    let losing = cache.clone();
    // Every object is looked at: not on a thread that serves clients.
    let _ = task::spawn_blocking(move || losing.holders().lose_member(member)).await;
}

/// Loses a member that is silent, if every value can do without it.
async fn resolve_suspicion(cache: Cache, member: Arc<Member>) {
    let silent = cache.nodes().suspicion().silent();
    let (looking, id) = (cache.clone(), member.id);
    let needed = task::spawn_blocking(move || looking.holders().needs(id, &silent)).await;
    match needed {
        Ok(true) if !fail_point("silence_is_no_loss") => {
            info!(member = %id, "values cannot do without a silent member: it is waited for");
        }
        Ok(_) => cache.nodes().suspicion().give_up_silent(&member),
        Err(_) => {}
    }
}

/// Follows the nodes' fates, for ever.
pub(crate) async fn follow_nodes(cache: Cache) {
    loop {
        let (event, member) = cache.nodes().events().next().await;
        let cache = cache.clone();
        match event {
            PoolEvent::Lost => {
                task::spawn(lose(cache, member.id));
            }
            PoolEvent::Suspected => {
                task::spawn(resolve_suspicion(cache, member));
            }
            PoolEvent::Draining => {
                // Every object is looked at: not on a thread that serves clients.
                task::spawn_blocking(move || cache.holders().evacuate_member(member.id));
            }
            PoolEvent::Returned => {
                task::spawn(async move { cache.reconciler().readmit(&member).await });
            }
        }
    }
}

/// Removes what has expired and gives up what is idle, for ever.
pub(crate) async fn expire_idle(cache: Cache) {
    let mut ticks = time::interval(EXPIRY_TICK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut idle_at = clock::now();
    loop {
        ticks.tick().await;
        while cache.expire() {
            tokio::task::yield_now().await;
        }
        if clock::now() - idle_at >= IDLE_TICK {
            idle_at = clock::now();
            cache.writes().give_up_idle();
            cache.deletes().give_up_overdue(idle_at);
            cache.metadata().read_leases.sweep(idle_at);
        }
    }
}

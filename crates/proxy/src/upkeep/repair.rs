//! Repair: objects that lack chunks get them back, in the background.
//!
//! A repair rebuilds the missing chunks from any k others on members that hold
//! none of the object, and enters them if the object is still the value of its
//! key. The most degraded objects come first. What is on members that are
//! about to go is not missing yet: see `upkeep::evacuation`. Where the pool has become too
//! small for an object's code for good, the object is written anew.

use std::{sync::Arc, time::Duration};

use infinicache_engine::{Error, Holders, rebuild::rebuild};
use infinicache_host::clock;
use tracing::info;

use crate::{
    cache::{Cache, reencode},
    capacity::Share,
    metadata::catalog::{ChunkReclaimer, Object, ObjectRef},
    pool::member::Member,
    rate_limiter::RateLimiter,
    upkeep::repair_queue::{QueueKind, RepairQueue, worker::Worker},
};

/// Repairs what is in the queue, for ever, at a pace in bytes of values; what could not bear a
/// single further loss waits for nothing.
///
/// An object that there have been too few nodes for all along `reencode_after` is written anew.
pub(crate) async fn run(
    cache: Cache,
    queue: Arc<RepairQueue>,
    limiter: RateLimiter,
    reencode_after: Duration,
) {
    let mut worker = Worker::new(queue, QueueKind::Degraded);
    loop {
        let object = worker.next().await;
        let (started, work) = (clock::now(), limiter.begin());
        let urgent = object.chunks_left() <= object.code().data();
        let too_wide = object.lacks_chunks() && is_too_wide(&cache, &object, reencode_after);
        let repaired = match too_wide {
            true => reencode(&cache, &object).await,
            false => repair(&cache, &object).await,
        };
        match repaired {
            Ok(chunks) => {
                worker.done(&object);
                if chunks > 0 {
                    info!(chunks, size = object.size(), elapsed = ?(clock::now() - started), "object repaired");
                }
            }
            Err(error) => {
                cache.metrics().upkeep().repair_failed();
                worker.failed(&object, &error);
                continue;
            }
        }
        let size = object.size();
        // Not held any longer: if it is evicted, its memory is to be freed.
        drop(object);
        if !urgent {
            work.throttle(size).await;
        }
    }
}

/// Whether the pool has become too small for an object's code, and there is one for it.
fn is_too_wide(cache: &Cache, object: &Object, reencode_after: Duration) -> bool {
    let nodes = cache.nodes();
    let narrower = cache
        .settings()
        .code
        .for_object(Some(object.size()), nodes.availability().usable().len());
    nodes.shortage().fewer_for(object.code().width()) >= reencode_after
        && narrower.is_some_and(|code| code.width() < object.code().width())
}

/// Writes an object anew with a narrower code; it lacks no chunks then.
async fn reencode(cache: &Cache, object: &Arc<Object>) -> Result<usize, Error> {
    let (width, size) = (object.code().width(), object.size());
    if reencode::reencode(cache, object).await? {
        cache.metrics().upkeep().reencoded();
        info!(
            width,
            size, "object written anew: there are too few nodes for its code"
        );
    }
    Ok(0)
}

/// Who holds the chunks of an object, by index, as far as they are there.
pub(crate) fn holders(cache: &Cache, object: &Object) -> Vec<Option<Arc<Member>>> {
    let member = |holder: Option<_>| holder.and_then(|id| cache.nodes().members().get(id));
    object.members().into_iter().map(member).collect()
}

/// The nodes that must not get another chunk of an object.
pub(crate) fn taken_nodes(holders: &[Option<Arc<Member>>]) -> Vec<usize> {
    let stays = |member: &&Arc<Member>| !member.must_evacuate();
    let staying = holders.iter().flatten().filter(stays);
    staying.map(|member| member.node).collect()
}

/// Rebuilds what an object lacks; how many chunks that were.
async fn repair(cache: &Cache, object: &Arc<Object>) -> Result<usize, Error> {
    let holders = holders(cache, object);
    let degraded: Vec<usize> = (0..holders.len())
        .filter(|&index| holders[index].is_none())
        .collect();
    if degraded.is_empty() {
        return Ok(0);
    }
    let excluded = taken_nodes(&holders);
    // Some chunks now are better than all of them later.
    let mut targets = cache
        .writes()
        .placement
        .place(degraded.len(), object.code().parity(), &excluded)
        .await;
    let mut count = degraded.len();
    while targets.is_err() && count > 1 {
        count -= 1;
        targets = cache
            .writes()
            .placement
            .place(count, object.code().parity(), &excluded)
            .await;
    }
    let targets: Vec<(usize, Arc<Member>)> = degraded.iter().copied().zip(targets?).collect();

    let share = |(index, target): &(usize, Arc<Member>)| {
        Share::whole(target.clone(), object.footprint(*index))
    };
    let shares: Vec<Share> = targets.iter().map(share).collect();
    cache
        .writes()
        .reservations
        .reserve_beside(object, &shares)
        .await?;
    let entered = restore(cache, object, targets).await?;
    let geometry = ObjectRef(object.clone()).geometry();
    for index in &entered {
        cache
            .metrics()
            .upkeep()
            .repaired(geometry.chunk_len(*index));
    }
    if entered.len() < degraded.len() {
        return Err(Error::Unreachable(format!(
            "{} of {} chunks repaired",
            entered.len(),
            degraded.len()
        )));
    }
    Ok(entered.len())
}

/// Rebuilds chunks on members on which room for them was taken; which of them were entered.
///
/// # Errors
///
/// If the others cannot be read. What was taken is given back in any case.
pub(crate) async fn restore(
    cache: &Cache,
    object: &Arc<Object>,
    targets: Vec<(usize, Arc<Member>)>,
) -> Result<Vec<usize>, Error> {
    let found = ObjectRef(object.clone());
    let to_id = |(index, target): &(usize, Arc<Member>)| (*index, target.id);
    let ids: Vec<_> = targets.iter().map(to_id).collect();
    let rebuilt = rebuild(cache, &found, &ids, 0..found.geometry().stripes()).await;
    let failed = match &rebuilt {
        Ok(failed) => failed.clone(),
        Err(_) => ids.iter().map(|(index, _)| *index).collect(),
    };
    let mut entered = Vec::new();
    for (index, target) in targets {
        if settle(cache, object, index, &target, !failed.contains(&index)).await {
            entered.push(index);
        }
    }
    rebuilt?;
    Ok(entered)
}

/// Enters a chunk that was sent to a member, or frees what was; whether it was entered.
pub(crate) async fn settle(
    cache: &Cache,
    object: &Arc<Object>,
    index: usize,
    target: &Member,
    is_whole: bool,
) -> bool {
    target.memory.count_chunk(true);
    let entered = is_whole && cache.holders().enter(object, index, target).await;
    if !entered {
        let bytes = object.footprint(index);
        let chunk = object.chunk(index);
        cache.reclaimer().abandon(chunk, target.id, bytes);
    }
    entered
}

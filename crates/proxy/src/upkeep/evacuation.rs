//! Evacuation: what a member holds that is about to go moves to others.
//!
//! The member is asked to put each chunk on its target directly, so no byte of
//! it passes through here; then the chunk is entered like one that was rebuilt,
//! and the member lets go of its own. If the direct way fails the chunk is
//! rebuilt on the target through the proxy. A target is never about to go
//! itself; best is the member that has succeeded the one that goes, so that
//! nodes that are all replaced at once hand over pairwise.
//!
//! A member stays for some seconds only, so this goes about as fast as it can.
//! Objects that were used lately may drive out others for it, the rest takes
//! only what room there is; what did not get away lacks a chunk from then on.

use std::{sync::Arc, time::Duration};

use infinicache_engine::{Error, Holders};
use infinicache_host::clock;
use infinicache_wire::{Reply, Request, copy::Target};
use tokio::time;
use tracing::debug;

use crate::{
    cache::Cache,
    capacity::Share,
    metadata::catalog::{Object, ObjectRef},
    pool::member::Member,
    upkeep::repair::{holders, restore, settle, taken_nodes},
    upkeep::repair_queue::{QueueKind, RepairQueue, worker::Worker},
};

/// How long a copy may take, besides [`SLOWEST`].
const COPY_DEADLINE: Duration = Duration::from_secs(3);

/// The longest that it may take: as long as a node stays, usually.
const LONGEST_COPY: Duration = Duration::from_secs(20);

/// Bytes a second below which it is not worth waiting for.
const SLOWEST: u64 = 8 << 20;

/// What an answer takes on its way.
const MARGIN: Duration = Duration::from_secs(1);

/// Moves what is in the queue, for ever, at no more than `bytes_per_second`.
pub(crate) async fn run(cache: Cache, queue: Arc<RepairQueue>, bytes_per_second: u64) {
    let mut worker = Worker::new(queue.clone(), QueueKind::Draining);
    loop {
        let object = worker.next().await;
        let started = clock::now();
        let evacuated = evacuate(&cache, &object).await;
        if object.lacks_chunks() {
            queue.add(&object, QueueKind::Degraded);
        }
        let bytes = match evacuated {
            Ok(bytes) => {
                worker.done(&object);
                bytes
            }
            Err(error) => {
                cache.metrics().upkeep().evacuation_failed();
                worker.failed(&object, &error);
                continue;
            }
        };
        let fair_share = bytes.saturating_mul(1_000_000) / bytes_per_second.max(1);
        // Not held any longer: if it is evicted, its memory is to be freed.
        drop(object);
        time::sleep(Duration::from_micros(fair_share).saturating_sub(clock::now() - started)).await;
    }
}

/// Moves the chunks of an object off members that are about to go; how many bytes that were.
async fn evacuate(cache: &Cache, object: &Arc<Object>) -> Result<u64, Error> {
    let mut moved = 0;
    for (index, source) in holders(cache, object).into_iter().enumerate() {
        let Some(source) = source.filter(|member| member.must_evacuate()) else {
            continue;
        };
        let target = target(cache, object, &source).await?;
        reserve_capacity(cache, object, index, &target).await?;
        let reply = copy(cache, object, index, &source, &target).await;
        if object.is_dead() {
            // Overwritten or deleted meanwhile: there is nothing left to move.
            settle(cache, object, index, &target, false).await;
            break;
        }
        let (route, entered) = match reply {
            Reply::Done { .. } => ("direct", settle(cache, object, index, &target, true).await),
            reply => {
                let (from, to) = (source.id, target.id);
                debug!(%from, %to, ?reply, "chunk not copied from node to node");
                let restored = restore(cache, object, vec![(index, target)]).await?;
                ("relayed", !restored.is_empty())
            }
        };
        match entered {
            true => {}
            false if object.is_dead() => break,
            false => return Err(Error::Unreachable("the chunk could not be moved".into())),
        }
        let bytes = ObjectRef(object.clone()).geometry().chunk_len(index);
        cache.metrics().upkeep().evacuated(route, bytes);
        moved += bytes;
    }
    Ok(moved)
}

/// Who is to take a chunk from `source`.
async fn target(
    cache: &Cache,
    object: &Arc<Object>,
    source: &Member,
) -> Result<Arc<Member>, Error> {
    // As they are now: other chunks of the object may have moved just before.
    let mut taken = taken_nodes(&holders(cache, object));
    if let Some(successor) = cache.nodes().availability().successor(source)
        && !taken.contains(&source.node)
    {
        return Ok(successor);
    }
    if !source.is_draining() {
        // Its name would be the same process again.
        taken.push(source.node);
    }
    let placed = cache
        .writes()
        .placement
        .place(1, object.code().parity(), &taken)
        .await?;
    let target = placed.into_iter().next();
    target.ok_or_else(|| Error::Unreachable("no node can take the chunk".into()))
}

/// Takes room on a target, evicting others only for what was used lately.
async fn reserve_capacity(
    cache: &Cache,
    object: &Arc<Object>,
    index: usize,
    target: &Arc<Member>,
) -> Result<(), Error> {
    let bytes = object.footprint(index);
    if cache.writes().reservations.reserve_free(target, bytes) {
        return Ok(());
    }
    if !object.reference_bit().is_set() {
        let text = "no free room for a chunk that was not used lately";
        return Err(Error::OutOfMemory(text.into()));
    }
    let share = Share::whole(target.clone(), bytes);
    cache
        .writes()
        .reservations
        .reserve_beside(object, &[share])
        .await
}

/// Has a member put its chunk on another one.
async fn copy(
    cache: &Cache,
    object: &Arc<Object>,
    index: usize,
    source: &Member,
    target: &Member,
) -> Reply {
    let Some(link) = source.link().filter(|_| !target.direct.is_empty()) else {
        return Reply::Unreachable;
    };
    let found = ObjectRef(object.clone());
    let geometry = found.geometry();
    let at_slowest = Duration::from_millis(geometry.chunk_len(index) * 1000 / SLOWEST);
    let deadline = (COPY_DEADLINE + at_slowest).min(LONGEST_COPY);
    let request = Request::Copy {
        chunk: object.chunk(index),
        units: geometry.chunk_units(index),
        target: Target {
            address: target.direct.clone(),
            instance: target.instance,
            longest: geometry.unit() as u32,
            deadline_ms: deadline.as_millis() as u32,
        },
    };
    let reply = link.call_within(request, deadline + MARGIN).await;
    if reply == Reply::NotFound && cache.nodes().members().get(source.id).is_some() {
        found.give_up(index, source.id);
    }
    reply
}

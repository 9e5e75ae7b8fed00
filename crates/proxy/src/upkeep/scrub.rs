//! Scrubbing: what no client reads is read now and then, so that it is sound when one does.
//!
//! Goes round all objects for ever, slowly, and reads each unit of those that
//! were not used lately. A unit that is missing, or that does not match what its
//! writer sealed it with, makes its chunk count as lost; repair makes it anew.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::{Holders, Incident, NodeLink, Pool};
use infinicache_wire::{ChunkId, Reply, Request, checksum};
use tokio::time;
use tracing::warn;

use crate::{
    cache::Cache,
    metadata::catalog::{Object, ObjectRef},
    pool::member::Member,
    upkeep::repair::holders,
};

/// Objects that are looked up at once.
const BATCH: usize = 100;

/// Between two rounds, and while the cache may not answer.
const PAUSE: Duration = Duration::from_secs(10);

/// What an object costs besides its bytes, so that many small ones do not go by in a burst.
const LEAST_BYTES: u64 = 4 << 10;

/// What a member answered for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Sound,
    Missing,
    Corrupt,
    /// It did not answer: that says nothing of the unit.
    Unknown,
}

/// Scrubs for ever, at `bytes_per_second`; 0 is not at all.
pub(crate) async fn run(cache: Cache, bytes_per_second: u64) {
    if bytes_per_second == 0 {
        return;
    }
    loop {
        time::sleep(PAUSE).await;
        let mut from = Some(0);
        while let Some(slot) = from
            && cache.is_open().is_ok()
        {
            let (objects, next) = cache.metadata().catalog.survey(slot, BATCH);
            for object in objects {
                scrub(&cache, &object, bytes_per_second).await;
            }
            from = next;
        }
    }
}

/// Reads what members hold of an object.
///
/// It is not held meanwhile: if it is evicted, its memory is to be freed.
async fn scrub(cache: &Cache, object: &Weak<Object>, bytes_per_second: u64) {
    let Some(width) = object.upgrade().map(|object| object.code().width()) else {
        return;
    };
    for index in 0..width {
        let Some((units, holder)) = object.upgrade().map(|object| {
            let units = ObjectRef(object.clone()).geometry().chunk_units(index);
            (units, holders(cache, &object).swap_remove(index))
        }) else {
            return;
        };
        let Some(member) = holder.filter(|member| !member.must_evacuate()) else {
            continue;
        };
        for unit in 0..units {
            let Some((chunk, length)) = wanted(object, index, unit) else {
                return;
            };
            let finding = look(cache, &member, chunk, unit, length).await;
            let incident = match finding {
                Finding::Sound => None,
                Finding::Missing => Some(Incident::Missing(chunk)),
                Finding::Corrupt => Some(Incident::Corrupt(chunk)),
                Finding::Unknown => break,
            };
            let upkeep = cache.metrics().upkeep();
            upkeep.scrubbed(length as u64);
            let cost = (length as u64).max(LEAST_BYTES) * 1_000_000 / bytes_per_second;
            if let Some(incident) = incident
                && let Some(found) = object.upgrade().map(ObjectRef)
                && found.holder(index) == Some(member.id)
            {
                warn!(%chunk, unit, member = %member.id, ?finding, "chunk given up by scrubbing");
                upkeep.scrub_fault();
                cache.note(incident);
                found.give_up(index, member.id);
                break;
            }
            time::sleep(Duration::from_micros(cost)).await;
        }
    }
}

/// The chunk that a unit is of, and the unit's length, if the object is worth scrubbing still.
fn wanted(object: &Weak<Object>, index: usize, unit: u32) -> Option<(ChunkId, usize)> {
    let is_idle = |object: &Arc<Object>| !object.is_dead() && !object.reference_bit().is_set();
    let object = object.upgrade().filter(is_idle)?;
    let chunk = object.chunk(index);
    Some((chunk, ObjectRef(object).geometry().unit_len(unit, index)))
}

async fn look(cache: &Cache, member: &Member, chunk: ChunkId, unit: u32, length: usize) -> Finding {
    // Clients come first, and no node is woken for this.
    let memory = cache.budget().reserve_spare(length);
    let (Some(link), Some(_memory)) = (member.link(), memory) else {
        return Finding::Unknown;
    };
    let want = length as u32;
    judge(
        chunk,
        unit,
        length,
        link.call(Request::Get { chunk, unit, want }).await,
    )
}

fn judge(chunk: ChunkId, unit: u32, length: usize, reply: Reply) -> Finding {
    let is_sound =
        |bytes: &Bytes, sealed| bytes.len() == length && checksum(chunk, unit, bytes) == sealed;
    match reply {
        Reply::Done { bytes, checksum } if is_sound(&bytes, checksum) => Finding::Sound,
        Reply::Done { .. } => Finding::Corrupt,
        Reply::NotFound => Finding::Missing,
        _ => Finding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::WriteId;

    use super::*;
    use crate::{cache::fixture::OneNode, gc_queue::GcTask};

    /// An object of two chunks on the same member, which gives the first unit of each, but the
    /// second chunk's corrupt; scrubbed once.
    async fn scrubbed(size: u64) -> (Vec<bool>, String) {
        let node = OneNode::new().await;
        let (cache, object) = (node.cache.clone(), node.object(size));
        scrub(&cache, &Arc::downgrade(&object), 1 << 30).await;
        let held = object.members().iter().map(Option::is_some).collect();
        let to_repair = std::iter::from_fn(|| cache.reclaimer().take());
        let repairs = to_repair.filter(|task| matches!(task, GcTask::Repair(_)));
        assert_eq!(repairs.count(), 1);
        (held, cache.metrics().render(|_| {}))
    }

    #[tokio::test]
    async fn a_corrupt_chunk_is_given_up_to_repair_and_a_sound_one_is_not() {
        let (held, text) = scrubbed(1000).await;
        assert_eq!(held, [true, false]);
        assert!(text.contains("infinicache_proxy_scrub_faults_total 1\n"));
        let corrupt = "infinicache_proxy_read_incidents_total{reason=\"corrupt\"} 1\n";
        assert!(text.contains(corrupt), "{text}");
    }

    #[tokio::test]
    async fn a_chunk_that_lacks_a_unit_is_given_up_too() {
        let (held, text) = scrubbed(infinicache_erasure::UNIT_MAX as u64 + 1).await;
        assert_eq!(held, [false, false]);
        assert!(text.contains("infinicache_proxy_scrub_faults_total 2\n"));
        let missing = "infinicache_proxy_read_incidents_total{reason=\"missing\"} 1\n";
        assert!(text.contains(missing), "{text}");
    }

    #[tokio::test]
    async fn an_object_is_not_held_while_it_is_scrubbed() {
        let node = OneNode::new().await;
        let object = node.object(1000);
        node.pool.fall_silent();
        let weak = Arc::downgrade(&object);
        let mut scrubbing = std::pin::pin!(scrub(&node.cache, &weak, 1 << 30));
        assert!(futures_util::poll!(&mut scrubbing).is_pending());
        object.retire();
        drop(object);
        assert_eq!(weak.strong_count(), 0, "its memory is freed");
    }

    #[test]
    fn only_an_answer_says_anything_of_a_unit() {
        let (epoch, sequence) = (1, 2);
        let write = WriteId { epoch, sequence };
        let chunk = ChunkId { write, index: 3 };
        let bytes = Bytes::from_static(b"unit");
        let sealed = checksum(chunk, 5, &bytes);
        let of = |bytes: &Bytes, unit| {
            let (bytes, checksum) = (bytes.clone(), sealed);
            judge(chunk, unit, 4, Reply::Done { bytes, checksum })
        };
        assert_eq!(of(&bytes, 5), Finding::Sound);
        assert_eq!(of(&bytes, 6), Finding::Corrupt);
        assert_eq!(of(&Bytes::from_static(b"unix"), 5), Finding::Corrupt);
        assert_eq!(of(&bytes.slice(..3), 5), Finding::Corrupt);
        let said = |reply| judge(chunk, 5, 4, reply);
        assert_eq!(said(Reply::NotFound), Finding::Missing);
        assert_eq!(said(Reply::Late), Finding::Unknown);
        assert_eq!(said(Reply::Unreachable), Finding::Unknown);
    }
}

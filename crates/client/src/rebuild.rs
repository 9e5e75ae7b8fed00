//! Rebuilding: chunks are made anew from k others and put on other members.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{
    future::join_all,
    stream::{self, StreamExt, TryStreamExt},
};
use infinicache_wire::{MemberId, Reply};
use tokio::time;

use crate::{
    Error,
    pool::{Holders, Pool},
    read::{MEMORY_DEADLINE, fetch, stripe_memory},
    write::put,
};

/// Stripes that are rebuilt at once.
const WINDOW: usize = 2;

/// Rebuilds `stripes` of the chunks `targets` of a value, each on the member beside its index.
///
/// The chunks are left pending: whoever asked decides whether to finish them.
/// Returns the indexes whose member failed; the others hold every unit of those stripes.
///
/// # Errors
///
/// [`Error::Lost`] or [`Error::TimedOut`] if the others cannot be read.
pub async fn rebuild<P: Pool, F: Holders>(
    pool: &P,
    found: &F,
    targets: &[(usize, MemberId)],
    stripes: Range<u32>,
) -> Result<Vec<usize>, Error> {
    let geometry = found.geometry();
    let indexes: Vec<usize> = targets.iter().map(|(index, _)| *index).collect();
    let wanted = &indexes;

    let stripes = stream::iter(stripes.map(|stripe| async move {
        let reserving = pool.budget().reserve(stripe_memory(&geometry));
        let memory = time::timeout(MEMORY_DEADLINE, reserving).await;
        let memory = memory.map_err(|_| Error::TimedOut("no buffer memory became free"))?;
        let units = fetch(pool, found, stripe, wanted, memory).await?;
        let puts = targets
            .iter()
            .zip(units)
            .map(async |(&(index, member), unit): (_, Bytes)| {
                if unit.is_empty() {
                    return None;
                }
                let reply = put(pool, found.write(), index, member, stripe, unit).await;
                (!matches!(reply, Reply::Done { .. })).then_some(index)
            });
        Ok::<_, Error>(join_all(puts).await)
    }));
    let failed: Vec<Vec<Option<usize>>> = stripes.buffer_unordered(WINDOW).try_collect().await?;

    let failed = failed.concat();
    Ok(indexes
        .into_iter()
        .filter(|&index| failed.contains(&Some(index)))
        .collect())
}

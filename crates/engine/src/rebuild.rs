//! Rebuilding: chunks are made anew from k others and put on other members.

use std::{
    future::ready,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::{
    future::join_all,
    stream::{self, StreamExt, TryStreamExt},
};
use infinicache_wire::{MemberId, Reply};

use crate::{
    error::Error,
    pool::{Holders, Pool},
    read::{fetch, reserve, stripe_memory},
    unit::put,
};

/// Stripes that are rebuilt at once.
const WINDOW: usize = 2;

/// Rebuilds `stripes` of the chunks `targets` of a value, each on the member beside its index.
///
/// The chunks are left pending: the caller decides whether to finish them.
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
    // A member that failed once is sent nothing more: waiting for it again would be in vain.
    let failed: Vec<AtomicBool> = targets.iter().map(|_| AtomicBool::new(false)).collect();
    let failed = &failed;

    let stripes = stream::iter(stripes.map(|stripe| async move {
        let memory = reserve(pool.budget(), stripe_memory(&geometry)).await?;
        let units = fetch(pool, found, stripe, wanted, memory).await?;
        let puts = targets.iter().zip(failed).zip(units).map(
            async |((&(index, member), failed), unit): (_, Bytes)| {
                if unit.is_empty() || failed.load(Relaxed) {
                    return;
                }
                let reply = put(pool, found.write(), index, member, stripe, unit, || ()).await;
                if !matches!(reply, Reply::Done { .. }) {
                    failed.store(true, Relaxed);
                }
            },
        );
        join_all(puts).await;
        Ok::<_, Error>(())
    }));
    stripes
        .buffer_unordered(WINDOW)
        .try_for_each(|()| ready(Ok(())))
        .await?;

    let failed = indexes.iter().zip(failed);
    let failed = failed.filter(|(_, failed)| failed.load(Relaxed));
    Ok(failed.map(|(index, _)| *index).collect())
}

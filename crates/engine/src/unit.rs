//! A unit on its way to its member.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId, checksum};
use tokio::time;

use crate::{link::NodeLink, pool::Pool};

/// How long to wait before a unit is offered again to a node that was full, at first and at last.
const FIRST_FULL_PAUSE: Duration = Duration::from_millis(5);
const LAST_FULL_PAUSE: Duration = Duration::from_millis(320);

/// Sends one sealed unit to its member; `sent` is called when it is on its way.
pub(crate) fn put<P: Pool, F: FnOnce() + Send>(
    pool: &P,
    write: WriteId,
    index: usize,
    member: MemberId,
    stripe: u32,
    unit: Bytes,
    sent: F,
) -> impl Future<Output = Reply> + Send + use<P, F> {
    let chunk = ChunkId {
        write,
        index: index as u8,
    };
    let checksum = checksum(chunk, stripe, &unit);
    let request = Request::Put {
        chunk,
        unit: stripe,
        checksum,
        bytes: unit,
    };
    let link = pool.link(member);
    async move {
        let Some(link) = link else {
            return Reply::Unreachable;
        };
        let mut pause = FIRST_FULL_PAUSE;
        let mut reply = link.call_noting(request.clone(), sent).await;
        // Room was made, but what was evicted may be freed a moment later than this comes.
        while reply == Reply::Full && pause <= LAST_FULL_PAUSE {
            time::sleep(pause).await;
            reply = link.call(request.clone()).await;
            pause *= 2;
        }
        reply
    }
}

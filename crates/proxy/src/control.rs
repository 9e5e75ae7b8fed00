//! The `IC.*` commands: what a smart client and the proxy agree on.
//!
//! Their grammar and documents are those of [`infinicache_wire::control`]. Each
//! function answers one command.

use bytes::Bytes;
use infinicache_client::{Commit, Holders, Pool, Terms};
use infinicache_host::clock;
use infinicache_wire::{
    WriteId,
    control::{Command, Committed, Located, Opened, PoolView},
    pass::Right,
};
use redis_protocol::resp2::types::BytesFrame;
use serde::Serialize;

use crate::{cache::Cache, catalog::Found, command::Answer, owned::Owned};

/// Answers one of the commands, of a connection that owns what it opened before.
pub(crate) async fn run(cache: &Cache, owned: &mut Owned, command: Command) -> Answer {
    match command {
        Command::Nodes => nodes(cache),
        Command::Open {
            key,
            size,
            proposal,
            direct,
            blind,
        } => {
            // It is copied, or a long-lived key would keep its whole read buffer.
            let key = Bytes::copy_from_slice(&key);
            let opened = cache.open_on(key, size, blind, &proposal).await?;
            open(cache, owned, opened, direct)
        }
        Command::Reserve { write, bytes } => {
            let reserved = cache.make_room(write, bytes).await?;
            let reserved = i64::try_from(reserved).unwrap_or(i64::MAX);
            Ok(BytesFrame::Integer(reserved))
        }
        Command::Replace {
            write,
            index,
            direct,
        } => replace(cache, write, index, direct).await,
        Command::Commit { write, size, terms } => commit(cache, write, size, terms).await,
        Command::Abort { write } => {
            cache.abort(write);
            ok()
        }
        Command::Locate { key, direct } => locate(cache, owned, &key, direct),
        Command::Release { lease } => {
            cache.leases().release(lease);
            ok()
        }
        // What follows is the relay's.
        Command::Link => ok(),
    }
}

fn nodes(cache: &Cache) -> Answer {
    let settings = cache.settings();
    document(&PoolView {
        epoch: settings.epoch.get(),
        data: settings.code.data() as u8,
        parity: settings.code.parity() as u8,
        max_object_bytes: settings.max_object_bytes,
        nodes: cache.nodes().view(),
    })
}

fn open(cache: &Cache, owned: &mut Owned, mut opened: Opened, direct: bool) -> Answer {
    owned.opened(opened.write);
    if direct {
        let members = opened.members.iter().copied();
        opened.ways = cache.nodes().ways(members, opened.write, Right::Put);
    }
    document(&opened)
}

async fn replace(cache: &Cache, write: WriteId, index: u8, direct: bool) -> Answer {
    let mut placed = cache.replace(write, index).await?;
    if direct {
        let way = cache.nodes().ways([placed.member], write, Right::Put);
        placed.way = way.into_iter().next();
    }
    document(&placed)
}

async fn commit(cache: &Cache, write: WriteId, size: u64, terms: Terms) -> Answer {
    let committed = cache.commit(write, size, &terms).await?;
    document(&match committed {
        Commit::Stored { version, .. } => Committed::Stored { version },
        Commit::ConditionFailed { .. } => Committed::ConditionFailed,
        Commit::Incomplete(chunks) => Committed::Incomplete { chunks },
    })
}

fn locate(cache: &Cache, owned: &mut Owned, key: &[u8], direct: bool) -> Answer {
    let found = cache.find(key);
    cache.count_read(found.is_some());
    let Some(found) = found else {
        return Ok(BytesFrame::Null);
    };
    let Found(object) = &found;
    let code = found.geometry().code();
    // What fits one stripe is read anew if it is replaced meanwhile.
    let lease = match found.geometry().stripes() {
        ..=1 => None,
        _ => cache.leases().grant(&found, clock::now()),
    };
    lease.into_iter().for_each(|lease| owned.granted(lease));
    let members = object.members();
    let ways = if direct {
        let holders = members.iter().copied().flatten();
        cache.nodes().ways(holders, found.write(), Right::Get)
    } else {
        Vec::new()
    };
    document(&Located {
        write: found.write(),
        version: object.version(),
        size: object.size(),
        data: code.data() as u8,
        parity: code.parity() as u8,
        ttl_ms: object
            .expires_at()
            .map(|at| at.saturating_sub(cache.now_ms())),
        lease,
        members,
        ways,
    })
}

fn ok() -> Answer {
    Ok(BytesFrame::SimpleString("OK".into()))
}

fn document(document: &impl Serialize) -> Answer {
    let json = serde_json::to_vec(document).expect("plain data has a JSON form");
    Ok(BytesFrame::BulkString(json.into()))
}

//! The `IC.*` commands: what a smart client and the proxy agree on.
//!
//! Their grammar and documents are those of [`infinicache_wire::control`]. Each
//! function answers one command.

use bytes::Bytes;
use infinicache_engine::{Holders, Pool, Terms};
use infinicache_host::clock;
use infinicache_wire::{
    WriteId,
    control::{CommitReply, ControlCommand, Located, Opened, PoolStatus},
    token::Permission,
};
use redis_protocol::resp2::types::BytesFrame;
use serde::Serialize;

use crate::{
    cache::Cache, command::Answer, connection_resources::ConnectionResources,
    metadata::catalog::ObjectRef,
};

/// Answers one of the commands, of a connection that owns what it opened before.
pub(crate) async fn run(
    cache: &Cache,
    owned: &mut ConnectionResources,
    command: ControlCommand,
) -> Answer {
    match command {
        ControlCommand::Nodes => nodes(cache),
        ControlCommand::Open {
            key,
            size,
            proposal,
            direct,
            blind,
        } => {
            // It is copied, or a long-lived key would keep its whole read buffer.
            let key = Bytes::copy_from_slice(&key);
            let opened = cache.writes().open_on(key, size, blind, &proposal).await?;
            open(cache, owned, opened, direct)
        }
        ControlCommand::Reserve { write, bytes } => {
            let reserved = cache.writes().ensure_capacity(write, bytes).await?;
            let reserved = i64::try_from(reserved).unwrap_or(i64::MAX);
            Ok(BytesFrame::Integer(reserved))
        }
        ControlCommand::Replace {
            write,
            index,
            direct,
        } => replace(cache, write, index, direct).await,
        ControlCommand::Commit { write, size, terms } => commit(cache, write, size, terms).await,
        ControlCommand::Abort { write } => {
            cache.abort(write);
            ok()
        }
        ControlCommand::Locate { key, direct } => locate(cache, owned, &key, direct),
        ControlCommand::Release { lease } => {
            cache.metadata().read_leases.release(lease);
            ok()
        }
        // What follows is the relay's.
        ControlCommand::Link => ok(),
    }
}

fn nodes(cache: &Cache) -> Answer {
    let settings = cache.settings();
    document(&PoolStatus {
        epoch: settings.epoch.get(),
        data: settings.code.data() as u8,
        parity: settings.code.parity() as u8,
        max_object_bytes: settings.max_object_bytes,
        nodes: cache.nodes().availability().status(),
    })
}

fn open(
    cache: &Cache,
    owned: &mut ConnectionResources,
    mut opened: Opened,
    direct: bool,
) -> Answer {
    owned.opened(opened.write);
    if direct {
        let members = opened.members.iter().copied();
        opened.routes = cache
            .nodes()
            .routes()
            .to(members, opened.write, Permission::Put);
    }
    document(&opened)
}

async fn replace(cache: &Cache, write: WriteId, index: u8, direct: bool) -> Answer {
    let mut placed = cache.replace(write, index).await?;
    if direct {
        let route = cache
            .nodes()
            .routes()
            .to([placed.member], write, Permission::Put);
        placed.route = route.into_iter().next();
    }
    document(&placed)
}

async fn commit(cache: &Cache, write: WriteId, size: u64, terms: Terms) -> Answer {
    let committed = cache.commit(write, size, &terms).await?;
    document(&CommitReply::from(committed))
}

fn locate(cache: &Cache, owned: &mut ConnectionResources, key: &[u8], direct: bool) -> Answer {
    let found = cache.find(key);
    cache.count_read(found.is_some());
    let Some(found) = found else {
        return Ok(BytesFrame::Null);
    };
    let ObjectRef(object) = &found;
    let code = found.geometry().code();
    // What fits one stripe is read anew if it is replaced meanwhile.
    let lease = match found.geometry().stripes() {
        ..=1 => None,
        _ => cache.metadata().read_leases.grant(&found, clock::now()),
    };
    lease.into_iter().for_each(|lease| owned.granted(lease));
    let members = object.members();
    let routes = if direct {
        let holders = members.iter().copied().flatten();
        cache
            .nodes()
            .routes()
            .to(holders, found.write(), Permission::Get)
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
            .expiration()
            .at_ms()
            .map(|at| at.saturating_sub(cache.metadata().now_ms())),
        lease,
        members,
        routes,
    })
}

fn ok() -> Answer {
    Ok(BytesFrame::SimpleString("OK".into()))
}

fn document(document: &impl Serialize) -> Answer {
    let json = serde_json::to_vec(document).expect("plain data has a JSON form");
    Ok(BytesFrame::BulkString(json.into()))
}

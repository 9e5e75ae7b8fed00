//! The `IC.*` commands: what a smart client and the proxy agree on.
//!
//! Their grammar and documents are those of [`infinicache_wire::control`]. Each
//! function answers one command from its arguments, the name included.

use bytes::Bytes;
use infinicache_client::{Commit, Holders, Pool, Terms};
use infinicache_host::clock;
use infinicache_wire::{
    MemberId, WriteId,
    control::{Committed, Located, PoolView},
    pass::Right,
};
use redis_protocol::resp2::types::BytesFrame;
use serde::Serialize;

use crate::{
    cache::Cache,
    catalog::Found,
    command::{Answer, Control, Refused},
    owned::Owned,
};

/// Answers one of the commands, of a connection that owns what it opened before. `terms` are those
/// of a commit.
pub(crate) async fn run(
    cache: &Cache,
    owned: &mut Owned,
    control: Control,
    args: &[Bytes],
    terms: Terms,
) -> Answer {
    match control {
        Control::Nodes => nodes(cache),
        Control::Open => open(cache, owned, args).await,
        Control::Reserve => reserve(cache, args).await,
        Control::Replace => replace(cache, args).await,
        Control::Commit => commit(cache, args, terms).await,
        Control::Abort => {
            cache.abort(write_id(&args[1])?);
            ok()
        }
        Control::Locate => locate(cache, owned, args),
        Control::Release => {
            cache.leases().release(number(&args[1])?);
            ok()
        }
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

async fn open(cache: &Cache, owned: &mut Owned, args: &[Bytes]) -> Answer {
    let size = match &args[2][..] {
        b"?" => None,
        size => Some(number(size)?),
    };
    let proposal: Vec<MemberId> = match args.get(3).map(|members| &members[..]) {
        Some(b"-") | None => Vec::new(),
        Some(members) => members
            .split(|byte| *byte == b',')
            .map(|member| Ok(MemberId(number(member)? as u32)))
            .collect::<Result<_, Refused>>()?,
    };
    let (wants_ways, blind) = open_options(args.get(4..).unwrap_or_default())?;
    let key = Bytes::copy_from_slice(&args[1]);
    let mut opened = cache.open_on(key, size, blind, &proposal).await?;
    owned.opened(opened.write);
    if wants_ways {
        let members = opened.members.iter().copied();
        opened.ways = cache.nodes().ways(members, opened.write, Right::Put);
    }
    document(&opened)
}

async fn reserve(cache: &Cache, args: &[Bytes]) -> Answer {
    let reserved = cache
        .make_room(write_id(&args[1])?, number(&args[2])?)
        .await?;
    Ok(BytesFrame::Integer(
        i64::try_from(reserved).unwrap_or(i64::MAX),
    ))
}

async fn replace(cache: &Cache, args: &[Bytes]) -> Answer {
    let index = u8::try_from(number(&args[2])?).map_err(|_| Refused::NOT_AN_INTEGER)?;
    let (write, wants_ways) = (write_id(&args[1])?, wants_ways(args, 3)?);
    let mut placed = cache.replace(write, index).await?;
    if wants_ways {
        let way = cache.nodes().ways([placed.member], write, Right::Put);
        placed.way = way.into_iter().next();
    }
    document(&placed)
}

async fn commit(cache: &Cache, args: &[Bytes], terms: Terms) -> Answer {
    let committed = cache
        .commit(write_id(&args[1])?, number(&args[2])?, &terms)
        .await?;
    document(&match committed {
        Commit::Stored { version, .. } => Committed::Stored { version },
        Commit::ConditionFailed { .. } => Committed::ConditionFailed,
        Commit::Incomplete(chunks) => Committed::Incomplete { chunks },
    })
}

fn locate(cache: &Cache, owned: &mut Owned, args: &[Bytes]) -> Answer {
    let wants_ways = wants_ways(args, 2)?;
    let found = cache.find(&args[1]);
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
    let ways = match wants_ways {
        true => {
            let holders = members.iter().copied().flatten();
            cache.nodes().ways(holders, found.write(), Right::Get)
        }
        false => Vec::new(),
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

/// Whether direct ways are asked for, and whether the write is blind.
fn open_options(options: &[Bytes]) -> Result<(bool, bool), Refused> {
    let is = |option: &Bytes, word: &str| option.eq_ignore_ascii_case(word.as_bytes());
    match options {
        [] => Ok((false, false)),
        [direct] if is(direct, "DIRECT") => Ok((true, false)),
        [blind] if is(blind, "BLIND") => Ok((false, true)),
        [direct, blind] if is(direct, "DIRECT") && is(blind, "BLIND") => Ok((true, true)),
        _ => Err(Refused::SYNTAX),
    }
}

/// Whether the argument at `index`, the last that there may be, asks for direct ways.
fn wants_ways(args: &[Bytes], index: usize) -> Result<bool, Refused> {
    match args.get(index) {
        None => Ok(false),
        Some(word) if word.eq_ignore_ascii_case(b"DIRECT") && args.len() == index + 1 => Ok(true),
        Some(_) => Err(Refused::SYNTAX),
    }
}

fn ok() -> Answer {
    Ok(BytesFrame::SimpleString("OK".into()))
}

fn document(document: &impl Serialize) -> Answer {
    let json = serde_json::to_vec(document).expect("plain data has a JSON form");
    Ok(BytesFrame::BulkString(json.into()))
}

fn write_id(arg: &[u8]) -> Result<WriteId, Refused> {
    let text = str::from_utf8(arg).ok().and_then(|text| text.parse().ok());
    text.ok_or(Refused::text("ERR not the id of a write"))
}

fn number(arg: &[u8]) -> Result<u64, Refused> {
    let text = str::from_utf8(arg).ok().and_then(|text| text.parse().ok());
    text.ok_or(Refused::NOT_AN_INTEGER)
}

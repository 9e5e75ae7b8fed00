//! Clients: each asks one thing after the other, of the proxy that it is connected to.

use std::{sync::Arc, time::Duration};

use infinicache_client::{Client, Condition, Error, PutOptions};
use infinicache_host::simulation::{BEGINNING, Process, range};
use redis_protocol::resp2::types::BytesFrame;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::info;

use crate::{
    history::{Completion, Invocation, Millis, name, now},
    redis::Redis,
    scenario::TROUBLE,
    world::{World, chance, client_address, pick},
};

/// Keys that clients use, so few that they meet.
pub(crate) const KEYS: u8 = 3;
/// Keys after those, whose values take room where it is scarce.
pub(crate) const FILLERS: u8 = 12;
const CLIENTS: u32 = 4;

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// A time that is not reached: at which expires what never does.
const NEVER: u64 = 4_000_000_000_000;

/// What a client speaks with.
enum Speaks {
    Redis(Redis),
    /// The library.
    Library(Box<Client>),
}

/// Starts all clients, and who fills what is scarce.
pub(crate) fn start(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|id| process(id).spawn(live(world.clone(), id)))
        .collect();
    if world.node_memory < 2 << 20 {
        clients.push(process(CLIENTS).spawn(fill(world.clone(), CLIENTS)));
    }
    clients
}

fn process(id: u32) -> Process {
    Process::new(format!("client {id}"), client_address(id), 0)
}

/// A client beside the others.
pub(crate) fn reader() -> Process {
    process(CLIENTS + 1)
}

/// Asks at random while things go wrong.
async fn live(world: Arc<World>, id: u32) {
    let mut connection = None;
    while now() < TROUBLE {
        sleep(Duration::from_millis(range(1, 300))).await;
        let key = range(0, KEYS.into()) as u8;
        let set = |if_absent| Invocation::Set {
            key,
            value: 0,
            if_absent,
        };
        let command = match range(0, 100) {
            0..40 => Invocation::Get { key },
            40..60 => set(false),
            60..68 => set(true),
            68..76 => Invocation::Delete { key },
            _ => Invocation::Expire {
                key,
                at: match range(0, 3) {
                    0 => 0,
                    _ => now() + range(100, 20_000),
                },
            },
        };
        ask(&world, id, &mut connection, command).await;
    }
}

/// Writes large values under many keys.
async fn fill(world: Arc<World>, id: u32) {
    let mut connection = None;
    while now() < TROUBLE {
        sleep(Duration::from_millis(range(1, 1_000))).await;
        let key = KEYS + range(0, FILLERS.into()) as u8;
        let command = match chance(70) {
            true => Invocation::Set {
                key,
                value: 0,
                if_absent: false,
            },
            false => Invocation::Get { key },
        };
        ask(&world, id, &mut connection, command).await;
    }
}

/// A connection of a client, and to which run of the proxy.
pub(crate) struct Connected(Speaks, u32);

/// Asks one thing and tells the history what came of it.
pub(crate) async fn ask(
    world: &World,
    id: u32,
    connection: &mut Option<Connected>,
    command: Invocation,
) -> Completion {
    let Some(Connected(speaks, run)) = connect(world, connection).await else {
        return Completion::Failed;
    };
    let operation = world.history().ask(command, now());
    // Every value is told from every other by the operation that wrote it.
    let command = match command {
        Invocation::Set { key, if_absent, .. } => Invocation::Set {
            key,
            value: operation,
            if_absent,
        },
        command => command,
    };
    world.history().name(operation, command);
    info!("client {id} asks proxy {run} {operation}: {command:?}");
    let asking = async {
        match speaks {
            Speaks::Redis(redis) => over_redis(redis, command).await,
            Speaks::Library(library) => over_library(library, command).await,
        }
    };
    let asked = timeout(PATIENCE, asking).await;
    let answer = asked.unwrap_or(Ok(Completion::Unknown));
    let answer = answer.unwrap_or_else(|text| {
        world.violation(text);
        Completion::Unknown
    });
    info!("client {id} is answered {operation}: {answer:?}");
    // A client without an answer cannot take the next for that of another command; and one that
    // was refused looks for another proxy.
    let is_lost = answer == Completion::Unknown;
    if is_lost || (matches!(answer, Completion::Failed | Completion::Unsure) && chance(70)) {
        *connection = None;
    }
    world.history().answer(operation, command, answer, now());
    answer
}

async fn connect<'a>(
    world: &World,
    connection: &'a mut Option<Connected>,
) -> Option<&'a mut Connected> {
    if connection.is_none() {
        let runs: Vec<_> = world.state().runs.values().cloned().collect();
        let run = match chance(80) {
            true => runs.last().cloned(),
            false => pick(&runs),
        }?;
        let speaks = match chance(70) {
            true => timeout(PATIENCE, Redis::connect(run.redis()))
                .await
                .ok()?
                .ok()
                .map(Speaks::Redis)?,
            false => Client::connect([run.redis().to_string()])
                .await
                .ok()
                .map(|it| Speaks::Library(Box::new(it)))?,
        };
        *connection = Some(Connected(speaks, run.id));
    }
    connection.as_mut()
}

/// Milliseconds since 1970 of a time of the simulation, at which 0 is never.
fn wall(at: Millis) -> u64 {
    match at {
        0 => NEVER,
        at => BEGINNING + at,
    }
}

async fn over_redis(redis: &mut Redis, command: Invocation) -> Result<Completion, String> {
    let key = name(command.key());
    let key = key.as_bytes();
    let asked = match command {
        Invocation::Get { .. } => redis.ask(&[b"GET", key]).await,
        Invocation::Set {
            value, if_absent, ..
        } => {
            let value = bytes_of(value);
            let words: &[&[u8]] = &[b"SET", key, &value, b"NX"];
            redis.ask(&words[..3 + usize::from(if_absent)]).await
        }
        Invocation::Delete { .. } => redis.ask(&[b"DEL", key]).await,
        Invocation::Expire { at, .. } => {
            let at = wall(at).to_string();
            redis.ask(&[b"PEXPIREAT", key, at.as_bytes()]).await
        }
    };
    let Ok(reply) = asked else {
        return Ok(Completion::Unknown);
    };
    Ok(match (reply, command) {
        (BytesFrame::Error(text), Invocation::Get { .. }) => refusal(&text, Completion::Failed),
        (BytesFrame::Error(text), _) => refusal(&text, Completion::Unsure),
        (BytesFrame::BulkString(value), Invocation::Get { .. }) => {
            Completion::Value(id_of(&value)?)
        }
        (BytesFrame::Null, Invocation::Get { .. }) => Completion::Absent,
        (BytesFrame::Null, Invocation::Set { .. }) => Completion::Refused,
        (BytesFrame::SimpleString(_), Invocation::Set { .. }) => Completion::Done,
        (BytesFrame::Integer(0), _) => Completion::Absent,
        (BytesFrame::Integer(1), _) => Completion::Done,
        (reply, _) => return Err(format!("{command:?} was answered {reply:?}")),
    })
}

async fn over_library(library: &Client, command: Invocation) -> Result<Completion, String> {
    let key = name(command.key());
    let failed = |error: Error, otherwise| match error {
        Error::Unreachable(text) => refusal(&text, otherwise),
        Error::OutOfMemory(_) => Completion::Failed,
        _ => otherwise,
    };
    Ok(match command {
        Invocation::Get { .. } => match library.get(&key).await {
            Ok(value) => Completion::Value(id_of(&value)?),
            Err(Error::Miss) => Completion::Absent,
            Err(error) => failed(error, Completion::Failed),
        },
        Invocation::Set {
            value, if_absent, ..
        } => {
            let options = PutOptions {
                condition: if_absent.then_some(Condition::Absent),
                ..PutOptions::default()
            };
            match library.put_with(&key, bytes_of(value), options).await {
                Ok(Some(_)) => Completion::Done,
                Ok(None) => Completion::Refused,
                Err(error) => failed(error, Completion::Unknown),
            }
        }
        Invocation::Delete { .. } => match library.delete(&key).await {
            Ok(true) => Completion::Done,
            Ok(false) => Completion::Absent,
            Err(error) => failed(error, Completion::Unknown),
        },
        // The library has no such thing.
        Invocation::Expire { .. } => Completion::Failed,
    })
}

/// What an error reply means: that nothing was changed, if it says so.
fn refusal(text: &str, otherwise: Completion) -> Completion {
    let says_so = [
        "asking its nodes what they hold",
        "to know whether this proxy leads",
        "OOM",
    ];
    match says_so.iter().any(|it| text.contains(it)) {
        true => Completion::Failed,
        false => otherwise,
    }
}

/// The value of an operation: it tells which at every byte, and is of a length that the id decides.
fn bytes_of(id: u64) -> Vec<u8> {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let length = match mixed % 16 {
        0 => 400_000 + mixed % 1_000_000,
        1..6 => 5_000 + mixed % 60_000,
        _ => 8 + mixed % 3_000,
    };
    let pattern = (0..length).map(|at| (id as usize * 31 + at as usize * 7) as u8);
    let mut bytes: Vec<u8> = pattern.collect();
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    bytes
}

/// The operation that wrote a value.
fn id_of(value: &[u8]) -> Result<u64, String> {
    let id = value.first_chunk().map(|id| u64::from_le_bytes(*id));
    match id {
        Some(id) if id < 1 << 40 && bytes_of(id) == value => Ok(id),
        id => Err(format!(
            "{} bytes that nobody wrote, as of {id:?}",
            value.len()
        )),
    }
}

//! Commands on small values, which are run together when they come together.
//!
//! A client that sends many commands before it reads an answer wants them done, not waited for one
//! by one. Those that follow each other in what has been received, and of which none could see
//! what another does, are run at the same time and answered in order. So their requests to nodes
//! leave in few writes, and so do their replies.
//!
//! That takes commands which need nothing but the store: `GET` of a small value, and `SET` of one
//! without its `GET`. All others, and those that are to be refused, are run one at a time.

use bytes::Bytes;
use futures_util::future::join_all;
use infinicache_engine::{Error, Terms};
use infinicache_host::hash::HashMap;
use infinicache_resp::{Command, Input, Output};
use redis_protocol::resp2::types::BytesFrame;

use super::{
    CommandResult, ErrorReply, RedisSession, Spec, Store,
    arguments::key,
    send::ATTEMPTS,
    set,
    store::{self, StoredValue, ValueStream},
    table::{self, Verb, admits},
};

/// Commands that are run at once.
const MOST: usize = 64;

/// A command that needs nothing but the store.
pub(super) enum Pipelined<S: Store> {
    /// Its answer is known.
    Answered(PipelinedReply),
    /// A small value has to be read.
    Get { key: Bytes, found: S::Value },
    /// A small value has to be stored.
    Set {
        key: Bytes,
        value: Bytes,
        terms: Terms,
    },
}

/// What is answered.
pub(super) enum PipelinedReply {
    Value(Bytes),
    Nothing,
    Stored { bytes: u64 },
    Error(ErrorReply),
}

/// A command, as far as [`Pipelined`] is concerned with it.
fn parts(command: &Command) -> Option<(&'static Spec, &Bytes)> {
    let spec = table::find(command.args.first()?)?;
    let is_one = matches!(spec.verb, Verb::Get | Verb::Set) && command.large.is_none();
    (is_one && admits(spec.arity, command.count)).then_some((spec, command.args.get(1)?))
}

impl<S: Store> Pipelined<S> {
    /// What is to be done for a command, if it is one that can be run with others.
    pub(super) fn of<R, W>(
        session: &RedisSession<S, R, W>,
        spec: &Spec,
        command: &Command,
    ) -> Option<Self> {
        let store = &session.state.store;
        let is_served = session.is_known() && store.is_open().is_ok();
        if !is_served || command.large.is_some() || !admits(spec.arity, command.count) {
            return None;
        }
        match (spec.verb, &command.args[..]) {
            (Verb::Get, [_, name]) => {
                let found = store.find(key(name).ok()?);
                if found
                    .as_ref()
                    .is_some_and(|found| !store.is_small(found.size()))
                {
                    return None;
                }
                let Some(found) = found else {
                    store.count_read(false);
                    return Some(Self::Answered(PipelinedReply::Nothing));
                };
                Some(match store.try_read(&found, 0..found.size()) {
                    Some(value) => {
                        store.count_read(true);
                        Self::Answered(PipelinedReply::Value(value))
                    }
                    None => Self::Get {
                        key: name.clone(),
                        found,
                    },
                })
            }
            (Verb::Set, [_, name, value, options @ ..]) => {
                let size = value.len() as u64;
                let terms = set::parse(options, store.now()).ok()?;
                let is_one = !terms.previous
                    && store.is_small(size)
                    && size <= session.state.max_object_bytes;
                is_one.then_some(Self::Set {
                    key: key(name).ok()?.clone(),
                    value: value.clone(),
                    terms,
                })
            }
            _ => None,
        }
    }

    async fn run(self, store: &S) -> PipelinedReply {
        let done = match self {
            Self::Answered(reply) => return reply,
            Self::Get { key, found } => {
                store.count_read(true);
                read(store, &key, found).await
            }
            Self::Set { key, value, terms } => {
                let bytes = value.len() as u64;
                let stored = set::put(store, &key, value, terms).await;
                stored.map(|result| match result {
                    store::SetOutcome::Stored { .. } => PipelinedReply::Stored { bytes },
                    store::SetOutcome::ConditionFailed { .. } => PipelinedReply::Nothing,
                })
            }
        };
        done.unwrap_or_else(|error| PipelinedReply::Error(error.into()))
    }
}

/// All of a value, and if that is replaced before it is read, of the one after it.
async fn read<S: Store>(
    store: &S,
    key: &[u8],
    mut found: S::Value,
) -> Result<PipelinedReply, Error> {
    let mut attempts = 0..ATTEMPTS;
    let reading = loop {
        match store.read(&found, 0..found.size()).await {
            Err(Error::Lost { .. }) if attempts.next().is_some() => match store.find(key) {
                // A large one is not for here, where values are held as a whole.
                Some(current) if current.size() > 0 && !store.is_small(current.size()) => {
                    let text = "replaced by a larger value while it was read";
                    return Err(Error::Unreachable(text.into()));
                }
                Some(current) => found = current,
                None => break None,
            },
            reading => break reading?,
        }
    };
    let Some(mut reading) = reading else {
        return Ok(PipelinedReply::Nothing);
    };
    let mut value = Vec::new();
    while let Some(pieces) = reading.next().await? {
        value.extend(pieces);
    }
    Ok(PipelinedReply::Value(match &mut value[..] {
        [whole] => std::mem::take(whole),
        pieces => pieces.concat().into(),
    }))
}

/// Runs a command, and with it those that were received behind it and can be run at the same time.
pub(super) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &'static Spec,
    first: Pipelined<S>,
    command: &Command,
) {
    let store = session.state.store.clone();
    if !session.connection.is_ready() {
        let reply = first.run(&store).await;
        return answer(session, spec.name, reply);
    }
    let mut together = vec![(spec.name, first)];
    // The keys that are named, and whether they are written.
    let mut named = HashMap::from_iter([(command.args[1].clone(), spec.verb == Verb::Set)]);
    while together.len() < MOST
        && let Some(command) = session.connection.ready()
    {
        let pipelined = parts(&command).and_then(|(spec, name)| {
            let writes = spec.verb == Verb::Set;
            let before = named.get(name).copied();
            if before.is_some_and(|written| written || writes) {
                return None;
            }
            let pipelined = Pipelined::of(session, spec, &command)?;
            named.insert(name.clone(), writes);
            Some((spec.name, pipelined))
        });
        match pipelined {
            Some(pipelined) => together.push(pipelined),
            None => {
                session.connection.put_back(command);
                break;
            }
        }
    }
    let running = together.into_iter().map(|(name, pipelined)| {
        let store = &store;
        async move { (name, pipelined.run(store).await) }
    });
    let begun = session.begun;
    for (name, reply) in join_all(running).await {
        session.begun = begun;
        answer(session, name, reply);
    }
}

/// Queues a reply, and reports it to the observer.
pub(super) fn answer<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &'static str,
    reply: PipelinedReply,
) {
    session.result = CommandResult::Ok;
    let moved = match reply {
        PipelinedReply::Value(value) => {
            let moved = value.len() as u64;
            session.reply(&BytesFrame::BulkString(value));
            moved
        }
        PipelinedReply::Nothing => {
            session.reply(&BytesFrame::Null);
            0
        }
        PipelinedReply::Stored { bytes } => {
            session.reply(&BytesFrame::SimpleString(set::OK));
            bytes
        }
        PipelinedReply::Error(refused) => {
            session.refuse(refused);
            0
        }
    };
    session.answered(name, session.result, moved);
}

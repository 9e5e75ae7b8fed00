//! Commands on values: reads, and writes of what came with its command.
//!
//! A client that sends many commands before it reads an answer wants them done, not waited for one
//! by one. Those that follow each other in what has been received, and of which none could see
//! what another does, are run at the same time and answered in order. So their requests to nodes
//! leave in few writes, and so do their replies.
//!
//! That takes commands which need nothing but the store. Of each, as much is done at once as takes
//! no wait: a read whose value is at hand is answered by that, here or on an event loop. A large
//! value is read when it is its turn to be sent.

use std::{pin::pin, task::Poll};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{join, join_all},
    poll,
};
use infinicache_host::hash::HashMap;
use infinicache_resp::{Command, Connection, Error, Input, Output};
use redis_protocol::resp2::types::BytesFrame;
use tracing::{Instrument, debug_span};

use super::{
    Answer, CommandResult, ErrorReply, Flow, RedisSession, ServerContext, Spec, Store, get,
    getrange,
    read::{Found, Read, Readable, Reading, whole},
    send,
    set::{self, Set},
    store::ValueStream,
    table::{self, Verb, admits},
};

/// Commands that are run at once.
const MOST: usize = 64;

/// A command on a value.
enum ValueCommand<'a> {
    Read(Read<'a>),
    Write(Set<'a>),
}

/// A command whose answer is known.
pub(super) struct Done {
    pub(super) answer: Answer,
    /// Bytes of values that went in and out.
    pub(super) moved: u64,
    /// Whether a value was found, if one was looked for.
    pub(super) hit: Option<bool>,
}

impl Done {
    fn refused(refused: impl Into<ErrorReply>, hit: Option<bool>) -> Self {
        Self {
            answer: Err(refused.into()),
            moved: 0,
            hit,
        }
    }

    fn value(bytes: Bytes) -> Self {
        Self {
            moved: bytes.len() as u64,
            answer: Ok(BytesFrame::BulkString(bytes)),
            hit: Some(true),
        }
    }

    fn absent(frame: BytesFrame, hit: bool) -> Self {
        Self {
            answer: Ok(frame),
            moved: 0,
            hit: Some(hit),
        }
    }
}

/// A command of which all is done that takes no wait.
enum Begun<'a, S: Store> {
    Done(Done),
    Read(Readable<S>),
    Write(Set<'a>),
}

/// What comes of a command.
pub(super) enum Outcome<S: Store> {
    Done(Done),
    /// It is answered with a value, which is sent in its turn.
    Value {
        value: ToSend<S>,
        /// Bytes that have come in.
        moved: u64,
        hit: Option<bool>,
    },
}

/// A value that is too large to be held.
pub(super) enum ToSend<S: Store> {
    Readable(Readable<S>),
    Stream(S::Stream),
}

/// Whether a command is one on a value, and has come in full.
pub(super) fn takes(spec: &Spec, command: &Command) -> bool {
    spec.verb.is_on_value() && command.large.is_none() && admits(spec.arity, command.count)
}

impl<'a> ValueCommand<'a> {
    fn parse<S: Store>(store: &S, verb: Verb, args: &'a [Bytes]) -> Result<Self, ErrorReply> {
        match verb {
            Verb::Get => get::parse(args).map(Self::Read),
            Verb::Getrange => getrange::parse(args).map(Self::Read),
            _ => set::parse(args, store.now()).map(Self::Write),
        }
    }
}

/// Does of a command what takes no wait, unless the store is elsewhere; asks no node.
async fn begin<'a, S: Store>(store: &S, verb: Verb, args: &'a [Bytes]) -> Begun<'a, S> {
    let read = match ValueCommand::parse(store, verb, args) {
        Ok(ValueCommand::Read(read)) => read,
        Ok(ValueCommand::Write(set)) => return Begun::Write(set),
        Err(refused) => return Begun::Done(Done::refused(refused, None)),
    };
    Begun::Done(match read.find(store).await {
        Ok(Found::Stored(readable)) => return Begun::Read(readable),
        Ok(Found::AtHand(bytes)) => Done::value(bytes),
        Ok(Found::Nothing) => Done::absent(read.part.absent(), false),
        Ok(Found::NoSuchPart) => Done::absent(read.part.absent(), true),
        Err(error) => Done::refused(error, None),
    })
}

/// Does the rest of a command, but for reading what is too large to be held.
async fn finish<S: Store>(store: &S, begun: Begun<'_, S>) -> Outcome<S> {
    match begun {
        Begun::Done(done) => Outcome::Done(done),
        Begun::Write(set) => set.run(store).await,
        Begun::Read(readable) if store.is_small(readable.value_size()) => {
            read_small(store, readable).await
        }
        Begun::Read(readable) => Outcome::Value {
            value: ToSend::Readable(readable),
            moved: 0,
            hit: Some(true),
        },
    }
}

async fn read_small<S: Store>(store: &S, readable: Readable<S>) -> Outcome<S> {
    let absent = readable.absent();
    let read = match readable.begin(store).await {
        // A larger one has taken its place.
        Ok(Reading::Stream(stream)) if stream.len() > 0 && !store.is_small(stream.len()) => {
            return Outcome::Value {
                value: ToSend::Stream(stream),
                moved: 0,
                hit: Some(true),
            };
        }
        Ok(Reading::Stream(stream)) => whole(stream).await.map(Some),
        Ok(Reading::AtHand(bytes)) => Ok(Some(bytes)),
        Ok(Reading::Absent) => Ok(None),
        Err(error) => Err(error),
    };
    Outcome::Done(match read {
        Ok(Some(bytes)) => Done::value(bytes),
        Ok(None) => Done::absent(absent, true),
        Err(error) => Done::refused(error, Some(true)),
    })
}

/// Answers a command on a value if that takes nothing but what is at hand; whether it did.
pub(super) fn answer_now<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &'static Spec,
    command: &Command,
) -> bool {
    let store = &session.state.store;
    if !matches!(store.is_open().now_or_never(), Some(Ok(()))) {
        return false;
    }
    match begin(store, spec.verb, &command.args).now_or_never() {
        Some(Begun::Done(done)) => {
            answer_done(session, spec.name, done);
            true
        }
        _ => false,
    }
}

/// Runs a command on a value, and with it those that were received behind it and can be run at the
/// same time.
///
/// # Errors
///
/// When the connection cannot go on.
pub(super) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &'static Spec,
    command: Command,
) -> Result<Flow, Error> {
    if command.large.is_some() {
        return run_large(session, spec, command).await;
    }
    let args = &command.args;
    let (first, rest) = match run_all(&session.state, &mut session.connection, spec, args).await {
        Ran::AtHand(done) => {
            answer_done(session, spec.name, done);
            return Ok(Flow::Immediate);
        }
        Ran::Waited(first, rest) => (first, rest),
    };
    let begun = session.begun;
    answer(session, spec.name, first).await?;
    for (name, outcome) in rest {
        session.begun = begun;
        answer(session, name, outcome).await?;
    }
    Ok(Flow::Continue)
}

/// Runs a command of which an argument is still in the socket.
async fn run_large<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &'static Spec,
    command: Command,
) -> Result<Flow, Error> {
    // What was before is to be seen in the metrics.
    session.tell();
    let running = async {
        if spec.verb == Verb::Set {
            return set::large(session, command).await;
        }
        let Some(args) = session.connection.whole(command).await? else {
            let refused = Done::refused(ErrorReply::ARGUMENTS_TOO_LONG, None);
            return Ok(Outcome::Done(refused));
        };
        let store = &session.state.store;
        Ok(finish(store, begin(store, spec.verb, &args).await).await)
    };
    let span = debug_span!("request", command = spec.name);
    match running.instrument(span).await {
        Ok(outcome) => answer(session, spec.name, outcome).await?,
        Err(error) => {
            session.result = CommandResult::Error;
            session.answered(spec.name);
            return Err(error);
        }
    }
    Ok(Flow::Continue)
}

/// What comes of a command, and of those that were run with it.
enum Ran<S: Store> {
    /// It took no wait.
    AtHand(Done),
    Waited(Outcome<S>, Vec<(&'static str, Outcome<S>)>),
}

async fn run_all<S: Store, R: Input, W: Output>(
    state: &ServerContext<S>,
    connection: &mut Connection<R, W>,
    spec: &Spec,
    args: &[Bytes],
) -> Ran<S> {
    let store = &state.store;
    let mut beginning = pin!(begin(store, spec.verb, args));
    let begun = match poll!(beginning.as_mut()) {
        Poll::Ready(Begun::Done(done)) => return Ran::AtHand(done),
        Poll::Ready(begun) => Some(begun),
        Poll::Pending => None,
    };
    // What is large is sent before anything else is waited for.
    let is_large = |readable: &Readable<S>| !store.is_small(readable.value_size());
    let is_alone = matches!(&begun, Some(Begun::Read(readable)) if is_large(readable));
    let mut first = pin!(async {
        let begun = match begun {
            Some(begun) => begun,
            None => beginning.await,
        };
        finish(store, begun).await
    });
    if is_alone || !connection.is_ready() {
        return Ran::Waited(first.as_mut().await, Vec::new());
    }
    let others = others(connection, spec, args);
    let rest = others.iter().map(async |(spec, command)| {
        let begun = begin(store, spec.verb, &command.args).await;
        (spec.name, finish(store, begun).await)
    });
    let (first, rest) = join(first, join_all(rest)).await;
    Ran::Waited(first, rest)
}

/// The commands behind one that have been received, and of which none could see what another does.
fn others<R: Input, W: Output>(
    connection: &mut Connection<R, W>,
    spec: &Spec,
    args: &[Bytes],
) -> Vec<(&'static Spec, Command)> {
    let mut others = Vec::new();
    // The keys that are named, and whether they are written.
    let mut named = HashMap::from_iter([(args[1].clone(), spec.verb == Verb::Set)]);
    while others.len() + 1 < MOST
        && let Some(command) = connection.ready()
    {
        let spec = command.args.first().and_then(|name| table::find(name));
        let other = spec.filter(|spec| {
            let writes = spec.verb == Verb::Set;
            let is_seen = |key| named.get(key).is_some_and(|&written| written || writes);
            takes(spec, &command) && !is_seen(&command.args[1])
        });
        let Some(spec) = other else {
            connection.put_back(command);
            break;
        };
        named.insert(command.args[1].clone(), spec.verb == Verb::Set);
        others.push((spec, command));
    }
    others
}

/// Queues a reply, and reports it to the observer.
fn answer_done<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &'static str,
    done: Done,
) {
    (session.result, session.moved, session.hit) = (CommandResult::Ok, done.moved, done.hit);
    session.answer(done.answer);
    session.answered(name);
}

/// Replies, and reports that to the observer.
async fn answer<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    name: &'static str,
    outcome: Outcome<S>,
) -> Result<(), Error> {
    let (value, moved, hit) = match outcome {
        Outcome::Done(done) => {
            answer_done(session, name, done);
            return Ok(());
        }
        Outcome::Value { value, moved, hit } => (value, moved, hit),
    };
    (session.result, session.moved, session.hit) = (CommandResult::Ok, moved, hit);
    let sending = async {
        match value {
            ToSend::Readable(readable) => send::readable(session, readable).await,
            ToSend::Stream(stream) => send::stream(session, stream).await,
        }
    };
    let sent = sending
        .instrument(debug_span!("request", command = name))
        .await;
    if sent.is_err() {
        session.result = CommandResult::Error;
    }
    session.answered(name);
    sent
}

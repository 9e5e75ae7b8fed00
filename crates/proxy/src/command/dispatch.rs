//! From a command's name to its file.

use std::time::Duration;

use bytes::Bytes;
use infinicache_host::clock;
use infinicache_resp::{Command, Error, Input, Output};
use infinicache_wire::control;
use redis_protocol::resp2::types::BytesFrame;
use tokio::time;
use tracing::{Instrument, debug_span};

use super::{
    CommandResult, ErrorReply, RedisSession, Spec, Store,
    arguments::excerpt,
    auth, client, commands, config, dbsize, del, echo, exists, expire, flush, get, getrange, hello,
    info, kind, persist, ping,
    pipeline::{self, Pipelined},
    quit, select, set, smart, strlen,
    table::{self, Verb, admits},
    ttl,
};

/// How long a command waits for a proxy that is out of touch with its members, and how often it
/// looks.
const OUT_OF_TOUCH: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of a connection after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// It takes the next command.
    Continue,
    /// It takes the next command; this one was answered with what was at hand.
    Immediate,
    /// It is closed once all replies are sent.
    Close,
    /// It is not RESP any more: the socket goes to the server's take-over once
    /// all replies are sent.
    Takeover,
}

/// Answers a command if that takes nothing but what is at hand; whether it did.
pub(crate) fn answer_now<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: &Command,
) -> bool {
    let spec = command.args.first().and_then(|name| table::find(name));
    match spec.and_then(|spec| Some((spec, Pipelined::of(session, spec, command)?))) {
        Some((spec, Pipelined::Answered(reply))) => {
            pipeline::answer(session, spec.name, reply);
            true
        }
        _ => false,
    }
}

/// Runs one command and queues its reply.
///
/// # Errors
///
/// When the connection cannot go on.
pub(crate) async fn run<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: Command,
) -> Result<Flow, Error> {
    session.result = CommandResult::Ok;
    session.moved = 0;

    let spec = command.args.first().and_then(|name| table::find(name));
    match spec.and_then(|spec| Some((spec, Pipelined::of(session, spec, &command)?))) {
        None => {}
        Some((spec, Pipelined::Answered(reply))) => {
            pipeline::answer(session, spec.name, reply);
            return Ok(Flow::Immediate);
        }
        Some((spec, first)) => {
            pipeline::run(session, spec, first, &command).await;
            return Ok(Flow::Continue);
        }
    }
    // What was before is to be seen in the metrics.
    session.tell();
    let name = spec.map_or("unknown", |spec| spec.name);
    let flow = match spec {
        Some(spec) => {
            let span = debug_span!("request", command = name);
            checked(session, spec, command).instrument(span).await
        }
        None => unknown(session, command).await,
    };

    let result = flow
        .as_ref()
        .map_or(CommandResult::Error, |_| session.result);
    session.answered(name, result, session.moved);
    flow
}

async fn checked<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &Spec,
    command: Command,
) -> Result<Flow, Error> {
    if !admits(spec.arity, command.count) {
        return reject(session, &command, ErrorReply::arity(spec.name)).await;
    }
    if !session.is_known() && !matches!(spec.verb, Verb::Auth | Verb::Hello | Verb::Quit) {
        return reject(session, &command, ErrorReply::UNKNOWN_CLIENT).await;
    }
    if spec.verb.needs_values()
        && let Err(refused) = until_open(&session.state.store).await
    {
        return reject(session, &command, refused).await;
    }
    if spec.verb == Verb::Set {
        set::run(session, command).await?;
        return Ok(Flow::Continue);
    }
    match session.connection.whole(command).await? {
        Some(args) => whole(session, spec, &args).await,
        None => {
            session.refuse(ErrorReply::ARGUMENTS_TOO_LONG);
            Ok(Flow::Continue)
        }
    }
}

/// Waits a moment until the store may answer: most of its members may just have said goodbye, and
/// what is left of them be about to renew its lease.
async fn until_open<S: Store>(store: &S) -> Result<(), ErrorReply> {
    let deadline = clock::now() + OUT_OF_TOUCH;
    loop {
        match store.is_open() {
            Err(refused) if refused == ErrorReply::OUT_OF_TOUCH && clock::now() < deadline => {
                time::sleep(LOOK).await;
            }
            result => return result,
        }
    }
}

/// Runs a command of which all arguments have been read.
async fn whole<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &Spec,
    args: &[Bytes],
) -> Result<Flow, Error> {
    let state = &session.state;
    let store = &state.store;
    let answer = match spec.verb {
        Verb::Auth => auth::run(&mut session.client, state.password(), args),
        Verb::Client => client::run(&mut session.client, args),
        Verb::Commands => commands::run(args),
        Verb::Dbsize => dbsize::run(store),
        Verb::Del => del::run(store, args).await,
        Verb::Echo => echo::run(args),
        Verb::Exists => exists::run(store, args),
        Verb::Expire(unit, since) => expire::run(store, spec.name, unit, since, args).await,
        Verb::Flush => flush::run(store, args).await,
        Verb::Info => info::run(state, args),
        Verb::Kind => kind::run(store, args),
        Verb::Persist => persist::run(store, args).await,
        Verb::Ping => ping::run(args),
        Verb::Smart(control::Verb::Link) => {
            session.reply(&BytesFrame::SimpleString("OK".into()));
            return Ok(Flow::Takeover);
        }
        Verb::Smart(_) => smart::run(store, &mut session.owned, args).await,
        Verb::Select => select::run(args),
        Verb::Strlen => strlen::run(store, args),
        Verb::Ttl(unit) => ttl::run(store, unit, args),
        Verb::Config => {
            let answer = config::run(state, args);
            session.answer_map(answer);
            return Ok(Flow::Continue);
        }
        Verb::Hello => {
            let answer = hello::run(&mut session.client, state.password(), args);
            session.connection.speak(session.client.protocol);
            session.answer_map(answer);
            return Ok(Flow::Continue);
        }
        Verb::Quit => {
            session.answer(quit::run());
            return Ok(Flow::Close);
        }
        Verb::Get => {
            get::run(session, args).await?;
            return Ok(Flow::Continue);
        }
        Verb::Getrange => {
            getrange::run(session, args).await?;
            return Ok(Flow::Continue);
        }
        Verb::Set => unreachable!("SET takes its value from the connection"),
    };
    session.answer(answer);
    Ok(Flow::Continue)
}

async fn unknown<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: Command,
) -> Result<Flow, Error> {
    let Some((name, args)) = command.args.split_first() else {
        return reject(session, &command, ErrorReply::ARGUMENTS_TOO_LONG).await;
    };
    // A browser that was made to send HTTP here: as Redis does, hang up before
    // what it sends next is taken for commands.
    if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
        session.result = CommandResult::Error;
        return Ok(Flow::Close);
    }
    let mut quoted = String::new();
    for arg in args {
        let Some(room) = 128usize.checked_sub(quoted.len()).filter(|&room| room > 0) else {
            break;
        };
        quoted += &format!("'{}' ", excerpt(arg, room));
    }
    let name = excerpt(name, 128);
    let text = format!("ERR unknown command '{name}', with args beginning with: {quoted}");
    reject(session, &command, ErrorReply::quoting(text)).await
}

/// Refuses a command of which a part may not have been read.
async fn reject<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    command: &Command,
    refused: ErrorReply,
) -> Result<Flow, Error> {
    if command.large.is_some() {
        session.connection.discard_rest().await?;
    }
    session.refuse(refused);
    Ok(Flow::Continue)
}

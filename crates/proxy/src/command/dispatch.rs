//! From a command's name to its file.

use std::time::Duration;

use infinicache_host::clock;
use infinicache_resp::{Command, Error, Input, Output};
use tokio::time;
use tracing::{Instrument, debug_span};

use super::{
    CommandResult, ErrorReply, RedisSession, Spec, Store,
    arguments::excerpt,
    pipeline,
    table::{self, Call, Reply, admits},
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
    spec.is_some_and(|spec| {
        session.is_known()
            && pipeline::takes(spec, command)
            && pipeline::answer_now(session, spec, command)
    })
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
    session.forget_result();
    let spec = command.args.first().and_then(|name| table::find(name));
    let admitted = match spec {
        Some(spec) => admit(session, spec, &command).await,
        None => Ok(()),
    };
    if let (Some(spec), Ok(())) = (spec, &admitted)
        && spec.verb.is_on_value()
    {
        return pipeline::run(session, spec, command).await;
    }
    // What was before is to be seen in the metrics.
    session.tell();
    let name = spec.map_or("unknown", |spec| spec.name);
    let flow = match (spec, admitted) {
        (_, Err(refused)) => reject(session, &command, refused).await,
        (None, Ok(())) => unknown(session, command).await,
        (Some(spec), Ok(())) => {
            let span = debug_span!("request", command = name);
            whole(session, spec, command).instrument(span).await
        }
    };
    if flow.is_err() {
        session.result = CommandResult::Error;
    }
    session.answered(name);
    flow
}

/// Whether a command may be run; if not, what it is refused with.
async fn admit<S: Store, R: Input, W: Output>(
    session: &RedisSession<S, R, W>,
    spec: &Spec,
    command: &Command,
) -> Result<(), ErrorReply> {
    if !admits(spec.arity, command.count) {
        return Err(ErrorReply::arity(spec.name));
    }
    if !session.is_known() && !spec.flags.contains(&"no_auth") {
        return Err(ErrorReply::UNKNOWN_CLIENT);
    }
    if spec.needs_values {
        until_open(&session.state.store).await?;
    }
    Ok(())
}

/// Waits a moment until the store may answer: most of its members may just have said goodbye, and
/// what is left of them be about to renew its lease.
async fn until_open<S: Store>(store: &S) -> Result<(), ErrorReply> {
    let mut deadline = None;
    loop {
        match store.is_open().await {
            Err(refused) if refused == ErrorReply::OUT_OF_TOUCH => {
                let now = clock::now();
                if now >= *deadline.get_or_insert(now + OUT_OF_TOUCH) {
                    return Err(refused);
                }
                time::sleep(LOOK).await;
            }
            result => return result,
        }
    }
}

/// Runs a command of which all arguments can be held.
async fn whole<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    spec: &'static Spec,
    command: Command,
) -> Result<Flow, Error> {
    let Some(args) = session.connection.whole(command).await? else {
        session.refuse(ErrorReply::ARGUMENTS_TOO_LONG);
        return Ok(Flow::Continue);
    };
    let call = Call {
        state: &session.state,
        client: &mut session.client,
        owned: &mut session.owned,
        spec,
        args: &args,
    };
    let answer = table::run(call).await;
    session.connection.speak(session.client.protocol);
    Ok(match answer {
        Ok(Reply::Frame(frame)) => {
            session.reply(&frame);
            Flow::Continue
        }
        Ok(Reply::Map(frame)) => {
            session.connection.reply_map(&frame);
            Flow::Continue
        }
        Ok(Reply::Last(frame, flow)) => {
            session.reply(&frame);
            flow
        }
        Err(refused) => {
            session.refuse(refused);
            Flow::Continue
        }
    })
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

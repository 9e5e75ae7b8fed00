//! The table of commands: it drives dispatch, the check of the number of
//! arguments, and what `COMMAND` tells about them.
//!
//! A command is its row in [`COMMANDS`], its [`Verb`] and its arm in [`run`]; the rest is in its
//! file.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Client, ErrorReply, Flow, ServerContext, Store, arguments::TimeUnit, auth, client, commands,
    config, dbsize, del, echo, exists, expire, flush, get, getrange, hello, info, kind, persist,
    ping, quit, select, set, smart, strlen, ttl,
};

/// What is known of a command. The fields are those of `COMMAND INFO` and `COMMAND DOCS`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// In lower case.
    pub(crate) name: &'static str,
    /// How many arguments it has, its name included; if negative, at least how many.
    pub(crate) arity: i64,
    /// What Redis tells clients about it.
    pub(crate) flags: &'static [&'static str],
    /// The first and the last key among the arguments, and the step between keys.
    pub(crate) keys: (i64, i64, i64),
    /// Its categories in access lists, without the leading `@`.
    pub(crate) categories: &'static [&'static str],
    /// The chapter it is in: `string`, `generic`, `connection`, `server`.
    pub(crate) group: &'static str,
    /// What it does, in a phrase.
    pub(crate) summary: &'static str,
    /// Whether the answer depends on what values there are.
    pub(crate) needs_values: bool,
    /// What to run.
    pub(crate) verb: Verb,
}

/// What is [run].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Auth,
    Client,
    Commands,
    Config,
    Dbsize,
    Del,
    Echo,
    Exists,
    Expire(TimeUnit, expire::Since),
    Flush,
    Get,
    Getrange,
    Hello,
    Info,
    Kind,
    Persist,
    Ping,
    Quit,
    Select,
    Set,
    Smart,
    Strlen,
    Ttl(TimeUnit),
}

impl Verb {
    /// Whether it reads or writes a value, which the [pipeline](super::pipeline) does.
    pub(super) fn is_on_value(self) -> bool {
        matches!(self, Self::Get | Self::Getrange | Self::Set)
    }
}

/// A command that is called, and what it may act on.
pub(super) struct Call<'a, S: Store> {
    pub(super) state: &'a ServerContext<S>,
    pub(super) client: &'a mut Client,
    pub(super) owned: &'a mut S::Resources,
    pub(super) spec: &'static Spec,
    pub(super) args: &'a [Bytes],
}

/// What is replied to a command.
pub(super) enum Reply {
    Frame(BytesFrame),
    /// Names and values in turn.
    Map(BytesFrame),
    /// After it, the connection takes no other command.
    Last(BytesFrame, Flow),
}

impl From<BytesFrame> for Reply {
    fn from(frame: BytesFrame) -> Self {
        Self::Frame(frame)
    }
}

/// Runs a command, of which all arguments have been read.
pub(super) async fn run<S: Store>(call: Call<'_, S>) -> Result<Reply, ErrorReply> {
    let Call {
        state,
        client,
        owned,
        spec,
        args,
    } = call;
    let store = &state.store;
    let frame = match spec.verb {
        Verb::Auth => auth::run(client, state.password(), args)?,
        Verb::Client => client::run(client, args)?,
        Verb::Commands => commands::run(args)?,
        Verb::Config => return Ok(Reply::Map(config::run(state, args)?)),
        Verb::Dbsize => dbsize::run(store).await?,
        Verb::Del => del::run(store, args).await?,
        Verb::Echo => echo::run(args)?,
        Verb::Exists => exists::run(store, args).await?,
        Verb::Expire(unit, since) => expire::run(store, spec.name, unit, since, args).await?,
        Verb::Flush => flush::run(store, args).await?,
        Verb::Get | Verb::Getrange | Verb::Set => unreachable!("the pipeline runs these"),
        Verb::Hello => return Ok(Reply::Map(hello::run(client, state.password(), args)?)),
        Verb::Info => info::run(state, args)?,
        Verb::Kind => kind::run(store, args).await?,
        Verb::Persist => persist::run(store, args).await?,
        Verb::Ping => ping::run(args)?,
        Verb::Quit => return Ok(Reply::Last(quit::run()?, Flow::Close)),
        Verb::Select => select::run(args)?,
        Verb::Smart => return smart::run(store, owned, args).await,
        Verb::Strlen => strlen::run(store, args).await?,
        Verb::Ttl(unit) => ttl::run(store, unit, args).await?,
    };
    Ok(frame.into())
}

/// All commands, those first that are looked up most.
pub(crate) static COMMANDS: &[Spec] = &[
    get::SPEC,
    set::SPEC,
    del::DEL,
    exists::SPEC,
    ping::SPEC,
    getrange::SPEC,
    strlen::SPEC,
    ttl::TTL,
    ttl::PTTL,
    expire::EXPIRE,
    expire::PEXPIRE,
    expire::EXPIREAT,
    expire::PEXPIREAT,
    persist::SPEC,
    kind::SPEC,
    del::UNLINK,
    echo::SPEC,
    dbsize::SPEC,
    flush::FLUSHALL,
    flush::FLUSHDB,
    info::SPEC,
    hello::SPEC,
    select::SPEC,
    client::SPEC,
    config::SPEC,
    auth::SPEC,
    commands::SPEC,
    quit::SPEC,
    smart::LOCATE,
    smart::OPEN,
    smart::COMMIT,
    smart::RESERVE,
    smart::RELEASE,
    smart::REPLACE,
    smart::ABORT,
    smart::NODES,
    smart::LINK,
];

/// The command of a name in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS
        .iter()
        .find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a command of this arity may have `count` arguments.
pub(super) fn admits(arity: i64, count: usize) -> bool {
    match usize::try_from(arity) {
        Ok(exactly) => count == exactly,
        Err(_) => count as u64 >= arity.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_in_lower_case() {
        for (index, spec) in COMMANDS.iter().enumerate() {
            assert_eq!(spec.name, spec.name.to_ascii_lowercase());
            let first = COMMANDS.iter().position(|each| each.name == spec.name);
            assert_eq!(first, Some(index), "{}", spec.name);
        }
    }

    #[test]
    fn an_arity_is_exact_or_a_minimum() {
        assert!(admits(2, 2) && !admits(2, 1) && !admits(2, 3));
        assert!(admits(-2, 2) && !admits(-2, 1) && admits(-2, 3));
    }
}

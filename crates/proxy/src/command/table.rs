//! The table of commands: it drives dispatch, the check of the number of
//! arguments, and what `COMMAND` tells about them.

use infinicache_wire::control;

use super::{
    arguments::TimeUnit, auth, client, commands, config, dbsize, del, echo, exists, expire, flush,
    get, getrange, hello, info, kind, persist, ping, quit, select, set, smart, strlen, ttl,
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
    /// What to run.
    pub(crate) verb: Verb,
}

/// What [`dispatch`](super::dispatch) runs.
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
    Smart(control::Verb),
    Strlen,
    Ttl(TimeUnit),
}

impl Verb {
    /// Whether the answer depends on what values there are.
    pub(super) fn needs_values(self) -> bool {
        match self {
            Self::Auth
            | Self::Client
            | Self::Commands
            | Self::Config
            | Self::Echo
            | Self::Hello
            | Self::Info
            | Self::Ping
            | Self::Quit
            | Self::Select
            | Self::Smart(control::Verb::Nodes | control::Verb::Link) => false,
            Self::Dbsize
            | Self::Del
            | Self::Exists
            | Self::Expire(..)
            | Self::Flush
            | Self::Get
            | Self::Getrange
            | Self::Kind
            | Self::Persist
            | Self::Set
            | Self::Smart(_)
            | Self::Strlen
            | Self::Ttl(_) => true,
        }
    }
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

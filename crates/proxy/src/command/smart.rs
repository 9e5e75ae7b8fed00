//! The `IC.*` commands of smart clients, which code and place by themselves. Their grammar and
//! what they mean is told in [`infinicache_wire::control`]; they are done in [`crate::control`].

use bytes::Bytes;
use infinicache_wire::control::{self, CommandError, ControlCommand};
use redis_protocol::resp2::types::BytesFrame;

use super::{
    ErrorReply, Flow, Spec, Store,
    arguments::key,
    set,
    table::{Reply, Verb},
};

const fn spec(
    name: &'static str,
    keys: (i64, i64, i64),
    verb: control::Verb,
    summary: &'static str,
) -> Spec {
    Spec {
        name,
        arity: verb.arity(),
        flags: &["noscript"],
        keys,
        categories: &["slow"],
        group: "infinicache",
        summary,
        needs_values: !matches!(verb, control::Verb::Nodes | control::Verb::Link),
        verb: Verb::Smart,
    }
}

const NO_KEY: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);

pub(super) const NODES: Spec = spec(
    "ic.nodes",
    NO_KEY,
    control::Verb::Nodes,
    "Describe the pool",
);
pub(super) const OPEN: Spec = spec("ic.open", ONE_KEY, control::Verb::Open, "Begin a write");
pub(super) const RESERVE: Spec = spec(
    "ic.reserve",
    NO_KEY,
    control::Verb::Reserve,
    "Make room for a write",
);
pub(super) const REPLACE: Spec = spec(
    "ic.replace",
    NO_KEY,
    control::Verb::Replace,
    "Move a chunk of a write",
);
pub(super) const COMMIT: Spec = spec(
    "ic.commit",
    NO_KEY,
    control::Verb::Commit,
    "Make a write a key's value",
);
pub(super) const ABORT: Spec = spec("ic.abort", NO_KEY, control::Verb::Abort, "Give a write up");
pub(super) const LOCATE: Spec = spec(
    "ic.locate",
    ONE_KEY,
    control::Verb::Locate,
    "Tell where a value is",
);
pub(super) const RELEASE: Spec = spec("ic.release", NO_KEY, control::Verb::Release, "End a read");
pub(super) const LINK: Spec = spec("ic.link", NO_KEY, control::Verb::Link, "Go over to frames");

pub(super) async fn run<S: Store>(
    store: &S,
    owned: &mut S::Resources,
    args: &[Bytes],
) -> Result<Reply, ErrorReply> {
    let mut command = ControlCommand::parse(args)?;
    match &mut command {
        ControlCommand::Open { key: name, .. } | ControlCommand::Locate { key: name, .. } => {
            key(name)?;
        }
        ControlCommand::Commit { terms, .. } => *terms = set::dated(*terms, store.now())?,
        ControlCommand::Link => {
            let ok = BytesFrame::SimpleString("OK".into());
            return Ok(Reply::Last(ok, Flow::Takeover));
        }
        _ => {}
    }
    Ok(store.control(owned, command).await?.into())
}

impl From<CommandError> for ErrorReply {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotAWrite => Self::text("ERR not the id of a write"),
            CommandError::Terms(error) => error.into(),
            // The table of commands has seen to it.
            CommandError::Unknown | CommandError::Arity => Self::SYNTAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::COMMANDS;

    #[test]
    fn each_is_in_the_table_under_its_name() {
        for verb in control::Verb::ALL {
            let name = verb.name().to_ascii_lowercase();
            let spec = COMMANDS.iter().find(|spec| spec.name == name).unwrap();
            assert_eq!((spec.verb, spec.arity), (Verb::Smart, verb.arity()));
        }
    }
}

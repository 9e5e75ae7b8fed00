//! ```text
//! COMMAND
//! COMMAND COUNT | LIST
//! COMMAND INFO | DOCS [name ...]
//! ```
//!
//! What the [table] says about commands, in the shape that Redis
//! gives it: clients find the keys of a command by it, and `redis-cli` its hints.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, Spec, subcommand,
    table::{self, COMMANDS, Verb},
};

pub(super) const SPEC: Spec = Spec {
    name: "command",
    arity: -1,
    flags: &["loading", "stale"],
    keys: (0, 0, 0),
    categories: &["slow", "connection"],
    group: "server",
    summary: "Get what is known of commands",
    needs_values: false,
    verb: Verb::Commands,
};

#[derive(Clone, Copy)]
enum Action {
    Count,
    List,
    Info,
    Docs,
}

pub(super) fn run(args: &[Bytes]) -> Answer {
    const ACTIONS: [subcommand::Subcommand<Action>; 4] = [
        ("COUNT", 2, Action::Count),
        ("LIST", 2, Action::List),
        ("INFO", -2, Action::Info),
        ("DOCS", -2, Action::Docs),
    ];
    if args.len() == 1 {
        return Ok(BytesFrame::Array(COMMANDS.iter().map(entry).collect()));
    }
    let action = subcommand::find(SPEC.name, &ACTIONS, args)?;
    let names = &args[2..];
    Ok(match action {
        Action::Count => BytesFrame::Integer(COMMANDS.len() as i64),
        Action::List => BytesFrame::Array(COMMANDS.iter().map(|spec| bulk(spec.name)).collect()),
        Action::Info if names.is_empty() => BytesFrame::Array(COMMANDS.iter().map(entry).collect()),
        Action::Info => {
            let found = names.iter().map(|name| table::find(name));
            BytesFrame::Array(
                found
                    .map(|spec| spec.map_or(BytesFrame::Null, entry))
                    .collect(),
            )
        }
        Action::Docs if names.is_empty() => docs(COMMANDS.iter()),
        Action::Docs => docs(names.iter().filter_map(|name| table::find(name))),
    })
}

/// Name, arity, flags, first key, last key, step, categories, tips, key
/// specifications, subcommands; Redis knows more of the last three.
fn entry(spec: &Spec) -> BytesFrame {
    let (first, last, step) = spec.keys;
    let flags = spec.flags.iter().map(|flag| simple(flag));
    let categories = spec
        .categories
        .iter()
        .map(|name| simple(&format!("@{name}")));
    BytesFrame::Array(vec![
        bulk(spec.name),
        BytesFrame::Integer(spec.arity),
        BytesFrame::Array(flags.collect()),
        BytesFrame::Integer(first),
        BytesFrame::Integer(last),
        BytesFrame::Integer(step),
        BytesFrame::Array(categories.collect()),
        BytesFrame::Array(Vec::new()),
        BytesFrame::Array(Vec::new()),
        BytesFrame::Array(Vec::new()),
    ])
}

fn docs<'a>(specs: impl Iterator<Item = &'a Spec>) -> BytesFrame {
    let entries = specs.flat_map(|spec| {
        let fields = ["summary", spec.summary, "group", spec.group];
        [
            bulk(spec.name),
            BytesFrame::Array(fields.into_iter().map(bulk).collect()),
        ]
    });
    BytesFrame::Array(entries.collect())
}

fn bulk(text: &str) -> BytesFrame {
    BytesFrame::BulkString(Bytes::copy_from_slice(text.as_bytes()))
}

fn simple(text: &str) -> BytesFrame {
    BytesFrame::SimpleString(Bytes::copy_from_slice(text.as_bytes()))
}

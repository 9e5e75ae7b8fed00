//! ```text
//! GET key
//! ```
//!
//! The value, or null. A value that was lost is a miss.

use bytes::Bytes;

use super::{
    ErrorReply, Spec,
    arguments::key,
    read::{Part, Read},
    table::Verb,
};

pub(super) const SPEC: Spec = Spec {
    name: "get",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: (1, 1, 1),
    categories: &["read", "string", "fast"],
    group: "string",
    summary: "Get the value of a key",
    needs_values: true,
    verb: Verb::Get,
};

pub(super) fn parse(args: &[Bytes]) -> Result<Read<'_>, ErrorReply> {
    Ok(Read {
        key: key(&args[1])?,
        part: Part::All,
    })
}

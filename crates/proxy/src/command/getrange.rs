//! ```text
//! GETRANGE key start end
//! ```
//!
//! The bytes from `start` to `end`, both included; negative ones count from the
//! end of the value. Only the stripes that hold them are read.

use bytes::Bytes;

use super::{
    ErrorReply, Spec,
    arguments::{integer, key},
    read::{Part, Read},
    table::Verb,
};

pub(super) const SPEC: Spec = Spec {
    name: "getrange",
    arity: 4,
    flags: &["readonly"],
    keys: (1, 1, 1),
    categories: &["read", "string", "slow"],
    group: "string",
    summary: "Get a part of the value of a key",
    needs_values: true,
    verb: Verb::Getrange,
};

pub(super) fn parse(args: &[Bytes]) -> Result<Read<'_>, ErrorReply> {
    let part = Part::Between(integer(&args[2])?, integer(&args[3])?);
    Ok(Read {
        key: key(&args[1])?,
        part,
    })
}

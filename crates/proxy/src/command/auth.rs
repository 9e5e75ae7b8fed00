//! ```text
//! AUTH [username] password
//! ```
//!
//! There are no users but Redis's `default`, who has no password.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Refused, Spec, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "auth",
    arity: -2,
    flags: &[
        "noscript",
        "loading",
        "stale",
        "fast",
        "no_auth",
        "allow_busy",
    ],
    keys: (0, 0, 0),
    categories: &["fast", "connection"],
    group: "connection",
    summary: "Authenticate",
    verb: Verb::Auth,
};

pub(super) fn run(args: &[Bytes]) -> Answer {
    match args {
        [_, _] => Err(Refused::text(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        [_, user, _] => {
            check(user)?;
            Ok(BytesFrame::SimpleString("OK".into()))
        }
        _ => Err(Refused::SYNTAX),
    }
}

/// Whether there is such a user; any password is the right one.
pub(super) fn check(user: &[u8]) -> Result<(), Refused> {
    match user {
        b"default" => Ok(()),
        _ => Err(Refused::WRONG_PASSWORD),
    }
}

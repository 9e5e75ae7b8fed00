//! ```text
//! AUTH [username] password
//! ```
//!
//! There are no users but Redis's `default`, who may need a password.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, Client, ErrorReply, Spec, table::Verb};
use crate::password::Password;

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
    needs_values: false,
    verb: Verb::Auth,
};

/// `password` is what is needed, if anything is.
pub(super) fn run(client: &mut Client, password: Option<&Password>, args: &[Bytes]) -> Answer {
    match args {
        [_, given] if password.is_some() => check(client, password, b"default", given)?,
        [_, _] => {
            return Err(ErrorReply::text(
                "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
            ));
        }
        [_, user, given] => check(client, password, user, given)?,
        _ => return Err(ErrorReply::SYNTAX),
    }
    Ok(BytesFrame::SimpleString("OK".into()))
}

/// Lets a client in, if there is such a user and that is the password; any is, if none is needed.
pub(super) fn check(
    client: &mut Client,
    password: Option<&Password>,
    user: &[u8],
    given: &[u8],
) -> Result<(), ErrorReply> {
    let fits = password.is_none_or(|password| password.fits(given));
    if user != b"default" || !fits {
        return Err(ErrorReply::WRONG_PASSWORD);
    }
    client.is_known = true;
    Ok(())
}

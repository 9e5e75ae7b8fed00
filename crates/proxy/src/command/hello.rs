//! ```text
//! HELLO [2 | 3 [AUTH username password] [SETNAME name]]
//! ```
//!
//! What the server is, as names and values. From this reply on, replies are of
//! the version that was asked for.

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, Client, ErrorReply, Spec,
    arguments::{excerpt, word},
    auth, client,
    table::Verb,
};
use crate::{info::REDIS_VERSION, password::Password};
use infinicache_resp::{self as resp, Protocol};

pub(super) const SPEC: Spec = Spec {
    name: "hello",
    arity: -1,
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
    summary: "Agree on the protocol",
    needs_values: false,
    verb: Verb::Hello,
};

#[derive(Debug, Default)]
struct Hello<'a> {
    protocol: Option<Protocol>,
    user: Option<(&'a Bytes, &'a Bytes)>,
    name: Option<&'a Bytes>,
}

/// `password` is what is needed, if anything is.
pub(super) fn run(client: &mut Client, password: Option<&Password>, args: &[Bytes]) -> Answer {
    let hello = parse(&args[1..])?;
    if let Some((user, given)) = hello.user {
        auth::check(client, password, user, given)?;
    }
    if password.is_some() && !client.is_known {
        return Err(ErrorReply::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = hello.name {
        client::check_name(name)?;
        client.name = client::kept(name);
    }
    client.protocol = hello.protocol.unwrap_or(client.protocol);
    Ok(introduction(client))
}

fn parse(args: &[Bytes]) -> Result<Hello<'_>, ErrorReply> {
    let mut hello = Hello::default();
    let Some((version, mut options)) = args.split_first() else {
        return Ok(hello);
    };
    hello.protocol = match resp::integer(version) {
        Some(2) => Some(Protocol::Resp2),
        Some(3) => Some(Protocol::Resp3),
        Some(_) => return Err(ErrorReply::text("NOPROTO unsupported protocol version")),
        None => {
            return Err(ErrorReply::text(
                "ERR Protocol version is not an integer or out of range",
            ));
        }
    };
    while let [option, values @ ..] = options {
        options = match (word(option).as_str(), values) {
            ("AUTH", [user, given, rest @ ..]) => {
                hello.user = Some((user, given));
                rest
            }
            ("SETNAME", [name, rest @ ..]) => {
                hello.name = Some(name);
                rest
            }
            _ => {
                let option = excerpt(option, 128);
                let text = format!("ERR Syntax error in HELLO option '{option}'");
                return Err(ErrorReply::quoting(text));
            }
        };
    }
    Ok(hello)
}

fn introduction(client: &Client) -> BytesFrame {
    let text = |text: &'static str| BytesFrame::BulkString(text.into());
    BytesFrame::Array(vec![
        text("server"),
        text("redis"),
        text("version"),
        text(REDIS_VERSION),
        text("proto"),
        BytesFrame::Integer(client.protocol as i64),
        text("id"),
        BytesFrame::Integer(client.id as i64),
        text("mode"),
        text("standalone"),
        text("role"),
        text("master"),
        text("modules"),
        BytesFrame::Array(Vec::new()),
    ])
}

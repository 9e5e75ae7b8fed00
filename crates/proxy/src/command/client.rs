//! ```text
//! CLIENT ID | INFO | GETNAME
//! CLIENT SETNAME name
//! CLIENT SETINFO LIB-NAME name | LIB-VER version
//! CLIENT NO-EVICT | NO-TOUCH ON | OFF
//! ```
//!
//! What clients tell about themselves when they connect. `NO-EVICT` and
//! `NO-TOUCH` are accepted and change nothing.

use bytes::Bytes;
use infinicache_host::clock;
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Answer, Client, ErrorReply, Spec,
    arguments::{excerpt, word},
    subcommand,
    table::Verb,
};

pub(super) const SPEC: Spec = Spec {
    name: "client",
    arity: -2,
    flags: &[],
    keys: (0, 0, 0),
    categories: &["slow"],
    group: "connection",
    summary: "Get and set what is known of the connection",
    needs_values: false,
    verb: Verb::Client,
};

#[derive(Clone, Copy)]
enum Action {
    Id,
    Info,
    GetName,
    SetName,
    SetInfo,
    Switch,
}

/// Longest name that is kept: clients have no reason for longer ones, and each
/// connection holds three.
const MAX_NAME: usize = 4096;

pub(super) fn run(client: &mut Client, args: &[Bytes]) -> Answer {
    const ACTIONS: [subcommand::Subcommand<Action>; 7] = [
        ("ID", 2, Action::Id),
        ("INFO", 2, Action::Info),
        ("GETNAME", 2, Action::GetName),
        ("SETNAME", 3, Action::SetName),
        ("SETINFO", 4, Action::SetInfo),
        ("NO-EVICT", 3, Action::Switch),
        ("NO-TOUCH", 3, Action::Switch),
    ];
    match subcommand::find(SPEC.name, &ACTIONS, args)? {
        Action::Id => return Ok(BytesFrame::Integer(client.id as i64)),
        Action::Info => return Ok(BytesFrame::BulkString(line(client).into())),
        Action::GetName if client.name.is_empty() => return Ok(BytesFrame::Null),
        Action::GetName => return Ok(BytesFrame::BulkString(client.name.clone())),
        Action::SetName => {
            check_name(&args[2])?;
            client.name = kept(&args[2]);
        }
        Action::SetInfo => set_info(client, &args[2], &args[3])?,
        Action::Switch => match word(&args[2]).as_str() {
            "ON" | "OFF" => {}
            _ => return Err(ErrorReply::SYNTAX),
        },
    }
    Ok(BytesFrame::SimpleString("OK".into()))
}

fn set_info(client: &mut Client, attribute: &Bytes, value: &Bytes) -> Result<(), ErrorReply> {
    let (name, place) = match word(attribute).as_str() {
        "LIB-NAME" => ("lib-name", &mut client.library),
        "LIB-VER" => ("lib-ver", &mut client.library_version),
        _ => {
            let attribute = excerpt(attribute, 128);
            let text = format!("ERR Unrecognized option '{attribute}'");
            return Err(ErrorReply::quoting(text));
        }
    };
    if !is_plain(value) {
        let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        return Err(ErrorReply::quoting(text));
    }
    *place = kept(value);
    Ok(())
}

/// Names stand in one line, separated by spaces.
pub(super) fn check_name(name: &[u8]) -> Result<(), ErrorReply> {
    match is_plain(name) {
        true => Ok(()),
        false => Err(ErrorReply::text(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        )),
    }
}

fn is_plain(text: &[u8]) -> bool {
    text.len() <= MAX_NAME && text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// A copy of its own, so that the connection does not hold the read buffer it came in.
pub(super) fn kept(text: &[u8]) -> Bytes {
    Bytes::copy_from_slice(text)
}

fn line(client: &Client) -> String {
    let Client {
        id, peer, local, ..
    } = client;
    format!(
        "id={id} addr={peer} laddr={local} name={name} age={age} idle=0 flags=N db=0 \
         cmd=client|info user=default redir=-1 resp={resp} lib-name={library} lib-ver={version}\n",
        name = String::from_utf8_lossy(&client.name),
        resp = client.protocol as u8,
        age = (clock::now() - client.since).as_secs(),
        library = String::from_utf8_lossy(&client.library),
        version = String::from_utf8_lossy(&client.library_version),
    )
}

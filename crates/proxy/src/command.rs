//! The Redis commands: one file each, with its grammar, `parse` where there is
//! something to parse, and `run`.
//!
//! [`run`] takes a [`Command`](infinicache_resp::Command) as far as the connection
//! has read it, finds its [`Spec`] in the [`table`], checks the number of
//! arguments, and calls the command's file. Commands act on a [`Store`] and
//! tell an [`Observe`] what became of them; they know nothing of nodes.
//!
//! To add a command: a file with its [`Spec`] and `run`, its `mod` here, and in the [`table`] its row,
//! its [`Verb`](table::Verb) and its arm.
//!
//! A command that cannot be done is answered with an error, and the connection
//! lives on; only a broken stream, or a reply that cannot be completed, ends it.

mod arguments;
mod dispatch;
mod error_reply;
mod observe;
mod pipeline;
mod read;
mod send;
mod session;
pub(crate) mod store;
mod subcommand;
mod table;

mod auth;
mod body;
mod client;
mod commands;
mod config;
mod dbsize;
mod del;
mod echo;
mod exists;
mod expire;
mod flush;
mod get;
mod getrange;
mod hello;
mod info;
mod kind;
mod persist;
mod ping;
mod quit;
mod select;
mod set;
mod smart;
mod strlen;
mod ttl;

pub(crate) use dispatch::{Flow, answer_now, run};
pub(crate) use error_reply::{Answer, ErrorReply};
pub(crate) use observe::{CommandRecord, CommandResult, Observe};
pub(crate) use session::{Client, RedisSession, ServerContext};
pub(crate) use store::Store;
pub(crate) use table::Spec;

#[cfg(test)]
mod fake;
#[cfg(test)]
pub(crate) mod tests;

//! The commands that a client sends to its proxy, and how their answers are read.
//!
//! The `IC.*` commands are those of [`infinicache_wire::control`]; the others
//! are the Redis commands of their names.

use bytes::Bytes;
use infinicache_engine::Error;
use infinicache_wire::control::ControlCommand;
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use serde::de::DeserializeOwned;

use crate::{
    connection::Owner,
    control::{
        Control,
        Repeat::{self, Harmless, Never},
    },
};

impl Control {
    /// Sends a command that is answered with a document.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        command: &ControlCommand,
    ) -> Result<T, Error> {
        document(self.send(command).await?)
    }

    /// The same of a command that opens something, with what keeps it open; `None` if there is
    /// nothing to open.
    pub(crate) async fn ask_to_open<T: DeserializeOwned>(
        &self,
        command: &ControlCommand,
    ) -> Result<Option<(T, Owner)>, Error> {
        let answer = self.request_to_open(repeat(command), command.encode());
        match answer.await? {
            (BytesFrame::Null, _) => Ok(None),
            (opened, owner) => Ok(Some((document(opened)?, owner))),
        }
    }

    /// Sends a command that is answered with a number.
    pub(crate) async fn ask_number(&self, command: &ControlCommand) -> Result<u64, Error> {
        number(self.send(command).await?)
    }

    /// Sends a command that is answered with nothing but whether it was done.
    pub(crate) async fn tell(&self, command: &ControlCommand) -> Result<(), Error> {
        self.send(command).await.map(drop)
    }

    /// Whether there was a value.
    pub(crate) async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        self.count(Never, "DEL", key).await
    }

    pub(crate) async fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        self.count(Harmless, "EXISTS", key).await
    }

    async fn count(&self, repeat: Repeat, name: &'static str, key: &[u8]) -> Result<bool, Error> {
        let name = Bytes::from_static(name.as_bytes());
        let request = vec![name, Bytes::copy_from_slice(key)];
        let counted = number(self.request(repeat, request).await?)?;
        Ok(counted > 0)
    }

    async fn send(&self, command: &ControlCommand) -> Result<BytesFrame, Error> {
        self.request(repeat(command), command.encode()).await
    }
}

/// A write that nobody knows of is given up when its connection ends, or when it idles; so to open
/// one twice does no harm.
fn repeat(command: &ControlCommand) -> Repeat {
    match command {
        ControlCommand::Commit { .. } => Never,
        ControlCommand::Nodes
        | ControlCommand::Open { .. }
        | ControlCommand::Reserve { .. }
        | ControlCommand::Replace { .. }
        | ControlCommand::Abort { .. }
        | ControlCommand::Locate { .. }
        | ControlCommand::Release { .. }
        | ControlCommand::Link => Harmless,
    }
}

fn document<T: DeserializeOwned>(answer: BytesFrame) -> Result<T, Error> {
    match answer {
        BytesFrame::BulkString(json) => serde_json::from_slice(&json)
            .map_err(|error| Error::Protocol(format!("answer cannot be read: {error}"))),
        other => Err(unexpected(&other)),
    }
}

fn number(answer: BytesFrame) -> Result<u64, Error> {
    match answer {
        BytesFrame::Integer(number) => Ok(u64::try_from(number).unwrap_or(0)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &BytesFrame) -> Error {
    Error::Protocol(format!("a {:?} is no answer to that", answer.kind()))
}

//! The commands that a client sends to its proxy.
//!
//! Each function is one command of [`infinicache_wire::control`], or the Redis
//! command of its name, with its answer read.

use bytes::Bytes;
use infinicache_wire::{
    MemberId, WriteId,
    control::{Committed, Located, Opened, Placed, PoolView},
};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use serde::de::DeserializeOwned;

use super::{
    connection::Owner,
    control::{
        Control,
        Repeat::{self, Harmless, Never},
    },
};
use crate::{Condition, Error, Expiry, Terms};

impl Control {
    pub(super) async fn nodes(&self) -> Result<PoolView, Error> {
        document(self.request(Harmless, vec![word("IC.NODES")]).await?)
    }

    pub(super) async fn open(
        &self,
        key: &[u8],
        size: Option<u64>,
        proposal: &[MemberId],
        direct: bool,
        blind: bool,
    ) -> Result<(Opened, Owner), Error> {
        let size = size.map_or("?".into(), |size| size.to_string());
        let mut request = vec![word("IC.OPEN"), copied(key), size.into()];
        let members: Vec<String> = proposal.iter().map(MemberId::to_string).collect();
        match (members.is_empty(), direct || blind) {
            (true, false) => {}
            (true, true) => request.push(word("-")),
            (false, _) => request.push(members.join(",").into()),
        }
        request.extend(asking(direct));
        request.extend(blind.then(|| word("BLIND")));
        // A write that nobody knows of is given up when its connection ends, or when it idles.
        let (opened, owner) = self.request_to_open(Harmless, request).await?;
        Ok((document(opened)?, owner))
    }

    /// Returns for how many bytes there is room.
    pub(super) async fn reserve(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        let request = vec![word("IC.RESERVE"), text(write), text(bytes)];
        match self.request(Harmless, request).await? {
            BytesFrame::Integer(reserved) => Ok(u64::try_from(reserved).unwrap_or(0).max(bytes)),
            BytesFrame::SimpleString(_) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn replace(
        &self,
        write: WriteId,
        index: u8,
        direct: bool,
    ) -> Result<Placed, Error> {
        let mut request = vec![word("IC.REPLACE"), text(write), text(index)];
        request.extend(asking(direct));
        document(self.request(Harmless, request).await?)
    }

    pub(super) async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<Committed, Error> {
        let mut request = vec![word("IC.COMMIT"), text(write), text(size)];
        match terms.condition {
            Some(Condition::Absent) => request.push(word("NX")),
            Some(Condition::Present) => request.push(word("XX")),
            None => {}
        }
        match terms.expiry {
            Expiry::Never => {}
            Expiry::Keep => request.push(word("KEEPTTL")),
            // Redis takes a signed number.
            Expiry::At(at) => request.extend([word("PXAT"), text(at.min(i64::MAX as u64))]),
            Expiry::After(ttl_ms) => request.extend([word("PX"), text(ttl_ms)]),
        }
        document(self.request(Never, request).await?)
    }

    pub(super) async fn abort(&self, write: WriteId) -> Result<(), Error> {
        self.request(Harmless, vec![word("IC.ABORT"), text(write)])
            .await
            .map(drop)
    }

    pub(super) async fn locate(
        &self,
        key: &[u8],
        direct: bool,
    ) -> Result<Option<(Located, Owner)>, Error> {
        let mut request = vec![word("IC.LOCATE"), copied(key)];
        request.extend(asking(direct));
        match self.request_to_open(Harmless, request).await? {
            (BytesFrame::Null, _) => Ok(None),
            (found, owner) => Ok(Some((document(found)?, owner))),
        }
    }

    pub(super) async fn release(&self, lease: u64) -> Result<(), Error> {
        self.request(Harmless, vec![word("IC.RELEASE"), text(lease)])
            .await
            .map(drop)
    }

    /// Whether there was a value.
    pub(super) async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        self.count(Never, vec![word("DEL"), copied(key)]).await
    }

    pub(super) async fn exists(&self, key: &[u8]) -> Result<bool, Error> {
        self.count(Harmless, vec![word("EXISTS"), copied(key)])
            .await
    }

    async fn count(&self, repeat: Repeat, request: Vec<Bytes>) -> Result<bool, Error> {
        match self.request(repeat, request).await? {
            BytesFrame::Integer(count) => Ok(count > 0),
            other => Err(unexpected(&other)),
        }
    }
}

/// The word that asks for the ways to members besides, if they are wanted.
fn asking(direct: bool) -> Option<Bytes> {
    direct.then(|| word("DIRECT"))
}

fn word(word: &'static str) -> Bytes {
    Bytes::from_static(word.as_bytes())
}

fn text(value: impl ToString) -> Bytes {
    value.to_string().into()
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn document<T: DeserializeOwned>(answer: BytesFrame) -> Result<T, Error> {
    match answer {
        BytesFrame::BulkString(json) => serde_json::from_slice(&json)
            .map_err(|error| Error::Protocol(format!("answer cannot be read: {error}"))),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &BytesFrame) -> Error {
    Error::Protocol(format!("a {:?} is no answer to that", answer.kind()))
}

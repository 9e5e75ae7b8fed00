//! An object that the pool has become too small for is written anew, with a narrower code.
//!
//! It is read like any other value and written as a new version of it, which takes its place only
//! if it still is the value of its key then; when it expires stays as it is. A client that reads or
//! overwrites it meanwhile notices nothing.

use std::{io, sync::Arc};

use bytes::{Buf, Bytes};
use infinicache_engine::{
    Budget, CommitOutcome, Error, Expiry, Incident, LatencyTracker, MuxLink, Pool, Reader, Source,
    Terms, upload,
};
use infinicache_wire::{
    MemberId, WriteId,
    control::{Opened, Placed},
};

use super::Cache;
use crate::metadata::catalog::{Object, ObjectRef};

/// Writes an object anew with the code that the pool has nodes for; whether that took its place.
///
/// # Errors
///
/// If it cannot be read or written. Nothing has changed then.
pub(crate) async fn reencode(cache: &Cache, object: &Arc<Object>) -> Result<bool, Error> {
    let (found, size) = (ObjectRef(object.clone()), object.size());
    let source = RereadSource {
        reader: Reader::new(cache.clone(), found, 0..size),
        pieces: Vec::new(),
    };
    let pool = ReplaceInPlace {
        cache: cache.clone(),
        object: object.clone(),
    };
    let upload = upload(&pool, object.key(), Some(size), source).await?;
    let terms = Terms {
        condition: None,
        expiry: Expiry::Keep,
        previous: false,
    };
    let outcome = upload.commit(&terms).await?;
    Ok(matches!(outcome, CommitOutcome::Stored { .. }))
}

/// A value that is read to be written again.
struct RereadSource {
    reader: Reader<Cache>,
    /// What has been read, the next last.
    pieces: Vec<Bytes>,
}

impl Source for RereadSource {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        let mut read = bytes::BytesMut::new();
        loop {
            let Some(piece) = self.pieces.last_mut() else {
                match self.reader.next().await.map_err(io::Error::other)? {
                    Some(pieces) => self.pieces = pieces.into_iter().rev().collect(),
                    None => return Ok(read.freeze()),
                }
                continue;
            };
            let taken = piece.split_to(piece.len().min(length - read.len()));
            if !piece.has_remaining() {
                self.pieces.pop();
            }
            // Units of the two codes need not begin at the same bytes.
            if read.is_empty() && taken.len() == length {
                return Ok(taken);
            }
            read.extend_from_slice(&taken);
            if read.len() == length {
                return Ok(read.freeze());
            }
        }
    }
}

/// The cache, for a write that may only take the place of one object.
#[derive(Clone)]
struct ReplaceInPlace {
    cache: Cache,
    object: Arc<Object>,
}

impl Pool for ReplaceInPlace {
    type Link = MuxLink;
    type Value = ObjectRef;

    fn link(&self, member: MemberId) -> Option<MuxLink> {
        self.cache.link(member)
    }

    fn budget(&self) -> &Budget {
        self.cache.budget()
    }

    fn latencies(&self) -> &LatencyTracker {
        self.cache.latencies()
    }

    fn note(&self, incident: Incident) {
        self.cache.note(incident);
    }

    fn commits_in_order(&self) -> bool {
        true
    }

    fn full_stripe(&self) -> usize {
        self.cache.full_stripe()
    }

    async fn open(&self, key: &[u8], size: Option<u64>, blind: bool) -> Result<Opened, Error> {
        self.cache.open(key, size, blind).await
    }

    async fn reserve(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        self.cache.reserve(write, bytes).await
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        self.cache.replace(write, index).await
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<CommitOutcome<ObjectRef>, Error> {
        let place_of = Some(&self.object);
        let commits = &self.cache.0.commits;
        commits.commit_in_turn(write, size, terms, place_of).await
    }

    fn abort(&self, write: WriteId) {
        self.cache.abort(write);
    }
}

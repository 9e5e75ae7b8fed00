//! A small value is stored in one exchange with its members.
//!
//! A large value is sent unit by unit and completed at its commit. Here the value is at hand, and
//! its terms are known: so each member is sent the one unit that there is, already labelled with
//! what it is to be, and has a complete chunk when it answers. All that happens in the key's turn.
//!
//! Where that does not go smoothly nothing has happened, as far as anybody can tell, and the value
//! goes the long way, which knows what to do about members that fail.

use std::{convert::Infallible, ops::Range};

use bytes::Bytes;
use infinicache_engine::{CommitOutcome, Error, Pool, Terms, read::reserve};
use infinicache_wire::{ChunkId, LabelledUnit, Request, WriteId, checksum};

use super::Cache;
use crate::metadata::catalog::{Object, ObjectRef};

impl Cache {
    /// Whether a value of this length can be stored in one exchange.
    pub(crate) fn is_small(&self, size: u64) -> bool {
        (1..=self.0.settings.small_value).contains(&size)
    }

    /// Makes a value that is at hand the one of its key: in one exchange if it is small, else by an
    /// [upload](Self::upload).
    ///
    /// # Errors
    ///
    /// As those of an upload and its commit.
    pub(crate) async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        terms: &Terms,
    ) -> Result<CommitOutcome<ObjectRef, Infallible>, Error> {
        let size = value.len() as u64;
        self.0.writes.check_length(size)?;
        if !terms.previous
            && self.is_small(size)
            && let Some(outcome) = self.store_small(key, &value, terms).await?
        {
            return Ok(outcome);
        }
        // A condition that does not hold now spares the nodes the value.
        if terms.condition.is_some() {
            let current = self.find(key);
            if !terms.hold(current.is_some()) {
                return Ok(CommitOutcome::ConditionFailed { current });
            }
        }
        let upload = self.upload(key, size, terms.are_blind(), value).await?;
        upload.commit(terms).await
    }

    /// Stores a small value; `None` if it has to be [uploaded](Self::upload).
    ///
    /// What was there before is not given back.
    ///
    /// # Errors
    ///
    /// As those of a commit.
    async fn store_small(
        &self,
        key: &[u8],
        value: &Bytes,
        terms: &Terms,
    ) -> Result<Option<CommitOutcome<ObjectRef, Infallible>>, Error> {
        let size = value.len() as u64;
        let _memory = reserve(&self.0.budget, value.len()).await?;
        let _turn = self.0.metadata.key_locks.lock(key).await;
        let current = self.find(key);
        if !terms.hold(current.is_some()) {
            // A later run may know another value.
            self.0.quorum.confirm_lease().await?;
            return Ok(Some(CommitOutcome::ConditionFailed { current }));
        }
        let placement = &self.0.writes.placement;
        let (code, members) = match placement.of_group(size, self.0.settings.small_value).await {
            Ok((code, members)) if code.data() == 1 => (code, members),
            _ => return Ok(None),
        };
        let commit_record = self
            .0
            .commits
            .commit_record(size, code, terms, current.as_ref());
        drop(current);
        let Some(whole) = LabelledUnit::new(&commit_record.label(key), value) else {
            return Ok(None);
        };
        let key = Bytes::copy_from_slice(key);
        let opened = self
            .0
            .writes
            .open_with(key.clone(), Some(size), false, code, members.to_vec())
            .await?;
        let attempt = AbortGuard(self, opened.write);
        let write = self
            .0
            .writes
            .open()
            .get(opened.write)
            .ok_or(Error::NoWrite)?;
        write.state().finishing = true;
        self.0.metrics.served().taken_in(size);
        let unit = whole.unit();
        let store = |chunk: ChunkId| Request::Store {
            chunk,
            checksum: checksum(chunk, 0, &unit),
            whole: whole.clone(),
        };
        if !self
            .0
            .commits
            .complete(&write, &members, store)
            .await?
            .is_empty()
        {
            return Ok(None);
        }

        let replaced = self
            .0
            .commits
            .install(opened.write, &commit_record, &members)?;
        drop(attempt);
        self.0.hot_cache.keep(opened.write, unit);
        self.0
            .commits
            .supersede_earlier(&key, replaced.as_ref(), false)
            .await?;
        Ok(Some(CommitOutcome::Stored {
            version: commit_record.version,
            previous: None,
        }))
    }

    /// A part of a small value from memory, if that is there.
    pub(crate) fn at_hand(&self, found: &ObjectRef, range: Range<u64>) -> Option<Bytes> {
        let ObjectRef(object) = found;
        let value = self.0.hot_cache.get(object.write(), object.size())?;
        self.0.metrics.served().given_out(range.end - range.start);
        Some(value.slice(range.start as usize..range.end as usize))
    }

    /// Keeps a small value that was read from its members.
    pub(super) fn keep_hot(&self, object: &Object, pieces: &[Bytes]) {
        let is_whole = pieces.len() == 1 && pieces[0].len() as u64 == object.size();
        if is_whole && self.0.hot_cache.takes(object.size()) {
            // What was read is a part of a larger buffer, and of the budget.
            let copy = Bytes::copy_from_slice(&pieces[0]);
            self.0.hot_cache.keep(object.write(), copy);
            // It may have been retired between the two.
            if object.is_dead() {
                self.0.hot_cache.drop_value(object.write());
            }
        }
    }
}

/// A write that is given up when this is dropped, unless it was entered.
struct AbortGuard<'a>(&'a Cache, WriteId);

impl Drop for AbortGuard<'_> {
    fn drop(&mut self) {
        self.0.abort(self.1);
    }
}

//! Which chunk is due next.
//!
//! A set ordered by time, with one entry per chunk that has a deadline. Finding
//! what is due costs only what is due, and an entry whose chunk moves on is
//! removed at once, so that the set is never larger than the chunks it is about.

use std::{collections::BTreeSet, time::Instant};

use infinicache_wire::ChunkId;

#[derive(Debug, Default)]
pub(crate) struct Deadlines(BTreeSet<(Instant, ChunkId)>);

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Instant, chunk: ChunkId) {
        self.0.insert((at, chunk));
    }

    pub(crate) fn remove(&mut self, at: Instant, chunk: ChunkId) {
        self.0.remove(&(at, chunk));
    }

    /// The chunk whose deadline is the earliest.
    pub(crate) fn first(&self) -> Option<ChunkId> {
        self.0.first().map(|&(_, chunk)| chunk)
    }

    /// A chunk whose deadline has come.
    pub(crate) fn due(&self, now: Instant) -> Option<ChunkId> {
        let &(at, chunk) = self.0.first()?;
        (at <= now).then_some(chunk)
    }
}

//! Chunks of which no unit is wanted any more.
//!
//! A client puts units over a connection of its own, and the proxy frees what
//! came of it over another. After a node has been frozen both wait to be read,
//! in any order: a unit that is read after its chunk was freed would be kept for
//! nothing, until no proxy had gone on with it for a long time, in room that the
//! proxy has planned something else for. So a chunk that was freed before it was
//! complete is remembered for a while. What the proxy itself sends comes in
//! order, and is not held to it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use infinicache_host::hash::HashMap;
use infinicache_wire::ChunkId;

/// For how long a chunk is remembered: longer than a client waits for any answer.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Chunks that are remembered at once, the latest.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct ClosedChunks {
    until: HashMap<ChunkId, Instant>,
    /// In the order in which they were closed.
    order: VecDeque<(Instant, ChunkId)>,
}

impl ClosedChunks {
    /// From now on no unit of a chunk is wanted.
    pub(crate) fn close(&mut self, chunk: ChunkId, now: Instant) {
        let until = now + REMEMBERED;
        self.until.insert(chunk, until);
        self.order.push_back((until, chunk));
        while let Some(&(until, chunk)) = self.order.front()
            && (until <= now || self.order.len() > MOST)
        {
            self.order.pop_front();
            // It may have been closed again since.
            if self.until.get(&chunk) == Some(&until) {
                self.until.remove(&chunk);
            }
        }
    }

    /// Whether no unit of a chunk is wanted.
    pub(crate) fn has(&self, chunk: ChunkId, now: Instant) -> bool {
        self.until.get(&chunk).is_some_and(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::WriteId;

    use super::*;

    fn chunk(sequence: u64) -> ChunkId {
        let (epoch, index) = (1, 0);
        let write = WriteId { epoch, sequence };
        ChunkId { write, index }
    }

    #[test]
    fn a_chunk_is_remembered_for_a_while_after_it_was_closed_last() {
        let (mut closed, start) = (ClosedChunks::default(), Instant::now());
        closed.close(chunk(1), start);
        assert!(closed.has(chunk(1), start) && !closed.has(chunk(2), start));
        closed.close(chunk(1), start + REMEMBERED / 2);
        closed.close(chunk(2), start + REMEMBERED);
        assert!(closed.has(chunk(1), start + REMEMBERED));
        closed.close(chunk(2), start + REMEMBERED * 3);
        assert!(!closed.has(chunk(1), start + REMEMBERED * 3));
        assert_eq!((closed.until.len(), closed.order.len()), (1, 1));
    }

    #[test]
    fn only_the_latest_are_remembered_of_very_many() {
        let (mut closed, now) = (ClosedChunks::default(), Instant::now());
        let most = MOST as u64;
        (0..2 * most).for_each(|number| closed.close(chunk(number), now));
        assert!(!closed.has(chunk(most - 1), now) && closed.has(chunk(most), now));
        assert_eq!((closed.until.len(), closed.order.len()), (MOST, MOST));
    }
}

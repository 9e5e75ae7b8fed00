//! An upload becomes the value of its key.
//!
//! Before a commit every unit has to be with its member, and usually that means to wait until all
//! are acknowledged. Where what a commit asks of a member comes over the same link behind its
//! units, it is enough that they are on their way: node and pool then deal with both at once. A
//! unit that is late, or for which there was no room at first, makes the attempt incomplete; the
//! next one is made when it is there.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll};

use futures_util::stream::StreamExt;
use infinicache_host::clock;
use infinicache_wire::Terms;
use tokio::time;

use super::{Chunk, STRAGGLER_TIMEOUT, Upload};
use crate::{
    error::Error,
    pool::{CommitOutcome, Pool},
};

/// How often a commit is tried, with what was incomplete rebuilt in between.
const COMMIT_ATTEMPTS: usize = 4;

impl<P: Pool> Upload<P> {
    /// Makes the upload the value of its key, if the terms allow it.
    ///
    /// # Errors
    ///
    /// The old value is still there, except after [`Error::TimedOut`] or
    /// [`Error::Unreachable`] of a remote pool: then it is not known which one is.
    pub async fn commit(
        mut self,
        terms: &Terms,
    ) -> Result<CommitOutcome<P::Value, Infallible>, Error> {
        for _ in 0..COMMIT_ATTEMPTS {
            let began = clock::now();
            let unheard: Vec<bool> = self.chunks.iter().map(Chunk::is_late).collect();
            let incomplete = match self.request_commit(terms).await?.decided() {
                Ok(outcome) => {
                    self.settled = true;
                    return Ok(outcome);
                }
                Err(incomplete) => incomplete,
            };
            // Units may have come too late for this attempt, and be there for the next: but not
            // of a member that was waited for and is silent still.
            let waited = clock::now() - began >= STRAGGLER_TIMEOUT;
            for index in incomplete.into_iter().map(usize::from) {
                let Some(&was_unheard) = unheard.get(index) else {
                    continue;
                };
                let is_unheard = self.chunks[index].is_late();
                if !was_unheard || waited && is_unheard {
                    self.take_down(index)?;
                }
            }
            self.make_whole().await?;
        }
        Err(Error::Unreachable(
            "nodes kept failing to complete the write".into(),
        ))
    }

    /// Has the pool decide. What is heard of units meanwhile has consequences only afterwards:
    /// the members of a write that is decided stay as they are.
    async fn request_commit(&mut self, terms: &Terms) -> Result<CommitOutcome<P::Value>, Error> {
        let pool = self.pool.clone();
        let mut deciding = pin!(pool.commit(self.write, self.size(), terms));
        let mut heard = Vec::new();
        let committed = loop {
            tokio::select! {
                biased;
                Some(step) = self.steps.next() => heard.push(step),
                committed = &mut deciding => break committed?,
            }
        };
        if let CommitOutcome::Incomplete(incomplete) = &committed {
            let is_open = |index: usize| incomplete.iter().any(|it| usize::from(*it) == index);
            // A member that completed its chunk has all units, whatever becomes of their
            // acknowledgements, and keeps it: no list would name the chunk if it were replaced.
            self.stop_waiting(|index| !is_open(index));
            let chunks = self.chunks.iter_mut().enumerate();
            let done = chunks.filter(|(index, _)| !is_open(*index));
            done.for_each(|(_, chunk)| chunk.unacknowledged.clear());
            let open = heard.into_iter().filter(|step| is_open(step.index()));
            open.into_iter().try_for_each(|step| self.take(step))?;
        }
        Ok(committed)
    }

    /// Waits until every unit is with its member, or on its way ahead of what a commit asks of it.
    pub(super) async fn hand_over(&mut self) -> Result<(), Error> {
        let (latencies, now) = (self.pool.latencies(), clock::now());
        let is_slow = |chunk: &Chunk| latencies.is_slow(chunk.member, now);
        if self.pool.commits_in_order()
            && !self.chunks.iter().any(is_slow)
            && let Ok(sent) = time::timeout(STRAGGLER_TIMEOUT, self.send_all()).await
        {
            sent?;
            let is_in_want = |chunk: &Chunk| chunk.down || chunk.is_lacking();
            if !self.chunks.iter().any(is_in_want) {
                return Ok(());
            }
        }
        self.make_whole().await
    }

    /// Waits until no unit waits to be sent.
    async fn send_all(&mut self) -> Result<(), Error> {
        poll_fn(|context| {
            while let Poll::Ready(Some(step)) = self.steps.poll_next_unpin(context) {
                self.take(step)?;
            }
            match Arc::strong_count(&self.unsent) {
                1 => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

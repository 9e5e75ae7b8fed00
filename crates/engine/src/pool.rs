//! The pool as the cache's algorithms see it.
//!
//! The proxy implements [`Pool`] over its own metadata and the links that nodes
//! have dialled; the client library implements it over `IC.*` commands and a
//! relayed link. Writing, reading and rebuilding are the same code for both.

use std::{convert::Infallible, future::Future, time::Instant};

use infinicache_erasure::Geometry;
use infinicache_host::clock;
use infinicache_wire::{
    ChunkId, MemberId, Terms, Version, WriteId,
    control::{CommitReply, Opened, Placed},
};

use crate::{budget::Budget, error::Error, latency::LatencyTracker, link::NodeLink};

/// What became of a commit. `Value` is how the pool refers to a value; `Incomplete` tells what is
/// still lacking, and has no values where nothing can be.
#[derive(Clone, Debug)]
pub enum CommitOutcome<Value, Incomplete = Vec<u8>> {
    /// The write is now the value of its key.
    Stored {
        /// Its version.
        version: Version,
        /// What it replaced.
        previous: Option<Value>,
    },
    /// The condition did not hold; the write is gone.
    ConditionFailed {
        /// What the key has.
        current: Option<Value>,
    },
    /// Members did not complete these chunks: rebuild them elsewhere and commit again.
    Incomplete(Incomplete),
}

impl<Value> CommitOutcome<Value> {
    /// The outcome, if the commit is decided.
    ///
    /// # Errors
    ///
    /// The chunks that are incomplete.
    pub fn decided(self) -> Result<CommitOutcome<Value, Infallible>, Vec<u8>> {
        match self {
            Self::Stored { version, previous } => Ok(CommitOutcome::Stored { version, previous }),
            Self::ConditionFailed { current } => Ok(CommitOutcome::ConditionFailed { current }),
            Self::Incomplete(chunks) => Err(chunks),
        }
    }
}

/// Values do not go over the wire with it.
impl<Value> From<CommitOutcome<Value>> for CommitReply {
    fn from(outcome: CommitOutcome<Value>) -> Self {
        match outcome {
            CommitOutcome::Stored { version, .. } => Self::Stored { version },
            CommitOutcome::ConditionFailed { .. } => Self::ConditionFailed,
            CommitOutcome::Incomplete(chunks) => Self::Incomplete { chunks },
        }
    }
}

impl<Value> From<CommitReply> for CommitOutcome<Value> {
    fn from(reply: CommitReply) -> Self {
        match reply {
            CommitReply::Stored { version } => Self::Stored {
                version,
                previous: None,
            },
            CommitReply::ConditionFailed => Self::ConditionFailed { current: None },
            CommitReply::Incomplete { chunks } => Self::Incomplete(chunks),
        }
    }
}

/// Something that went wrong while reading and was made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A stripe was reconstructed.
    Degraded,
    /// A unit was asked for because another was late.
    Hedged,
    /// A member did not have a unit that it should have.
    Missing(ChunkId),
    /// A unit did not match its checksum.
    Corrupt(ChunkId),
}

/// A value that can be read: where its chunks are may change while it is.
pub trait Holders: Clone + Send + Sync + 'static {
    /// The write that made it.
    fn write(&self) -> WriteId;

    /// How it is cut.
    fn geometry(&self) -> Geometry;

    /// The member that holds a chunk now; none, if it is lost.
    fn holder(&self, index: usize) -> Option<MemberId>;

    /// `member` turned out not to have a chunk, or not unbroken: it holds it no longer.
    fn give_up(&self, _index: usize, _member: MemberId) {}
}

/// What the algorithms need of a pool.
pub trait Pool: Clone + Send + Sync + 'static {
    /// A route to one of its members.
    type Link: NodeLink;

    /// How it refers to a value.
    type Value: Holders;

    /// The route to a member, if there is one.
    fn link(&self, member: MemberId) -> Option<Self::Link>;

    /// Where buffers come from.
    fn budget(&self) -> &Budget;

    /// How quick its members are.
    fn latencies(&self) -> &LatencyTracker;

    /// Takes note of something that went wrong while reading.
    fn note(&self, incident: Incident);

    /// Whether what a commit asks of members comes over the links that their units went over: then
    /// it cannot overtake those that were [sent](NodeLink::call_noting), and need not wait until
    /// they are acknowledged.
    fn commits_in_order(&self) -> bool {
        false
    }

    /// Bytes of a value that fill one stripe of the widest code.
    fn full_stripe(&self) -> usize;

    /// Begins a write of `size` bytes, or of at least one full stripe if it is not known.
    ///
    /// The terms of a `blind` write will not depend on the value that the key has: where there is
    /// no room for both, that value goes before the write is committed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::Refused`] if the value is too large,
    /// [`Error::Unreachable`] if there are too few nodes.
    fn open(
        &self,
        key: &[u8],
        size: Option<u64>,
        blind: bool,
    ) -> impl Future<Output = Result<Opened, Error>> + Send;

    /// Makes room for the first `bytes` of the value; returns for how many there is room now.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what ended the write.
    fn reserve(
        &self,
        write: WriteId,
        bytes: u64,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Finds another member for a chunk whose member failed.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if there is none.
    fn replace(
        &self,
        write: WriteId,
        index: u8,
    ) -> impl Future<Output = Result<Placed, Error>> + Send;

    /// Makes the write the value of its key, if the terms allow it.
    ///
    /// # Errors
    ///
    /// Whatever kept it from being decided; the old value is then still there.
    fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> impl Future<Output = Result<CommitOutcome<Self::Value>, Error>> + Send;

    /// Gives a write up; its chunks are freed. Does not wait.
    fn abort(&self, write: WriteId);

    /// When a unit that is asked for now counts as late.
    fn late_at(&self) -> Instant {
        clock::now() + self.latencies().hedge_delay()
    }
}

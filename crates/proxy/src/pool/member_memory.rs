//! The memory of a member, as it is planned with.
//!
//! ```text
//!   0 ......... used .................. planned .. capacity
//!        | retired: free once values that were removed are read no more
//!        |   | pinned: waited for in vain; claimed: writes wait for it
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{Notify, futures::Notified};

/// The part of a node's memory that is planned with: what frees memory may reach
/// the node a little later than what takes it.
const PLANNED_PERCENT: u64 = 97;

/// What is placed on a member, and what it has room for.
#[derive(Debug)]
pub(crate) struct MemberMemory {
    capacity: u64,
    used: AtomicU64,
    /// The part of `used` that is to be free once values which were removed are read no more.
    retired: AtomicU64,
    /// The part of `retired` that was waited for in vain.
    pinned: AtomicU64,
    /// The part of `retired` that writes wait for.
    claimed: AtomicU64,
    freed: Notify,
    chunks: AtomicU64,
}

/// Bytes that a write waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a>(&'a MemberMemory, u64);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claimed.fetch_sub(self.1, Relaxed);
    }
}

impl MemberMemory {
    /// That of a member which may hold so many bytes, and holds none.
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            used: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            freed: Notify::new(),
            chunks: AtomicU64::new(0),
        }
    }

    /// Bytes that it may hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are placed on it.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Chunks that are placed on it.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks.load(Relaxed)
    }

    /// Bytes that can be placed on it in all.
    pub(crate) fn planned(&self) -> u64 {
        self.capacity / 100 * PLANNED_PERCENT
    }

    /// Bytes that can still be placed on it.
    pub(crate) fn free(&self) -> u64 {
        self.planned().saturating_sub(self.used())
    }

    /// Enters bytes that are placed on it.
    pub(crate) fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Enters bytes that are freed on it.
    pub(crate) fn give_back(&self, bytes: u64) {
        lessen(&self.used, bytes);
        self.freed.notify_waiters();
    }

    /// Completes when bytes are freed on it.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Enters bytes of a value that was removed: they are freed once it is read no more.
    pub(crate) fn retire(&self, bytes: u64) {
        self.retired.fetch_add(bytes, Relaxed);
    }

    /// Enters that such bytes are freed.
    pub(crate) fn free_retired(&self, bytes: u64) {
        lessen(&self.used, bytes);
        self.unretire(bytes);
        // After both: a write that looks now sees what is left.
        self.freed.notify_waiters();
    }

    /// Enters that such bytes are not freed by that.
    pub(crate) fn unretire(&self, bytes: u64) {
        lessen(&self.retired, bytes);
        // Whether it is these that were waited for is not known; no more are than there are.
        self.pinned.fetch_min(self.retired(), Relaxed);
    }

    /// Bytes of values that were removed, and are still read.
    pub(crate) fn retired(&self) -> u64 {
        self.retired.load(Relaxed)
    }

    /// Those of them that can be expected to be freed soon, and that no write waits for.
    pub(crate) fn being_freed(&self) -> u64 {
        let (pinned, claimed) = (self.pinned.load(Relaxed), self.claimed.load(Relaxed));
        self.retired().saturating_sub(pinned + claimed)
    }

    /// Enters that a write waits for so many of them.
    pub(crate) fn claim(&self, bytes: u64) -> Claim<'_> {
        self.claimed.fetch_add(bytes, Relaxed);
        Claim(self, bytes)
    }

    /// What is being freed has been waited for long enough: its readers do not make progress.
    pub(crate) fn count_as_pinned(&self) {
        self.pinned.store(self.retired(), Relaxed);
    }

    /// Enters a chunk, or one less.
    pub(crate) fn count_chunk(&self, more: bool) {
        let change = |chunks: u64| {
            Some(if more {
                chunks + 1
            } else {
                chunks.saturating_sub(1)
            })
        };
        let _ = self.chunks.fetch_update(Relaxed, Relaxed, change);
    }

    /// Whether nothing is placed on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks() == 0 && self.used() == 0
    }
}

fn lessen(counter: &AtomicU64, bytes: u64) {
    let less = |count: u64| Some(count.saturating_sub(bytes));
    let _ = counter.fetch_update(Relaxed, Relaxed, less);
}

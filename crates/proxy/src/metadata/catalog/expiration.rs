//! When an object expires.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use infinicache_wire::inventory::Expiry;

/// The time at which an object expires, if it does.
#[derive(Debug, Default)]
pub(crate) struct Expiration {
    /// Milliseconds since 1970; 0 is never.
    at_ms: AtomicU64,
    /// How often that was changed.
    sequence: AtomicU32,
}

impl Expiration {
    /// As a command, or the members, have it.
    pub(crate) fn new(at_ms: Option<u64>, sequence: u32) -> Self {
        Self {
            at_ms: AtomicU64::new(at_ms.unwrap_or(0)),
            sequence: AtomicU32::new(sequence),
        }
    }

    /// When the object expires, in milliseconds since 1970.
    pub(crate) fn at_ms(&self) -> Option<u64> {
        Some(self.at_ms.load(Relaxed)).filter(|&at| at > 0)
    }

    /// The last change, for members to keep.
    pub(crate) fn entry(&self) -> Expiry {
        Expiry {
            sequence: self.sequence.load(Relaxed),
            at_ms: self.at_ms.load(Relaxed),
        }
    }

    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.at_ms().is_some_and(|at| at <= now_ms)
    }

    /// Changes it: by the ring alone, which keeps objects by it.
    pub(super) fn set(&self, at_ms: Option<u64>) {
        self.at_ms.store(at_ms.unwrap_or(0), Relaxed);
        // One change of a key at a time.
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + 1, Relaxed);
    }
}

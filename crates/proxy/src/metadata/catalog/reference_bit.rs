//! CLOCK's reference bit.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether an object was used since the hand of the clock passed it.
///
/// A new object has it not: or new values, read or not, would drive out those that are read.
#[derive(Debug, Default)]
pub(crate) struct ReferenceBit(AtomicBool);

impl ReferenceBit {
    pub(crate) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// The hand passes; whether it was set.
    pub(super) fn clear(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

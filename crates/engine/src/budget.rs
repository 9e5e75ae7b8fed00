//! The one budget from which all buffers of a process come.
//!
//! Memory for payload is reserved before it is allocated, and the reservation
//! travels with the bytes: [`Reservation::hold`] ties it to a [`Bytes`], and
//! dropping the last reference gives it back. So no caller can forget to.
//!
//! Waiters are served in order. A caller that needs several buffers to make
//! progress reserves them in one call, or two such could wait for each other for
//! ever.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that may be buffered at once.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    capacity: usize,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(capacity)),
            capacity,
        }
    }

    /// Bytes that may be buffered at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that are reserved now.
    pub fn used(&self) -> usize {
        self.capacity - self.free.available_permits()
    }

    /// Sets `bytes` aside, waiting until they are free. More than the whole budget counts as all of it.
    ///
    /// # Cancellation
    ///
    /// Safe: a dropped call has reserved nothing.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let permits = u32::try_from(bytes.min(self.capacity)).unwrap_or(u32::MAX);
        let permit = self.free.clone().acquire_many_owned(permits).await;
        Reservation(permit.expect("the semaphore is never closed"))
    }

    /// Sets `bytes` aside if three quarters of the budget stay free: for what is
    /// good for speed, but not needed to make progress.
    pub fn reserve_spare(&self, bytes: usize) -> Option<Reservation> {
        if self.free.available_permits() < self.capacity / 4 * 3 + bytes {
            return None;
        }
        let permits = u32::try_from(bytes).ok()?;
        self.free
            .clone()
            .try_acquire_many_owned(permits)
            .ok()
            .map(Reservation)
    }
}

/// Bytes set aside; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

impl Reservation {
    /// Takes `bytes` out of the reservation, or all that is left.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.0.num_permits());
        Self(self.0.split(bytes).expect("no more than there are"))
    }

    /// Keeps the reservation for as long as anybody refers to `bytes`.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(BudgetedBytes {
            bytes,
            _reservation: self,
        })
    }
}

struct BudgetedBytes {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for BudgetedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reservation_lives_as_long_as_the_bytes_it_holds() {
        let budget = Budget::new(100);
        let mut stripe = budget.reserve(60).await;
        let unit = stripe.split(40).hold(Bytes::from_static(b"unit"));
        drop(stripe);
        let part = unit.slice(1..2);
        drop(unit);
        assert_eq!(budget.used(), 40);
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn spare_memory_is_given_only_while_most_is_free() {
        let budget = Budget::new(100);
        let first = budget.reserve_spare(15);
        assert!(first.is_some());
        assert!(budget.reserve_spare(15).is_none());
        assert!(budget.reserve_spare(10).is_some());
    }

    #[tokio::test]
    async fn whoever_waits_gets_memory_when_it_is_given_back() {
        let budget = Budget::new(100);
        let all = budget.reserve(1_000).await;
        assert_eq!(budget.used(), 100);
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(10).await }
        });
        drop(all);
        let _held = waiter.await.unwrap();
        assert_eq!(budget.used(), 10);
    }
}

//! Turns: what changes a key happens one at a time, in order of arrival.

use std::sync::{Arc, Weak};

use infinicache_host::{fail_point, hash::DashMap};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Gives turns by key. Keys that nobody is changing take no memory.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    keys: DashMap<Box<[u8]>, Weak<Mutex<()>>>,
}

/// The right to change a key, until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: Box<[u8]>,
    mutex: Arc<Mutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for one's turn at `key`.
    pub(crate) async fn take(&self, key: &[u8]) -> Turn<'_> {
        let mutex = {
            let mut entry = self.keys.entry(key.into()).or_default();
            match entry.upgrade() {
                Some(mutex) => mutex,
                None => {
                    let mutex = Arc::default();
                    *entry = Arc::downgrade(&mutex);
                    mutex
                }
            }
        };
        let mut turn = Turn {
            turns: self,
            key: key.into(),
            mutex: mutex.clone(),
            guard: None,
        };
        if !fail_point("one_change_at_a_time") {
            turn.guard = Some(mutex.lock_owned().await);
        }
        turn
    }

    /// Whether somebody changes `key`, or waits to.
    pub(crate) fn is_taken(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        // Whoever waits holds the mutex too; the last to leave takes the entry away.
        self.turns.keys.remove_if(&self.key, |_, entry| {
            std::ptr::eq(entry.as_ptr(), Arc::as_ptr(&self.mutex)) && entry.strong_count() == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_at_one_key_follow_each_other_and_leave_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(b"key").await;
        let second = tokio::spawn({
            let turns = turns.clone();
            async move {
                drop(turns.take(b"key").await);
            }
        });
        assert!(turns.is_taken(b"key") && !turns.is_taken(b"other"));
        drop(turns.take(b"other").await);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        assert!(turns.keys.is_empty());
    }

    #[tokio::test]
    async fn one_who_gives_up_waiting_holds_nobody_up() {
        let turns = Turns::default();
        let first = turns.take(b"key").await;
        {
            let waiting = std::pin::pin!(turns.take(b"key"));
            assert!(futures_util::poll!(waiting).is_pending());
        }
        drop(first);
        drop(turns.take(b"key").await);
        assert!(turns.keys.is_empty());
    }
}

//! Key locks: changes of a key happen one at a time, in order of arrival.

use std::sync::{Arc, Weak};

use infinicache_host::{fail_point, hash::DashMap};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The locks, by key. A key that no command is changing takes no memory.
#[derive(Debug, Default)]
pub(crate) struct KeyLocks {
    keys: DashMap<Box<[u8]>, Weak<Mutex<()>>>,
}

/// The right to change a key, until dropped.
#[derive(Debug)]
pub(crate) struct KeyGuard<'a> {
    locks: &'a KeyLocks,
    key: Box<[u8]>,
    mutex: Arc<Mutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl KeyLocks {
    /// Waits for the lock of `key`.
    pub(crate) async fn lock(&self, key: &[u8]) -> KeyGuard<'_> {
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
        let mut turn = KeyGuard {
            locks: self,
            key: key.into(),
            mutex: mutex.clone(),
            guard: None,
        };
        if !fail_point("one_change_at_a_time") {
            turn.guard = Some(mutex.lock_owned().await);
        }
        turn
    }

    /// Whether a command changes `key`, or waits to.
    pub(crate) fn is_locked(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }
}

impl Drop for KeyGuard<'_> {
    fn drop(&mut self) {
        self.guard = None;
        // A command that waits holds the mutex too; the last one to leave removes the entry.
        self.locks.keys.remove_if(&self.key, |_, entry| {
            std::ptr::eq(entry.as_ptr(), Arc::as_ptr(&self.mutex)) && entry.strong_count() == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_at_one_key_follow_each_other_and_leave_nothing_behind() {
        let key_locks = Arc::new(KeyLocks::default());
        let first = key_locks.lock(b"key").await;
        let second = tokio::spawn({
            let key_locks = key_locks.clone();
            async move {
                drop(key_locks.lock(b"key").await);
            }
        });
        assert!(key_locks.is_locked(b"key") && !key_locks.is_locked(b"other"));
        drop(key_locks.lock(b"other").await);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        assert!(key_locks.keys.is_empty());
    }

    #[tokio::test]
    async fn one_who_gives_up_waiting_holds_nobody_up() {
        let key_locks = KeyLocks::default();
        let first = key_locks.lock(b"key").await;
        {
            let waiting = std::pin::pin!(key_locks.lock(b"key"));
            assert!(futures_util::poll!(waiting).is_pending());
        }
        drop(first);
        drop(key_locks.lock(b"key").await);
        assert!(key_locks.keys.is_empty());
    }
}

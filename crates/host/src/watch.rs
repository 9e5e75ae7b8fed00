//! A value that others wait for changes of: [`tokio::sync::watch`], with those who wait woken in the
//! order in which they came.
//!
//! tokio's is faster when many threads wait at once, because it spreads them by random numbers of
//! its own. What happens next would depend on those.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

#[derive(Debug)]
struct Shared<T> {
    /// The value, how often it was set, and whether its sender is gone.
    state: Mutex<(T, u64, bool)>,
    notify: Notify,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, (T, u64, bool)> {
        // Each setting is one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value, and waits until it is set anew.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: AtomicU64,
}

/// There is no sender any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sender any more")]
pub struct Closed;

/// A sender and its first receiver.
pub fn channel<T: Clone>(first: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(first);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T: Default + Clone> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().2 = true;
        self.0.notify.notify_waiters();
    }
}

impl<T: Clone> Sender<T> {
    /// A sender without receivers.
    pub fn new(first: T) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new((first, 0, false)),
            notify: Notify::new(),
        }))
    }

    /// A receiver that has seen the value of now.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.state().1;
        Receiver {
            shared: self.0.clone(),
            seen: AtomicU64::new(seen),
        }
    }

    /// Sets the value.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|it| *it = value);
    }

    /// Changes the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        {
            let mut state = self.0.state();
            change(&mut state.0);
            state.1 += 1;
        }
        self.0.notify.notify_waiters();
    }

    /// Changes the value, if it is to be; whether it was.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let is_changed = {
            let mut state = self.0.state();
            let is_changed = change(&mut state.0);
            state.1 += u64::from(is_changed);
            is_changed
        };
        if is_changed {
            self.0.notify.notify_waiters();
        }
        is_changed
    }

    /// The value of now.
    pub fn borrow(&self) -> T {
        self.0.state().0.clone()
    }
}

impl<T: Clone> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            seen: AtomicU64::new(self.seen.load(Relaxed)),
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// The value of now.
    pub fn borrow(&self) -> T {
        self.shared.state().0.clone()
    }

    /// The value of now, which has been seen then.
    pub fn borrow_and_update(&mut self) -> T {
        let state = self.shared.state();
        *self.seen.get_mut() = state.1;
        state.0.clone()
    }

    /// The value of now has been seen.
    pub fn mark_unchanged(&mut self) {
        *self.seen.get_mut() = self.shared.state().1;
    }

    /// The value of now has not been seen.
    pub fn mark_changed(&mut self) {
        *self.seen.get_mut() = u64::MAX;
    }

    /// Waits until the value was set since it was seen.
    ///
    /// # Errors
    ///
    /// If it never will be.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let notified = self.shared.notify.notified();
            {
                let (_, version, is_closed) = &*self.shared.state();
                if self.seen.swap(*version, Relaxed) != *version {
                    return Ok(());
                }
                if *is_closed {
                    return Err(Closed);
                }
            }
            notified.await;
        }
    }

    /// Waits until the value is as it should be.
    ///
    /// # Errors
    ///
    /// If it never will be.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn wait_for(&mut self, mut is_so: impl FnMut(&T) -> bool) -> Result<T, Closed> {
        loop {
            let value = self.borrow_and_update();
            if is_so(&value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_sees_each_change_and_the_end() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.borrow(), 1);
        let waiting = tokio::spawn(async move {
            let three = receiver.wait_for(|it| *it == 3).await;
            (three, receiver.changed().await)
        });
        tokio::task::yield_now().await;
        sender.send_modify(|it| *it = 2);
        tokio::task::yield_now().await;
        assert!(!sender.send_if_modified(|_| false));
        sender.send_modify(|it| *it += 1);
        drop(sender);
        assert_eq!(waiting.await.unwrap(), (Ok(3), Err(Closed)));
    }

    #[tokio::test]
    async fn what_was_seen_is_no_change_until_it_is_marked() {
        let (sender, mut receiver) = channel(());
        sender.send_replace(());
        receiver.mark_unchanged();
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, receiver.changed());
        assert!(waiting.await.is_err());
        receiver.mark_changed();
        receiver.changed().await.unwrap();
    }
}

//! Which run of the proxy this is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The number of a run: the one with the highest is in charge. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// A run that begins now is later than those before, as long as the clock does not go back.
    pub(crate) fn beginning(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Makes it higher than one that was heard of; whether it was not.
    ///
    /// Only before anything has been decided in its name.
    pub(crate) fn exceed(&self, heard: u64) -> bool {
        self.0.fetch_max(heard.saturating_add(1), Relaxed) <= heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_exceeds_every_epoch_that_was_heard_of() {
        let epoch = Epoch::beginning(10);
        assert!(!epoch.exceed(9));
        assert_eq!(epoch.get(), 10);
        assert!(epoch.exceed(10));
        assert!(epoch.exceed(20));
        assert_eq!(epoch.get(), 21);
    }
}

//! The list of nodes: it grows, and a name keeps its place in it.
//!
//! All other modules refer to a node by its index. One that is not in the pool any
//! more stays in the list, unlisted, so that no index ever means another node;
//! if its name comes back it is the same again.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use hyper::Uri;
use infinicache_discovery::Site;
use infinicache_host::{random, watch};
use infinicache_membership::Epoch;
use infinicache_wire::control::NodeState;

use super::{
    lifecycle::{Lifecycle, LifecycleTimings},
    settings::NodeAddress,
    wake_sessions::WakeSessions,
};

/// Most names that there may have been in the life of a proxy.
const MOST_NAMES: usize = 4096;

/// A name in the pool, and what is behind it.
#[derive(Debug)]
pub(super) struct NodeEntry {
    pub(super) name: Arc<str>,
    state: Mutex<NodeEntryState>,
    pub(super) changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct NodeEntryState {
    pub(super) lifecycle: Lifecycle,
    /// Where to POST its wakes.
    pub(super) url: Uri,
    /// Whether it is in the pool.
    pub(super) listed: bool,
    /// Whether its platform can serve it, as far as it says. What is linked needs no platform.
    pub(super) ready: bool,
    /// With what its processes may come.
    pub(super) wake_sessions: WakeSessions,
    /// What the last instance could hold: the best guess for the next.
    pub(super) capacity: u64,
    /// Where the last instance ran: the best guess for the next.
    pub(super) site: Site,
}

impl NodeEntryState {
    /// Whether chunks can be placed on it, perhaps after a wake.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let is_there = self.lifecycle.active().is_some();
        self.listed && (self.ready || is_there) && self.lifecycle.is_usable(now)
    }

    /// Whether it takes chunks, or may come to.
    pub(super) fn is_viable(&self) -> bool {
        let is_there = self.lifecycle.active().is_some();
        // Nothing says that its wakes are in vain.
        let may_come = is_there || !self.lifecycle.backoff().has_failed();
        self.listed && (self.ready || is_there) && may_come
    }

    /// Whether there is anything to tell of it.
    pub(super) fn is_shown(&self) -> bool {
        self.listed || self.lifecycle.current().is_some()
    }
}

impl NodeEntry {
    pub(super) fn state(&self) -> MutexGuard<'_, NodeEntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self) {
        self.changed.send_replace(());
    }
}

/// All nodes, by index.
#[derive(Debug)]
pub(crate) struct NodeList {
    all: RwLock<Arc<Vec<Arc<NodeEntry>>>>,
    timing: LifecycleTimings,
    epoch: Epoch,
}

impl NodeList {
    /// None yet, for the run of `epoch`.
    pub(super) fn new(timing: LifecycleTimings, epoch: Epoch) -> Self {
        Self {
            all: RwLock::default(),
            timing,
            epoch,
        }
    }

    /// All nodes as of now, unlisted ones too.
    pub(super) fn all(&self) -> Arc<Vec<Arc<NodeEntry>>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// The node at an index that was given out before.
    pub(super) fn at(&self, index: usize) -> Arc<NodeEntry> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all[index].clone()
    }

    /// The index of a name, whether it is listed or not.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().position(|node| &*node.name == name)
    }

    /// The name of a node.
    pub(crate) fn name(&self, index: usize) -> Arc<str> {
        self.at(index).name.clone()
    }

    /// The state of each node that there is anything to tell of.
    pub(crate) fn states(&self) -> Vec<NodeState> {
        let state = |node: &Arc<NodeEntry>| {
            let state = node.state();
            state.is_shown().then(|| state.lifecycle.state())
        };
        self.all().iter().filter_map(state).collect()
    }

    /// Who waits for any node looks again.
    pub(super) fn tell_all(&self) {
        self.all().iter().for_each(|node| node.tell());
    }

    /// How many nodes take chunks, or may come to.
    pub(crate) fn viable(&self) -> usize {
        let all = self.all();
        all.iter().filter(|node| node.state().is_viable()).count()
    }

    /// How many nodes are in the pool.
    pub(crate) fn listed(&self) -> usize {
        let all = self.all();
        all.iter().filter(|node| node.state().listed).count()
    }

    /// Appends a node that has not been there before; `false` if there have been too many.
    pub(super) fn add(&self, address: NodeAddress) -> bool {
        // It spreads the attempts of nodes.
        let seed = random::u64().unwrap_or(self.epoch.get());
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_NAMES {
            return false;
        }
        let node = NodeEntry {
            name: address.name.into(),
            state: Mutex::new(NodeEntryState {
                lifecycle: Lifecycle::new(self.timing, seed),
                url: address.url,
                listed: true,
                ready: true,
                wake_sessions: WakeSessions::default(),
                capacity: 0,
                site: Site::default(),
            }),
            changed: watch::channel(()).0,
        };
        let mut longer = Vec::clone(&all);
        longer.push(Arc::new(node));
        *all = Arc::new(longer);
        true
    }
}

//! What the platform showed last. Until something else is said, that holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_discovery::{Observation, PodSeen};
use infinicache_host::{clock, watch};

use super::member::Member;

/// The pods and names of the platform, as far as they were observed.
#[derive(Debug)]
pub(crate) struct ObservedPlatform {
    /// Of the names that were configured: they are in the pool whatever the platform says.
    fixed: BTreeSet<String>,
    state: Mutex<ObservedState>,
}

#[derive(Debug, Default)]
struct ObservedState {
    pods: BTreeMap<String, PodSeen>,
    observed: watch::Sender<Observed>,
    /// Since when there have been no names, as far as is known.
    empty_since: Option<Instant>,
}

/// How much of the platform has been observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Observed {
    #[default]
    Nothing,
    /// All names in the pool.
    Services,
    /// And all pods behind them.
    Pods,
}

impl ObservedPlatform {
    /// Nothing was observed yet beside the names that are configured.
    pub(super) fn new(configured: impl IntoIterator<Item = String>) -> Self {
        Self {
            fixed: configured.into_iter().collect(),
            state: Mutex::default(),
        }
    }

    /// The names that were configured.
    pub(super) fn fixed(&self) -> &BTreeSet<String> {
        &self.fixed
    }

    /// This was observed, and by that there are so many names in the pool.
    pub(super) fn set(&self, seen: Observation, listed: usize) {
        let mut state = self.state();
        state.pods = seen.pods;
        let observed = if seen.all_pods {
            Observed::Pods
        } else {
            Observed::Services
        };
        state.observed.send_replace(observed);
        state.empty_since = match listed {
            0 => state.empty_since.or(Some(clock::now())),
            _ => None,
        };
    }

    /// For how long there have been no names in the pool, as the platform tells.
    pub(crate) fn empty_for(&self) -> Duration {
        let since = self.state().empty_since;
        since.map_or(Duration::ZERO, |since| clock::now() - since)
    }

    /// Waits until so much of the platform has been observed.
    pub(crate) async fn until_observed(&self, much: Observed) {
        let mut observed = self.state().observed.subscribe();
        // It lives as long as the nodes do.
        let _ = observed.wait_for(|observed| *observed >= much).await;
    }

    /// The pod that a member runs in, if it is known.
    pub(super) fn pod(&self, member: &Member) -> Option<PodSeen> {
        self.state().pods.get(&member.pod).cloned()
    }

    /// Whether the platform, which knows of the pods, knows of a member's no more.
    pub(super) fn is_pod_gone(&self, member: &Member) -> bool {
        let state = self.state();
        let is_observed = state.observed.borrow() == Observed::Pods;
        is_observed && !member.pod.is_empty() && !state.pods.contains_key(&member.pod)
    }

    fn state(&self) -> MutexGuard<'_, ObservedState> {
        // Replaced as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

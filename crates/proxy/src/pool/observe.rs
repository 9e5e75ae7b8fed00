//! What the platform tells of the pool is taken in.
//!
//! `discovery` reports the whole platform again and again; the list of nodes
//! follows it. Nothing is done twice: what is known already changes nothing.
//! Until something else is said, the last that was said holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_discovery::{Observation, PodSeen, ServiceSeen};
use infinicache_host::{clock, watch};
use infinicache_membership::prepare::Pods;
use tracing::{info, warn};

use super::{NodeAddress, Nodes, member::Member, node_list::NodeEntry, seed};

/// What was observed last.
#[derive(Debug, Default)]
pub(super) struct ObservedState {
    pods: BTreeMap<String, PodSeen>,
    /// Of the names that were configured: they are in the pool whatever the platform says.
    fixed: BTreeSet<String>,
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

impl ObservedState {
    pub(super) fn of(configured: impl IntoIterator<Item = String>) -> Self {
        Self {
            fixed: configured.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Nodes {
    /// The platform looks like this now.
    ///
    /// Names that are new join, names that are gone are emptied and leave, and so do pods
    /// that are about to be stopped.
    pub(crate) fn observe(&self, seen: Observation) {
        for (name, service) in &seen.services {
            self.see_service(name, service);
        }
        self.unlist_others(&seen.services);
        let now = clock::now();
        let listed = self.listed();
        self.shortage().admit(listed, now);
        let pods = pods_of_names(&seen, &self.observed_state().fixed);
        if let Some(prepare) = self.prepare().as_mut() {
            prepare.set_expected(listed, pods);
        }
        {
            let mut observed_state = self.observed_state();
            observed_state.pods = seen.pods;
            let observed = if seen.all_pods {
                Observed::Pods
            } else {
                Observed::Services
            };
            observed_state.observed.send_replace(observed);
            observed_state.empty_since = match listed {
                0 => observed_state.empty_since.or(Some(now)),
                _ => None,
            };
        }
        for member in self.members() {
            self.see_member(&member);
        }
    }

    /// For how long there have been no names in the pool, as the platform tells.
    pub(crate) fn empty_for(&self) -> Duration {
        let since = self.observed_state().empty_since;
        since.map_or(Duration::ZERO, |since| clock::now() - since)
    }

    /// Waits until so much of the platform has been observed.
    pub(crate) async fn until_observed(&self, much: Observed) {
        let mut observed = self.observed_state().observed.subscribe();
        // It lives as long as the nodes do.
        let _ = observed.wait_for(|observed| *observed >= much).await;
    }

    /// Whether the platform, which knows of the pods, knows of a member's no more.
    pub(super) fn is_pod_gone(&self, member: &Member) -> bool {
        let observed_state = self.observed_state();
        let is_observed = observed_state.observed.borrow() == Observed::Pods;
        is_observed && !member.pod.is_empty() && !observed_state.pods.contains_key(&member.pod)
    }

    /// What is known of a member's pod is known of the member, and of its node.
    pub(super) fn see_member(&self, member: &Arc<Member>) {
        self.see_pod(member);
        let node = self.0.nodes.at(member.node);
        let mut state = node.state();
        if state
            .lifecycle
            .current()
            .is_some_and(|it| it.id == member.id)
        {
            state.site = member.site();
        }
    }

    fn see_pod(&self, member: &Arc<Member>) {
        let pod = {
            let observed_state = self.observed_state();
            observed_state.pods.get(&member.pod).cloned()
        };
        let Some(pod) = pod.filter(|pod| *pod.node == *self.name(member.node)) else {
            return;
        };
        member.locate(&pod.site);
        // One that was lost and has come back is the node again, and has to be reported again.
        let stays = || {
            let node = self.0.nodes.at(member.node);
            let mut state = node.state();
            let current = state.lifecycle.current_if(member.id);
            current.is_some_and(|it| !it.is_draining())
        };
        if pod.leaving && (!member.is_draining() || stays()) {
            self.start_draining(member, "its pod is deleted");
        }
    }

    fn see_service(&self, name: &str, seen: &ServiceSeen) {
        if self.observed_state().fixed.contains(name) {
            return;
        }
        let Some(index) = self.0.nodes.find(name) else {
            return self.enlist(name, seen);
        };
        let node = self.0.nodes.at(index);
        {
            let mut state = node.state();
            if !state.listed {
                info!(node = name, url = %seen.url, "node is in the pool again");
            } else if state.url != seen.url {
                info!(node = name, url = %seen.url, "node is woken elsewhere");
            } else if state.ready != seen.ready {
                info!(
                    node = name,
                    ready = seen.ready,
                    "node's platform has changed its mind"
                );
            } else {
                return;
            }
            state.listed = true;
            state.ready = seen.ready;
            state.url.clone_from(&seen.url);
        }
        node.tell();
    }

    fn enlist(&self, name: &str, seen: &ServiceSeen) {
        let address = NodeAddress {
            name: name.to_owned(),
            url: seen.url.clone(),
        };
        let settings = &self.0.settings;
        if !self.0.nodes.add(address, settings.timing, seed(settings)) {
            return warn!(
                node = name,
                "too many names have been in the pool: not added"
            );
        }
        if let Some(index) = self.0.nodes.find(name) {
            self.0.nodes.at(index).state().ready = seen.ready;
        }
        info!(node = name, url = %seen.url, ready = seen.ready, "node is in the pool");
    }

    /// Who is in the pool and is not among `services` leaves.
    fn unlist_others(&self, services: &BTreeMap<String, ServiceSeen>) {
        for (index, node) in self.0.nodes.all().iter().enumerate() {
            let is_kept = services.contains_key(&*node.name)
                || self.observed_state().fixed.contains(&*node.name);
            if is_kept || !std::mem::replace(&mut node.state().listed, false) {
                continue;
            }
            info!(node = %node.name, "node is not in the pool any more");
            self.empty(index, node);
        }
    }

    fn empty(&self, index: usize, node: &NodeEntry) {
        for member in self.members() {
            if member.node == index && !member.is_draining() {
                self.start_draining(&member, "its name is gone");
            }
        }
        node.tell();
    }

    fn observed_state(&self) -> MutexGuard<'_, ObservedState> {
        // Replaced as a whole.
        self.0
            .observed_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pods of each name but those that are `fixed`, if all are known.
fn pods_of_names(seen: &Observation, fixed: &BTreeSet<String>) -> Pods {
    if !seen.all_pods {
        return Pods::new();
    }
    let names = seen.services.keys().filter(|name| !fixed.contains(*name));
    let mut of_names: Pods = names.map(|name| (name.clone(), BTreeSet::new())).collect();
    for (name, pod) in &seen.pods {
        if let Some(pods) = of_names.get_mut(&pod.node) {
            pods.insert(name.clone());
        }
    }
    of_names
}

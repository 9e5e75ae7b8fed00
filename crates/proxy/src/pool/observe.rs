//! What the platform tells of the pool is taken in.
//!
//! `discovery` reports the whole platform again and again; the list of nodes
//! follows it. Nothing is done twice: what is known already changes nothing.
//! Until something else is said, the last that was said holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use infinicache_discovery::{Observation, ServiceSeen};
use infinicache_membership::prepare::Pods;
use tracing::{info, warn};

use super::{
    departures::Departures,
    member::Member,
    members::Members,
    node_list::{NodeEntry, NodeList},
    observed_state::ObservedPlatform,
    prepare_phase::PreparePhase,
    settings::NodeAddress,
    shortage::Shortage,
};

/// What has the pool follow its platform.
#[derive(Debug)]
pub(crate) struct PlatformObserver {
    pub(super) platform: Arc<ObservedPlatform>,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) departures: Arc<Departures>,
    pub(super) prepare: Arc<PreparePhase>,
    pub(super) shortage: Arc<Shortage>,
}

impl PlatformObserver {
    /// The platform looks like this now.
    ///
    /// Names that are new join, names that are gone are emptied and leave, and so do pods
    /// that are about to be stopped.
    pub(crate) fn observe(&self, seen: Observation) {
        for (name, service) in &seen.services {
            self.see_service(name, service);
        }
        self.unlist_others(&seen.services);
        let listed = self.nodes.listed();
        self.shortage.admit(listed);
        let pods = pods_of_names(&seen, self.platform.fixed());
        self.prepare.set_expected(listed, pods);
        self.platform.set(seen, listed);
        for member in self.members.all() {
            self.see_member(&member);
        }
    }

    /// What is known of a member's pod is known of the member, and of its node.
    pub(super) fn see_member(&self, member: &Arc<Member>) {
        self.see_pod(member);
        let node = self.nodes.at(member.node);
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
        let node = self.nodes.at(member.node);
        let pod = self.platform.pod(member);
        let Some(pod) = pod.filter(|pod| *pod.node == *node.name) else {
            return;
        };
        member.locate(&pod.site);
        // One that was lost and has come back is the node again, and has to be reported again.
        let stays = || {
            let mut state = node.state();
            let current = state.lifecycle.current_if(member.id);
            current.is_some_and(|it| !it.is_draining())
        };
        if pod.leaving && (!member.is_draining() || stays()) {
            self.departures.start_draining(member, "its pod is deleted");
        }
    }

    fn see_service(&self, name: &str, seen: &ServiceSeen) {
        if self.platform.fixed().contains(name) {
            return;
        }
        let Some(index) = self.nodes.find(name) else {
            return self.enlist(name, seen);
        };
        let node = self.nodes.at(index);
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
        if !self.nodes.add(address) {
            return warn!(
                node = name,
                "too many names have been in the pool: not added"
            );
        }
        if let Some(index) = self.nodes.find(name) {
            self.nodes.at(index).state().ready = seen.ready;
        }
        info!(node = name, url = %seen.url, ready = seen.ready, "node is in the pool");
    }

    /// Who is in the pool and is not among `services` leaves.
    fn unlist_others(&self, services: &BTreeMap<String, ServiceSeen>) {
        for (index, node) in self.nodes.all().iter().enumerate() {
            let is_kept =
                services.contains_key(&*node.name) || self.platform.fixed().contains(&*node.name);
            if is_kept || !std::mem::replace(&mut node.state().listed, false) {
                continue;
            }
            info!(node = %node.name, "node is not in the pool any more");
            self.empty(index, node);
        }
    }

    fn empty(&self, index: usize, node: &NodeEntry) {
        for member in self.members.all() {
            if member.node == index && !member.is_draining() {
                self.departures.start_draining(&member, "its name is gone");
            }
        }
        node.tell();
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

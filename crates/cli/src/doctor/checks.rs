//! The checks: from facts to findings.

mod access;
mod nodes;
mod platform;
mod pods;
mod proxy;
mod settings;
mod unseen;

use super::{facts::Facts, finding::Finding};

/// Everything that is to be said, in the order in which it is to be put right.
pub fn check(facts: &Facts) -> Vec<Finding> {
    [
        platform::kubernetes(&facts.kubernetes),
        platform::serving(&facts.serving),
        platform::ingress(&facts.settings["config-network"], &facts.kourier),
        settings::autoscaler(&facts.settings["config-autoscaler"]),
        settings::defaults(&facts.settings["config-defaults"], &facts.nodes),
        settings::features(&facts.settings["config-features"]),
        access::secret(&facts.namespace, &facts.secret_name, &facts.secret),
        access::rights(&facts.rights),
        access::policies(&facts.policies),
        pods::visible(&facts.pods, &facts.events),
        proxy::deployment(&facts.proxy, &facts.pods, &facts.events),
        proxy::node_service(&facts.node_service),
        nodes::pool(&facts.nodes),
        nodes::each(&facts.nodes, &facts.pods, &facts.events),
        nodes::kept(&facts.nodes, &facts.configuration),
        nodes::wakes(&facts.wakes),
    ]
    .concat()
}

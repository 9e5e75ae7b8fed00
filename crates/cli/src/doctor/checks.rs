//! The checks: from facts to findings.

mod access;
mod nodes;
mod platform;
mod pods;
mod proxy;
mod settings;

use super::{
    facts::{Facts, Unseen},
    finding::Finding,
};

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

/// What is to be said of something that is not seen; `missing` if it does not exist.
fn unseen(subject: &str, unseen: &Unseen, missing: impl FnOnce() -> Finding) -> Vec<Finding> {
    let found = unseen.to_string();
    vec![match unseen {
        Unseen::Missing => missing(),
        Unseen::Forbidden => {
            let advice = "`infinicache doctor` with an administrator's kubeconfig sees it";
            Finding::unknown(subject, found, advice)
        }
        Unseen::Failed(_) => {
            let advice = "see that the API of the cluster can be reached, and try again";
            Finding::unknown(subject, found, advice)
        }
    }]
}

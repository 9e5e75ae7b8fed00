//! The settings of Knative Serving that matter to nodes.

use kube::api::DynamicObject;

use super::unseen::unseen;
use crate::doctor::{
    facts::{Seen, text_at},
    finding::Finding,
};

/// `target-burst-capacity` of nodes: a pod of which less is expected has the activator before it.
const BURST: f64 = 200.0;

/// Whether nodes are started and stopped as they should be.
pub(super) fn autoscaler(map: &Seen<DynamicObject>) -> Vec<Finding> {
    let subject = "config-autoscaler";
    let map = match seen(subject, map) {
        Ok(map) => map,
        Err(findings) => return findings,
    };
    let of = |name: &str| text_at(map, &format!("/data/{name}"));
    let mut findings = Vec::new();
    if of("enable-scale-to-zero").as_deref() == Some("false") {
        let advice = "set enable-scale-to-zero to \"true\", or pay for nodes that hold nothing";
        findings.push(Finding::doubtful(subject, "nodes never sleep", advice));
    }
    if let Some(class) = of("pod-autoscaler-class")
        && class != "kpa.autoscaling.knative.dev"
    {
        let found = format!("pods are scaled by {class}, which cannot scale to zero");
        let advice = "set pod-autoscaler-class to kpa.autoscaling.knative.dev";
        findings.push(Finding::bad(subject, found, advice));
    }
    let capacity = of("container-concurrency-target-default");
    let capacity: Option<f64> = capacity.and_then(|capacity| capacity.parse().ok());
    if let Some(capacity) = capacity.filter(|capacity| *capacity >= BURST) {
        let found = format!("the activator does not stand before a pod that may take {capacity}");
        let advice = "lower container-concurrency-target-default, or let the ingress reach nodes \
                      in the network policies: it goes around the activator";
        findings.push(Finding::bad(subject, found, advice));
    }
    good_if_none(subject, findings)
}

/// Whether nodes have the time that they need to be emptied.
pub(super) fn defaults(
    map: &Seen<DynamicObject>,
    nodes: &Seen<Vec<DynamicObject>>,
) -> Vec<Finding> {
    let subject = "config-defaults";
    let map = match seen(subject, map) {
        Ok(map) => map,
        Err(findings) => return findings,
    };
    let most = text_at(map, "/data/max-revision-timeout-seconds");
    let most: u64 = most.and_then(|most| most.parse().ok()).unwrap_or(600);
    let asked = nodes.iter().flatten().filter_map(timeout).max();
    let findings = match asked {
        Some(asked) if asked > most => {
            let found = format!("a request may take {most} s, and nodes ask for {asked} s");
            let advice = "raise max-revision-timeout-seconds, or write the nodes' manifests with \
                          a shorter timeout: they cannot be applied again like that";
            vec![Finding::bad(subject, found, advice)]
        }
        _ => Vec::new(),
    };
    good_if_none(subject, findings)
}

/// Whether nodes can be spread over hosts.
pub(super) fn features(map: &Seen<DynamicObject>) -> Vec<Finding> {
    let subject = "config-features";
    let map = match seen(subject, map) {
        Ok(map) => map,
        Err(findings) => return findings,
    };
    let is_on = |name: &str| {
        let value = text_at(map, &format!("/data/kubernetes.podspec-{name}"));
        value.is_some_and(|value| value.eq_ignore_ascii_case("enabled"))
    };
    if is_on("affinity") || is_on("topologyspreadconstraints") {
        return vec![Finding::good(
            subject,
            "nodes can be told to spread over hosts",
        )];
    }
    // Nothing is wrong with that: the scheduler spreads them as it sees fit.
    let found = "nodes cannot be told to spread over hosts, and are spread by the scheduler alone";
    vec![Finding::good(subject, found)]
}

/// The time that a node gives its requests, and has to be emptied in.
pub(super) fn timeout(node: &DynamicObject) -> Option<u64> {
    let timeout = text_at(node, "/spec/template/spec/timeoutSeconds")?;
    timeout.parse().ok()
}

fn seen<'a>(
    subject: &str,
    map: &'a Seen<DynamicObject>,
) -> Result<&'a DynamicObject, Vec<Finding>> {
    map.as_ref().map_err(|error| {
        let missing = || Finding::bad(subject, "does not exist", "install Knative Serving");
        unseen(subject, error, missing)
    })
}

fn good_if_none(subject: &str, findings: Vec<Finding>) -> Vec<Finding> {
    match findings.is_empty() {
        true => vec![Finding::good(subject, "nothing in the way")],
        false => findings,
    }
}

//! The proxy, and the Service that nodes dial.

use kube::api::DynamicObject;

use super::{pods, unseen::unseen};
use crate::doctor::{
    facts::{Condition, Seen, condition, failure, text_at},
    finding::Finding,
};

/// Whether the proxy runs.
pub(super) fn deployment(
    proxy: &Seen<DynamicObject>,
    pods: &Seen<Vec<DynamicObject>>,
    events: &Seen<Vec<DynamicObject>>,
) -> Vec<Finding> {
    let subject = "proxy";
    let proxy = match proxy {
        Ok(proxy) => proxy,
        Err(error) => {
            let missing = || Finding::bad(subject, "is not installed", "apply the manifests");
            return unseen(subject, error, missing);
        }
    };
    let mut findings = Vec::new();
    let replicas = text_at(proxy, "/spec/replicas").unwrap_or_else(|| "1".into());
    match replicas.as_str() {
        "1" => {}
        "0" => findings.push(Finding::bad(subject, "is scaled to 0", "scale it to 1")),
        more => {
            let found =
                format!("{more} replicas, and one proxy owns a pool: each node follows one");
            let advice = "kubectl scale deployment/infinicache --replicas=1, and no autoscaler";
            findings.push(Finding::bad(subject, found, advice));
        }
    }
    if text_at(proxy, "/spec/strategy/type").as_deref() != Some("Recreate") {
        let found = "a new one is started before the old one has gone";
        let advice = "set the strategy to Recreate: the old one would hand over twice";
        findings.push(Finding::doubtful(subject, found, advice));
    }
    let pods = pods::labelled(pods, "app.kubernetes.io/component", "proxy");
    if let Some(trouble) = pods::worst(&pods, events) {
        let pods::Trouble {
            level,
            found,
            advice,
        } = trouble;
        findings.push(Finding::new(level, subject, found, advice));
    } else if let Some(why) = failure(proxy, "ReplicaFailure") {
        let advice = "let its pod be created: the message says which quota or policy refuses it";
        findings.push(Finding::bad(
            subject,
            format!("its pod is not created: {why}"),
            advice,
        ));
    } else if replicas == "1"
        && let Condition::False(why) | Condition::Unknown(why) = condition(proxy, "Available")
    {
        let advice = "kubectl port-forward deployment/infinicache 6380, and curl \
                      localhost:6380/readyz: it says what it waits for, and so do its logs";
        findings.push(Finding::bad(
            subject,
            format!("is not available: {why}"),
            advice,
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good(subject, "is available"));
    }
    findings
}

/// Whether nodes can dial a proxy that is not ready yet.
pub(super) fn node_service(node_service: &Seen<DynamicObject>) -> Vec<Finding> {
    let subject = "service that nodes dial";
    let node_service = match node_service {
        Ok(node_service) => node_service,
        Err(error) => {
            let missing = || {
                let advice = "apply the manifests: nodes are told to dial it";
                Finding::bad(subject, "does not exist", advice)
            };
            return unseen(subject, error, missing);
        }
    };
    let is_early =
        text_at(node_service, "/spec/publishNotReadyAddresses").as_deref() == Some("true");
    if is_early {
        return vec![Finding::good(
            subject,
            "leads to the proxy before it is ready",
        )];
    }
    let found = "leads to the proxy only once it is ready, which it is not before nodes dial";
    vec![Finding::bad(
        subject,
        found,
        "set publishNotReadyAddresses to true",
    )]
}

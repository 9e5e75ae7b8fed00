//! The nodes: their Services, and whether they can be woken.

use std::{collections::BTreeMap, time::Duration};

use infinicache_daemon::parse_duration;
use kube::{ResourceExt, api::DynamicObject};

use super::{pods, settings, unseen::unseen};
use crate::doctor::{
    facts::{Condition, Seen, WakeSeen, condition, text_at},
    finding::Finding,
};

/// Nodes that the default code needs: 10 data chunks and 2 of parity.
const WIDTH: usize = 12;

/// Nodes without which no loss can be borne.
const LEAST: usize = 3;

/// Of a node's grace, what passes before SIGTERM, in seconds.
const DRAIN: u64 = 30;

/// Least time to empty a node in after that, in seconds.
const EMPTYING: u64 = 30;

/// How long a pod is kept that gets no request, if neither its Service nor Knative's settings say.
/// The proxy takes nodes to be kept for as long, unless it is configured otherwise.
const WINDOW: Duration = Duration::from_secs(60);

/// Whether there are enough.
pub(super) fn pool(nodes: &Seen<Vec<DynamicObject>>) -> Vec<Finding> {
    let subject = "nodes";
    let count = match nodes {
        Ok(nodes) => nodes.len(),
        Err(error) => {
            let missing = || {
                let found = "this cluster knows no Knative Services";
                Finding::bad(subject, found, "install Knative Serving")
            };
            return unseen(subject, error, missing);
        }
    };
    let advice = "apply the output of `infinicache manifests`, and see that the labels fit";
    let found = format!("{count} found, {LEAST} needed at the least");
    vec![match count {
        0..LEAST => Finding::bad(subject, found, advice),
        LEAST..WIDTH => {
            let found =
                format!("{count} found: the code 10+2 needs {WIDTH}, narrower ones are used");
            Finding::doubtful(subject, found, advice)
        }
        _ => Finding::good(subject, format!("{count} found")),
    }]
}

/// Each node's Service, and its pods.
pub(super) fn each(
    nodes: &Seen<Vec<DynamicObject>>,
    pods: &Seen<Vec<DynamicObject>>,
    events: &Seen<Vec<DynamicObject>>,
) -> Vec<Finding> {
    let of_node = |node: &DynamicObject| {
        let pods = pods::labelled(pods, "serving.knative.dev/service", &node.name_any());
        let mut findings: Vec<Finding> = unready(node, pods::worst(&pods, events))
            .into_iter()
            .collect();
        findings.extend(unfit(node));
        if findings.is_empty() {
            findings.push(Finding::good(&subject(node), "is ready"));
        }
        findings
    };
    nodes.iter().flatten().flat_map(of_node).collect()
}

fn subject(node: &DynamicObject) -> String {
    format!("node {}", node.name_any())
}

/// Why a node is not ready: what its pods say, or else what its Service does.
fn unready(node: &DynamicObject, trouble: Option<pods::Trouble>) -> Option<Finding> {
    let subject = &subject(node);
    if let Some(pods::Trouble {
        level,
        found,
        advice,
    }) = trouble
    {
        return Some(Finding::new(level, subject, found, advice));
    }
    let advice = "kubectl describe ksvc: its revision says what it waits for";
    match condition(node, "Ready") {
        Condition::True => None,
        Condition::False(why) => {
            let found = format!("is not ready: {why}");
            Some(Finding::bad(subject, found, advice))
        }
        Condition::Unknown(why) => {
            let found = ["is still coming up", &why].join(": ");
            let found = found.trim_end_matches(": ");
            let advice = "look again in a minute; kubectl describe ksvc says what it waits for";
            Some(Finding::doubtful(subject, found, advice))
        }
    }
}

/// What an annotation of a node's template says of its scaling.
fn annotation<'a>(node: &'a DynamicObject, name: &str) -> Option<&'a str> {
    let annotations = node.data.pointer("/spec/template/metadata/annotations")?;
    let name = format!("autoscaling.knative.dev/{name}");
    annotations.get(name)?.as_str()
}

/// Whether nodes that the proxy wants to keep are still there when it wakes them again.
pub(super) fn kept(
    nodes: &Seen<Vec<DynamicObject>>,
    configuration: &Seen<DynamicObject>,
) -> Vec<Finding> {
    let subject = "how long nodes are kept";
    let configuration = match configuration {
        Ok(configuration) => configuration,
        Err(error) => {
            let missing = || {
                let found = "the proxy's ConfigMap does not exist";
                Finding::unknown(subject, found, "apply the manifests")
            };
            return unseen(subject, error, missing);
        }
    };
    let time = |text: Option<&str>| text.and_then(|text| parse_duration(text).ok());
    let known = text_at(configuration, "/data/INFINICACHE_NODE_IDLE_WINDOW");
    let known = time(known.as_deref()).unwrap_or(WINDOW);
    let kept = |node: &DynamicObject| {
        let window = time(annotation(node, "window")).unwrap_or(WINDOW);
        let retention = annotation(node, "scale-to-zero-pod-retention-period");
        window + time(retention).unwrap_or_default()
    };
    let Some(shortest) = nodes.iter().flatten().map(kept).min() else {
        return Vec::new();
    };
    if shortest >= known {
        return vec![Finding::good(subject, format!("{shortest:?}"))];
    }
    let found = format!("{shortest:?}, and the proxy takes them to be kept for {known:?}");
    let advice = "set INFINICACHE_NODE_IDLE_WINDOW to the window of the nodes: what they hold is \
                  lost otherwise";
    vec![Finding::bad(subject, found, advice)]
}

/// What of a node's Service does not fit a node.
fn unfit(node: &DynamicObject) -> Vec<Finding> {
    let subject = &subject(node);
    let annotation = |name| annotation(node, name);
    let mut findings = Vec::new();
    if annotation("max-scale") != Some("1") {
        let advice = "set autoscaling.knative.dev/max-scale to \"1\" on the template";
        findings.push(Finding::bad(
            subject,
            "may have several pods at once",
            advice,
        ));
    }
    if let Some(least) = annotation("min-scale")
        && least != "0"
    {
        let advice = "set autoscaling.knative.dev/min-scale to \"0\", or pay for it always";
        findings.push(Finding::doubtful(subject, "never sleeps", advice));
    }
    let visibility = node.labels().get("networking.knative.dev/visibility");
    if visibility.is_none_or(|visibility| visibility != "cluster-local") {
        let advice = "label it networking.knative.dev/visibility: cluster-local";
        findings.push(Finding::doubtful(
            subject,
            "can be reached from outside",
            advice,
        ));
    }
    let concurrency = text_at(node, "/spec/template/spec/containerConcurrency");
    if concurrency.is_some_and(|concurrency| concurrency != "0") {
        let advice = "set containerConcurrency to 0: a wake must never wait for another";
        findings.push(Finding::bad(subject, "limits its requests", advice));
    }
    let grace = settings::timeout(node).unwrap_or(300);
    if grace < DRAIN + EMPTYING {
        let found = format!("has {grace} s to be emptied, of which the platform takes {DRAIN} s");
        let advice = "raise timeoutSeconds: 600 is usual";
        findings.push(Finding::bad(subject, found, advice));
    }
    findings
}

/// Whether each node can be woken, by those who may.
pub(super) fn wakes(wakes: &BTreeMap<String, WakeSeen>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut not_tried: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, seen) in wakes {
        let subject = &format!("wake of {node}");
        findings.push(match seen {
            WakeSeen::AsksForProof => Finding::good(subject, "reaches it, and needs the secret"),
            WakeSeen::Answered(status @ 200..300, _) => {
                let found = format!("was answered with {status}, though it proved nothing");
                let advice = "see what is behind the Service: it is no node of this version";
                Finding::bad(subject, found, advice)
            }
            WakeSeen::Answered(status, text) => {
                let found = format!("was answered with {status}: {text}");
                let advice = "see the logs of the node, and of the ingress if it has none";
                Finding::bad(subject, found, advice)
            }
            WakeSeen::Unreachable(why) => {
                let found = format!("does not reach it: {why}");
                let advice = "see that the ingress runs and that policies let this pod reach it";
                Finding::bad(subject, found, advice)
            }
            WakeSeen::NotTried(why) => {
                *not_tried.entry(why).or_default() += 1;
                continue;
            }
        });
    }
    for (why, count) in not_tried {
        let found = format!("not tried for {count} nodes: {why}");
        let advice = "run the doctor in a pod of the namespace to try";
        findings.push(Finding::unknown("wakes", found, advice));
    }
    findings
}

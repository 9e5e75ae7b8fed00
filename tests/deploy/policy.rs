//! What network policies let through, as Kubernetes defines it.
//!
//! A connection needs the leave of both sides: of the policies that select the
//! pod it comes from, for Egress, and of those that select the pod it goes to,
//! for Ingress. A pod that no policy selects for a direction may do anything in
//! it. An address range is taken to hold for pods too, as some networks do.

use std::collections::BTreeMap;

use serde_json::Value;

/// Labels.
pub(crate) type Labels = BTreeMap<String, String>;

/// Someone who may be connected to, or connect.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// The labels of its namespace and its own; none if it is no pod.
    pub(crate) pod: Option<(Labels, Labels)>,
    /// Its address, if it is one that policies may name.
    pub(crate) address: Option<&'static str>,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) protocol: &'static str,
    pub(crate) number: u64,
}

#[derive(Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

/// Whether `from` can connect to `to`.
pub(crate) fn allows(policies: &[&Value], from: &Endpoint, to: &Endpoint, port: Port) -> bool {
    passes(policies, Direction::Egress, from, to, port)
        && passes(policies, Direction::Ingress, to, from, port)
}

/// Whether any policy restricts what `pod` may connect to.
pub(crate) fn is_restricted(policies: &[&Value], pod: &Endpoint) -> bool {
    policies
        .iter()
        .any(|policy| governs(policy, Direction::Egress, pod))
}

/// Whether the policies of `ours` let it talk to `theirs` in this direction.
fn passes(
    policies: &[&Value],
    direction: Direction,
    ours: &Endpoint,
    theirs: &Endpoint,
    port: Port,
) -> bool {
    let mut governing = policies
        .iter()
        .filter(|policy| governs(policy, direction, ours))
        .peekable();
    if governing.peek().is_none() {
        return true;
    }
    let (rules, peers) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    governing.any(|policy| {
        let rules = policy["spec"][rules].as_array();
        rules.into_iter().flatten().any(|rule| {
            let home = policy["metadata"]["namespace"]
                .as_str()
                .expect("policies have a namespace");
            let peer = |peer: &Value| is_peer(peer, home, theirs);
            any(&rule[peers], peer) && any(&rule["ports"], |allowed| is_port(allowed, port))
        })
    })
}

/// Whether a list that allows everything when it is not there allows something.
fn any(list: &Value, test: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_none_or(|list| list.iter().any(test))
}

fn governs(policy: &Value, direction: Direction, endpoint: &Endpoint) -> bool {
    let name = match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    let types = policy["spec"]["policyTypes"]
        .as_array()
        .expect("policies name their types");
    let Some((namespace, labels)) = &endpoint.pod else {
        return false;
    };
    types.iter().any(|kind| kind == name)
        && policy["metadata"]["namespace"] == namespace["kubernetes.io/metadata.name"]
        && selects(&policy["spec"]["podSelector"], labels)
}

fn is_peer(peer: &Value, home: &str, endpoint: &Endpoint) -> bool {
    if let Some(range) = peer["ipBlock"]["cidr"].as_str() {
        let is_any = range == "0.0.0.0/0" || range == "::/0";
        return is_any
            || endpoint
                .address
                .is_some_and(|address| range == format!("{address}/32"));
    }
    let Some((namespace, labels)) = &endpoint.pod else {
        return false;
    };
    let in_namespace = match &peer["namespaceSelector"] {
        Value::Null => namespace["kubernetes.io/metadata.name"] == home,
        selector => selects(selector, namespace),
    };
    in_namespace && (peer["podSelector"].is_null() || selects(&peer["podSelector"], labels))
}

fn selects(selector: &Value, labels: &Labels) -> bool {
    let fields = selector.as_object().expect("a selector is an object");
    assert!(
        fields.keys().all(|field| field == "matchLabels"),
        "only labels are matched here"
    );
    let wanted = selector["matchLabels"].as_object();
    wanted
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).is_some_and(|label| value == label))
}

fn is_port(allowed: &Value, port: Port) -> bool {
    allowed["protocol"] == port.protocol && allowed["port"] == port.number
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PORT: Port = Port {
        protocol: "TCP",
        number: 80,
    };

    fn pod(namespace: &str, label: &str) -> Endpoint {
        let labels = |key: &str, value: &str| Labels::from([(key.into(), value.into())]);
        let of_namespace = labels("kubernetes.io/metadata.name", namespace);
        Endpoint {
            pod: Some((of_namespace, labels("is", label))),
            address: None,
        }
    }

    fn policy(types: &[&str], rules: Value) -> Value {
        let mut policy = json!({
            "metadata": { "namespace": "n" },
            "spec": { "podSelector": { "matchLabels": { "is": "a" } }, "policyTypes": types },
        });
        policy["spec"]
            .as_object_mut()
            .unwrap()
            .append(&mut rules.as_object().unwrap().clone());
        policy
    }

    #[test]
    fn a_pod_that_no_policy_selects_is_reached_by_all() {
        let none = policy(&["Ingress"], json!({ "ingress": [] }));
        assert!(allows(&[&none], &pod("n", "a"), &pod("n", "b"), PORT));
        assert!(!allows(&[&none], &pod("n", "b"), &pod("n", "a"), PORT));
        assert!(
            allows(&[&none], &pod("n", "b"), &pod("m", "a"), PORT),
            "of another namespace"
        );
    }

    #[test]
    fn a_selector_of_pods_alone_is_of_the_same_namespace() {
        let b = json!({ "podSelector": { "matchLabels": { "is": "b" } } });
        let ports = json!([{ "protocol": "TCP", "port": 80 }]);
        let policy = policy(
            &["Ingress"],
            json!({ "ingress": [{ "from": [b], "ports": ports }] }),
        );
        assert!(allows(&[&policy], &pod("n", "b"), &pod("n", "a"), PORT));
        assert!(!allows(&[&policy], &pod("m", "b"), &pod("n", "a"), PORT));
        let other = Port { number: 81, ..PORT };
        assert!(!allows(&[&policy], &pod("n", "b"), &pod("n", "a"), other));
    }

    #[test]
    fn both_sides_have_to_agree_and_policies_add_up() {
        let everything = policy(
            &["Ingress", "Egress"],
            json!({ "ingress": [{}], "egress": [] }),
        );
        assert!(allows(&[&everything], &pod("n", "b"), &pod("n", "a"), PORT));
        assert!(!allows(
            &[&everything],
            &pod("n", "a"),
            &pod("n", "b"),
            PORT
        ));
        let more = policy(&["Egress"], json!({ "egress": [{}] }));
        assert!(allows(
            &[&everything, &more],
            &pod("n", "a"),
            &pod("n", "b"),
            PORT
        ));
    }
}

//! The table of flows in ARCHITECTURE.md against the policies: each flow of it
//! is let through, and nothing else is that comes from or goes to our pods.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::{
    kustomize::{OVERLAYS, of_kind, one, overlay},
    policy::{Endpoint, Labels, Port, allows, is_restricted},
    repository,
};

/// Everything that anybody listens on, and some where nobody does.
const PORTS: [u64; 21] = [
    22, 53, 80, 443, 5353, 6378, 6379, 6380, 6381, 6382, 6443, 8008, 8012, 8013, 8022, 8080, 8081,
    8443, 9090, 9091, 16443,
];

/// Somebody in the cluster, and the names by which the table speaks of him.
struct Party {
    name: &'static str,
    roles: Vec<&'static str>,
    endpoint: Endpoint,
}

fn is_ours(party: &Party) -> bool {
    ["proxy", "node"].contains(&party.name)
}

/// From whom to whom, by the names of parties.
type Flow = (&'static str, &'static str, Port);

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn read(labels: &Value) -> Labels {
    serde_json::from_value(labels.clone()).unwrap()
}

/// All parties that matter for an overlay.
fn parties(all: &[Value], is_local: bool) -> Vec<Party> {
    let mut home = read(&one(all, "Namespace", "infinicache")["metadata"]["labels"]);
    home.insert("kubernetes.io/metadata.name".into(), "infinicache".into());
    let apps = labels(&[
        ("kubernetes.io/metadata.name", "apps"),
        ("infinicache.io/clients", "true"),
    ]);
    let of = |name: &str| labels(&[("kubernetes.io/metadata.name", name)]);
    let proxy =
        read(&one(all, "Deployment", "infinicache")["spec"]["template"]["metadata"]["labels"]);
    let node = of_kind(all, "serving.knative.dev/v1", "Service")[0];
    let node = read(&node["spec"]["template"]["metadata"]["labels"]);
    let direct = labels(&[("infinicache.io/client", "direct")]);

    let pod = |name, roles: &[&'static str], namespace: &Labels, labels: Labels| Party {
        name,
        roles: roles.to_vec(),
        endpoint: Endpoint {
            pod: Some((namespace.clone(), labels)),
            address: None,
        },
    };
    let app = |name: &str| labels(&[("app", name)]);
    let serving = of("knative-serving");
    let mut parties = vec![
        pod("proxy", &["proxy"], &home, proxy),
        pod("node", &["node"], &home, node),
        pod("pod of our namespace", &["client"], &home, Labels::new()),
        pod("client", &["client"], &apps, Labels::new()),
        pod(
            "direct client",
            &["client", "direct client"],
            &apps,
            direct.clone(),
        ),
        pod("pod elsewhere", &[], &of("elsewhere"), Labels::new()),
        pod(
            "pod elsewhere with a label of ours",
            &[],
            &of("elsewhere"),
            direct,
        ),
        pod(
            "ingress",
            &["ingress"],
            &of("kourier-system"),
            app("3scale-kourier-gateway"),
        ),
        pod(
            "ingress controller",
            &[],
            &serving,
            app("net-kourier-controller"),
        ),
        pod("activator", &["activator"], &serving, app("activator")),
        pod("autoscaler", &["autoscaler"], &serving, app("autoscaler")),
        pod(
            "prometheus",
            &["prometheus"],
            &of("monitoring"),
            labels(&[("app.kubernetes.io/name", "prometheus")]),
        ),
        pod(
            "pod beside prometheus",
            &[],
            &of("monitoring"),
            Labels::new(),
        ),
        pod(
            "DNS",
            &["DNS"],
            &of("kube-system"),
            labels(&[("k8s-app", "kube-dns")]),
        ),
        Party {
            name: "DNS of the host",
            roles: vec!["DNS"],
            endpoint: Endpoint {
                pod: None,
                address: Some("169.254.20.10"),
            },
        },
        Party {
            name: "API",
            roles: vec![],
            endpoint: Endpoint {
                pod: None,
                address: Some("10.0.0.1"),
            },
        },
    ];
    let policies = of_kind(all, "networking.k8s.io/v1", "NetworkPolicy");
    for party in &mut parties {
        // Ours let nobody in but those that the other rows name.
        if !is_ours(party) {
            party.roles.push("any address");
        }
        // There every pod is a client that is not told whom it may connect to.
        let is_free = party.endpoint.pod.is_some() && !is_restricted(&policies, &party.endpoint);
        if is_local && is_free {
            party.roles.push("client");
        }
    }
    parties
}

/// The rows of the table: from whom, to whom, and where.
fn table() -> Vec<(String, String, Vec<Port>)> {
    let text = fs::read_to_string(repository("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text
        .split_once("| from | to | port | why |\n")
        .expect("the table of flows");
    let rows = rest
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let ports = cells[2].split(", ").map(|port| {
            let (number, protocol) = port.split_once(' ').expect("a number and a protocol");
            let protocol = ["TCP", "UDP"].into_iter().find(|known| *known == protocol);
            Port {
                protocol: protocol.expect("TCP or UDP"),
                number: number.parse().unwrap(),
            }
        });
        (cells[0].to_owned(), cells[1].to_owned(), ports.collect())
    })
    .collect()
}

/// The flows of the table, between all who have its roles.
fn told(parties: &[Party]) -> BTreeSet<Flow> {
    let mut flows = BTreeSet::new();
    for (from, to, ports) in table() {
        let with = |role: &str| -> Vec<&Party> {
            parties
                .iter()
                .filter(|party| party.roles.contains(&role))
                .collect()
        };
        assert!(
            !with(&from).is_empty() && !with(&to).is_empty(),
            "{from} to {to}"
        );
        for from in with(&from) {
            for to in with(&to) {
                flows.extend(ports.iter().map(|port| (from.name, to.name, *port)));
            }
        }
    }
    flows
}

/// The flows that the policies let through to or from a pod of ours.
fn allowed(all: &[Value], parties: &[Party]) -> BTreeSet<Flow> {
    let policies = of_kind(all, "networking.k8s.io/v1", "NetworkPolicy");
    let mut flows = BTreeSet::new();
    for from in parties {
        for to in parties {
            if !is_ours(from) && !is_ours(to) {
                continue;
            }
            for protocol in ["TCP", "UDP"] {
                for number in PORTS {
                    let port = Port { protocol, number };
                    if allows(&policies, &from.endpoint, &to.endpoint, port) {
                        flows.insert((from.name, to.name, port));
                    }
                }
            }
        }
    }
    flows
}

#[test]
fn the_policies_let_through_what_the_table_tells_and_nothing_else() {
    for name in OVERLAYS {
        let all = overlay(name);
        let parties = parties(&all, name == "local");
        let (told, allowed) = (told(&parties), allowed(&all, &parties));
        let missing: Vec<_> = told.difference(&allowed).collect();
        assert!(
            missing.is_empty(),
            "{name}: told, but not let through: {missing:#?}"
        );
        let beyond: Vec<_> = allowed.difference(&told).collect();
        assert!(
            beyond.is_empty(),
            "{name}: let through, but not told: {beyond:#?}"
        );
    }
}

#[test]
fn without_any_rule_of_a_policy_a_flow_of_the_table_is_missing() {
    let all = overlay("production");
    let parties = parties(&all, false);
    let told = told(&parties);
    for (index, policy) in all
        .iter()
        .enumerate()
        .filter(|(_, document)| document["kind"] == "NetworkPolicy")
    {
        for direction in ["ingress", "egress"] {
            for rule in 0..policy["spec"][direction].as_array().map_or(0, Vec::len) {
                let mut fewer = all.clone();
                fewer[index]["spec"][direction]
                    .as_array_mut()
                    .unwrap()
                    .remove(rule);
                let allowed = allowed(&fewer, &parties);
                assert!(
                    !told.is_subset(&allowed),
                    "{direction} rule {rule} of {}",
                    policy["metadata"]["name"]
                );
            }
        }
    }
}

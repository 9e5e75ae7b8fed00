//! What one document says about another is so: names, ports, times and sizes.

use std::time::Duration;

use clap::{Args, Command};
use infinicache_daemon::{ByteSize, parse_duration};
use infinicache_node::config::capacity_within;
use serde_json::Value;

use crate::{
    footprint::bytes,
    kustomize::{OVERLAYS, of_kind, one, overlay},
};

fn node(all: &[Value]) -> &Value {
    &of_kind(all, "serving.knative.dev/v1", "Service")[0]["spec"]["template"]
}

fn proxy(all: &[Value]) -> &Value {
    &one(all, "Deployment", "infinicache")["spec"]["template"]
}

/// A variable of the proxy.
fn of_proxy<'a>(all: &'a [Value], name: &str) -> &'a str {
    let value = &one(all, "ConfigMap", "infinicache")["data"][name];
    value.as_str().unwrap_or_else(|| panic!("{name}"))
}

/// A variable of a node.
fn of_node<'a>(all: &'a [Value], name: &str) -> &'a str {
    let variables = node(all)["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let variable = variables.iter().find(|variable| variable["name"] == name);
    variable.unwrap_or_else(|| panic!("{name}"))["value"]
        .as_str()
        .unwrap()
}

fn time(text: &str) -> Duration {
    parse_duration(text).unwrap()
}

fn size(text: &str) -> u64 {
    text.parse::<ByteSize>().unwrap().0
}

fn port(address: &str) -> u64 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn the_proxy_keeps_nodes_awake_within_the_window_that_they_have() {
    for name in OVERLAYS {
        let all = overlay(name);
        let window = &node(&all)["metadata"]["annotations"]["autoscaling.knative.dev/window"];
        let known = of_proxy(&all, "INFINICACHE_NODE_IDLE_WINDOW");
        assert_eq!(time(known), time(window.as_str().unwrap()));
    }
}

#[test]
fn nodes_outlive_a_proxy_that_is_gone_for_ten_minutes() {
    for name in OVERLAYS {
        let all = overlay(name);
        let annotation = |name: &str| {
            let annotations = &node(&all)["metadata"]["annotations"];
            time(
                annotations[format!("autoscaling.knative.dev/{name}")]
                    .as_str()
                    .unwrap(),
            )
        };
        // It may go just before it would have woken them again: a third of the window after it did.
        let left = annotation("window") * 2 / 3 + annotation("scale-to-zero-pod-retention-period");
        assert!(left > Duration::from_mins(10), "{left:?}");
    }
}

#[test]
fn the_proxy_takes_a_node_to_hold_what_it_does() {
    for name in OVERLAYS {
        let all = overlay(name);
        let limit = &node(&all)["spec"]["containers"][0]["resources"]["limits"]["memory"];
        let capacity = capacity_within(bytes(limit.as_str().unwrap()).unwrap());
        assert_eq!(size(of_proxy(&all, "INFINICACHE_NODE_MEMORY")), capacity);
    }
}

#[test]
fn values_that_pass_through_the_proxy_leave_it_room_for_metadata() {
    for name in OVERLAYS {
        let all = overlay(name);
        let limit = &proxy(&all)["spec"]["containers"][0]["resources"]["limits"]["memory"];
        let buffers = size(of_proxy(&all, "INFINICACHE_BUFFER_BYTES"));
        assert!(buffers * 2 <= bytes(limit.as_str().unwrap()).unwrap());
    }
}

#[test]
fn a_large_value_finds_as_many_nodes_as_its_code_needs_and_two_more() {
    for name in OVERLAYS {
        let all = overlay(name);
        let count = |name| of_proxy(&all, name).parse::<usize>().unwrap();
        let width = count("INFINICACHE_DATA") + count("INFINICACHE_PARITY");
        assert!(of_kind(&all, "serving.knative.dev/v1", "Service").len() >= width + 2);
    }
}

#[test]
fn a_node_has_gone_before_it_is_killed_and_uses_most_of_its_grace() {
    for name in OVERLAYS {
        let all = overlay(name);
        let grace = node(&all)["spec"]["timeoutSeconds"].as_u64().unwrap();
        let drain = time(of_node(&all, "INFINICACHE_DRAIN")).as_secs();
        // SIGTERM comes 30 s after the deletion.
        assert!(
            30 + drain < grace && grace < 30 + drain + 30,
            "{drain} of {grace}"
        );
    }
}

#[test]
fn the_proxy_is_found_by_clients_when_it_is_ready_and_by_nodes_before() {
    for name in OVERLAYS {
        let all = overlay(name);
        let labels = proxy(&all)["metadata"]["labels"].as_object().unwrap();
        let ports = proxy(&all)["spec"]["containers"][0]["ports"]
            .as_array()
            .unwrap();
        let listens = |name: &str| {
            let port = ports.iter().find(|port| port["name"] == name).unwrap();
            port["containerPort"].as_u64().unwrap()
        };
        for (service, expected) in [
            (
                "infinicache",
                &[
                    ("redis", "INFINICACHE_LISTEN"),
                    ("admin", "INFINICACHE_ADMIN_LISTEN"),
                ][..],
            ),
            ("infinicache-nodes", &[("nodes", "INFINICACHE_NODE_LISTEN")]),
        ] {
            let found = of_kind(&all, "v1", "Service");
            let spec = &found
                .iter()
                .find(|found| found["metadata"]["name"] == service)
                .unwrap()["spec"];
            let selector = spec["selector"].as_object().unwrap();
            assert!(
                selector
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
            );
            let offered: Vec<&str> = spec["ports"]
                .as_array()
                .unwrap()
                .iter()
                .map(|port| port["targetPort"].as_str().unwrap())
                .collect();
            assert_eq!(
                offered,
                expected.iter().map(|(port, _)| *port).collect::<Vec<_>>()
            );
            for (port_name, variable) in expected {
                assert_eq!(port(of_proxy(&all, variable)), listens(port_name));
            }
            let is_early = spec["publishNotReadyAddresses"] == true && spec["clusterIP"] == "None";
            assert_eq!(is_early, service == "infinicache-nodes");
        }
        let arguments = proxy(&all)["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap();
        let dialled = format!(
            "--advertise=infinicache-nodes.$(POD_NAMESPACE).svc:{}",
            listens("nodes")
        );
        assert!(arguments.iter().any(|argument| *argument == *dialled));
        // Both use the admin port; the names of Services and of nodes are in one space.
        let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
        let container = &proxy(&all)["spec"]["containers"][0];
        assert!(
            probes
                .iter()
                .all(|probe| container[probe]["httpGet"]["port"] == "admin")
        );
    }
}

#[test]
fn annotations_lead_prometheus_to_the_metrics_of_the_proxy_and_of_no_node() {
    for name in OVERLAYS {
        let all = overlay(name);
        let metadata = &proxy(&all)["metadata"];
        let annotation = |key: &str| &metadata["annotations"][format!("prometheus.io/{key}")];
        assert_eq!(annotation("scrape"), "true");
        assert_eq!(annotation("path"), "/metrics");
        let admin = port(of_proxy(&all, "INFINICACHE_ADMIN_LISTEN"));
        assert_eq!(annotation("port"), &admin.to_string());
        let annotations = node(&all)["metadata"]["annotations"].as_object().unwrap();
        assert!(
            !annotations
                .keys()
                .any(|key| key.starts_with("prometheus.io/"))
        );
    }
}

#[test]
fn a_rollout_ends_the_proxy_before_it_starts_the_next() {
    for name in OVERLAYS {
        let all = overlay(name);
        let proxy = &one(&all, "Deployment", "infinicache")["spec"];
        assert_eq!(proxy["replicas"], 1);
        assert_eq!(proxy["strategy"]["type"], "Recreate");
        assert!(of_kind(&all, "autoscaling/v2", "HorizontalPodAutoscaler").is_empty());
    }
}

#[test]
fn the_proxy_finds_the_nodes_by_a_label_that_it_does_not_have_itself() {
    for name in OVERLAYS {
        let all = overlay(name);
        let arguments = proxy(&all)["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap();
        let selector = arguments
            .iter()
            .find_map(|argument| argument.as_str()?.strip_prefix("--selector="));
        let (key, value) = selector.unwrap().split_once('=').unwrap();
        assert_eq!(proxy(&all)["metadata"]["labels"][key], Value::Null);
        for service in of_kind(&all, "serving.knative.dev/v1", "Service") {
            assert_eq!(service["metadata"]["labels"][key], value);
            assert_eq!(
                service["spec"]["template"]["metadata"]["labels"][key], value,
                "pods have it too"
            );
        }
    }
}

#[test]
fn both_read_the_secret_where_it_is_mounted() {
    for name in OVERLAYS {
        let all = overlay(name);
        let (node, proxy) = (&node(&all)["spec"], &proxy(&all)["spec"]);
        for (spec, file) in [
            (node, of_node(&all, "INFINICACHE_SECRET_FILE")),
            (proxy, of_proxy(&all, "INFINICACHE_SECRET_FILE")),
        ] {
            let mount = &spec["containers"][0]["volumeMounts"][0];
            assert_eq!(
                file,
                format!("{}/pool-secret", mount["mountPath"].as_str().unwrap())
            );
            assert_eq!(mount["name"], spec["volumes"][0]["name"]);
        }
    }
}

/// The variables that a program knows.
fn variables<Config: Args>() -> Vec<String> {
    let command = Config::augment_args(Command::new("program"));
    let names = command
        .get_arguments()
        .filter_map(|argument| argument.get_env());
    // Of the logs, which are no flags.
    let of_logs = ["INFINICACHE_LOG", "INFINICACHE_LOG_FORMAT"].map(str::to_owned);
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .chain(of_logs)
        .collect()
}

#[test]
fn both_know_every_variable_that_they_are_given() {
    for name in OVERLAYS {
        let all = overlay(name);
        let known = variables::<infinicache_proxy::Config>();
        let given = one(&all, "ConfigMap", "infinicache")["data"]
            .as_object()
            .unwrap();
        for variable in given.keys() {
            assert!(known.contains(variable), "{variable}");
        }
        let known = variables::<infinicache_node::Config>();
        for variable in node(&all)["spec"]["containers"][0]["env"]
            .as_array()
            .unwrap()
        {
            assert!(
                known.contains(&variable["name"].as_str().unwrap().to_owned()),
                "{variable}"
            );
        }
    }
}

#[test]
fn images_are_those_of_this_version() {
    for name in OVERLAYS {
        let all = overlay(name);
        for spec in [node(&all), proxy(&all)] {
            let image = spec["spec"]["containers"][0]["image"].as_str().unwrap();
            assert_eq!(
                image.rsplit_once(':').unwrap().1,
                env!("CARGO_PKG_VERSION"),
                "{image}"
            );
        }
    }
}

#[test]
fn budgets_let_one_pod_of_each_sort_be_evicted_at_a_time() {
    for name in OVERLAYS {
        let all = overlay(name);
        let budgets = of_kind(&all, "policy/v1", "PodDisruptionBudget");
        for template in [node(&all), proxy(&all)] {
            let labels = template["metadata"]["labels"].as_object().unwrap();
            let of_it: Vec<_> = budgets
                .iter()
                .filter(|budget| {
                    let selector = budget["spec"]["selector"]["matchLabels"]
                        .as_object()
                        .unwrap();
                    selector
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
                })
                .collect();
            // With two of them Kubernetes evicts nothing.
            assert_eq!(of_it.len(), 1);
            assert_eq!(of_it[0]["spec"]["maxUnavailable"], 1);
        }
    }
}

#[test]
fn the_proxy_takes_the_arguments_that_it_is_given() {
    for name in OVERLAYS {
        let all = overlay(name);
        let arguments = proxy(&all)["spec"]["containers"][0]["args"]
            .as_array()
            .unwrap();
        let arguments = arguments.iter().map(|argument| argument.as_str().unwrap());
        let command =
            infinicache_proxy::Config::augment_args(Command::new("program").no_binary_name(true));
        let taken = command
            .try_get_matches_from(arguments)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            taken.get_one::<String>("selector").unwrap(),
            "infinicache.io/pool=default"
        );
    }
}

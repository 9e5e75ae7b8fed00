//! How little the local overlay asks of its host.

use serde_json::Value;

use crate::kustomize::{of_kind, overlay};

/// An amount of CPU, in thousandths of one.
pub(crate) fn millicores(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok(),
        None => text.parse::<u64>().ok()?.checked_mul(1000),
    }
}

/// An amount of memory, in bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let scaled = [("Ki", 10), ("Mi", 20), ("Gi", 30)]
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (number, shift) = scaled.unwrap_or((text, 0));
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// CPU in thousandths, and memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    cpu: u64,
    memory: u64,
}

impl Amount {
    fn plus(self, other: Self, times: u64) -> Self {
        Self {
            cpu: self.cpu + times * other.cpu,
            memory: self.memory + times * other.memory,
        }
    }

    fn read(cpu: &Value, memory: &Value) -> Self {
        let cpu = cpu.as_str().and_then(millicores);
        let memory = memory.as_str().and_then(bytes);
        Self {
            cpu: cpu.expect("CPU is requested"),
            memory: memory.expect("memory is requested"),
        }
    }
}

/// What the containers of a pod request.
fn of_pod(spec: &Value) -> Amount {
    let containers = spec["containers"].as_array().unwrap();
    containers.iter().fold(Amount::default(), |sum, container| {
        let requests = &container["resources"]["requests"];
        sum.plus(Amount::read(&requests["cpu"], &requests["memory"]), 1)
    })
}

/// The same for a node, with the sidecar that Knative adds.
fn of_node(service: &Value) -> Amount {
    let template = &service["spec"]["template"];
    let sidecar = |what: &str| {
        &template["metadata"]["annotations"]
            [format!("queue.sidecar.serving.knative.dev/{what}-resource-request")]
    };
    of_pod(&template["spec"]).plus(Amount::read(sidecar("cpu"), sidecar("memory")), 1)
}

/// What an overlay requests with `pods` pods to a node.
fn requested(name: &str, pods: u64) -> Amount {
    let all = overlay(name);
    let sum = Amount::default();
    let proxies = of_kind(&all, "apps/v1", "Deployment");
    let sum = proxies.iter().fold(sum, |sum, proxy| {
        sum.plus(
            of_pod(&proxy["spec"]["template"]["spec"]),
            proxy["spec"]["replicas"].as_u64().unwrap(),
        )
    });
    let nodes = of_kind(&all, "serving.knative.dev/v1", "Service");
    assert!(!nodes.is_empty() && !proxies.is_empty());
    nodes
        .iter()
        .fold(sum, |sum, node| sum.plus(of_node(node), pods))
}

#[test]
fn the_local_overlay_fits_in_one_core_and_three_gibibytes_while_all_nodes_are_replaced_at_once() {
    for pods in [1, 2] {
        let sum = requested("local", pods);
        eprintln!(
            "local, {pods} pods to a node: {}m CPU, {} MiB",
            sum.cpu,
            sum.memory >> 20
        );
        assert!(sum.cpu < 1000, "{sum:?}");
        assert!(sum.memory < 3 << 30, "{sum:?}");
    }
}

#[test]
fn amounts_are_read_as_kubernetes_reads_them() {
    assert_eq!(
        (millicores("25m"), millicores("2"), millicores("1.5")),
        (Some(25), Some(2000), None)
    );
    assert_eq!(
        (bytes("128Mi"), bytes("1500"), bytes("1MB")),
        (Some(128 << 20), Some(1500), None)
    );
}

//! Which fields a Knative Service may have without feature flags, and what may be in them.
//!
//! From the field masks and validation of Knative Serving 1.20 to 1.23, less
//! what nodes have no use for. `topologySpreadConstraints` and the like are not
//! in it: they need flags. Nor are fields that make a Service of more than one
//! port, container or pod.

mod container;

use infinicache_daemon::parse_duration;
use serde_json::Value;

use self::container::{CONTAINER, VOLUME};
use crate::{
    footprint::{bytes, millicores},
    shape::{
        Need::{May, Must},
        Shape::{self, Fields, List, Map, OneOf, Only, Spelt, Text, Truth, Whole},
    },
};

/// The longest request, and a pod's longest grace, unless Knative's configuration is changed.
const MAX_TIMEOUT: i64 = 600;

/// Ports of Knative's sidecar.
const RESERVED_PORTS: [i64; 7] = [8008, 8012, 8013, 8022, 8112, 9090, 9091];

const NAME: Shape = Spelt("a DNS label", |text| {
    text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
});
const LABELS: Shape = Map(&Text);
const CPU: Shape = Spelt("an amount of CPU", |text| millicores(text).is_some());
const MEMORY: Shape = Spelt("an amount of memory", |text| bytes(text).is_some());

fn whole(text: &str, low: i64, high: i64) -> bool {
    text.parse()
        .is_ok_and(|number: i64| (low..=high).contains(&number))
}

/// A duration of whole seconds, as both Go and we read it.
fn seconds(text: &str, low: u64, high: u64) -> bool {
    text.ends_with(['s', 'm', 'h'])
        && parse_duration(text)
            .is_ok_and(|span| span.subsec_nanos() == 0 && (low..=high).contains(&span.as_secs()))
}

const ANNOTATIONS: Shape = Fields(&[
    (
        "autoscaling.knative.dev/min-scale",
        May,
        Spelt("0 or more", |text| whole(text, 0, i64::MAX)),
    ),
    ("autoscaling.knative.dev/max-scale", Must, OneOf(&["1"])),
    (
        "autoscaling.knative.dev/initial-scale",
        May,
        Spelt("0 or more", |text| whole(text, 0, i64::MAX)),
    ),
    (
        "autoscaling.knative.dev/target-burst-capacity",
        May,
        Spelt("-1 or more", |text| whole(text, -1, i64::MAX)),
    ),
    (
        "autoscaling.knative.dev/window",
        May,
        Spelt("6s to 1h", |text| seconds(text, 6, 3600)),
    ),
    (
        "autoscaling.knative.dev/scale-down-delay",
        May,
        Spelt("0s to 1h", |text| seconds(text, 0, 3600)),
    ),
    (
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
        May,
        Spelt("0s to 1h", |text| seconds(text, 0, 3600)),
    ),
    (
        "queue.sidecar.serving.knative.dev/cpu-resource-request",
        Must,
        CPU,
    ),
    (
        "queue.sidecar.serving.knative.dev/cpu-resource-limit",
        May,
        CPU,
    ),
    (
        "queue.sidecar.serving.knative.dev/memory-resource-request",
        Must,
        MEMORY,
    ),
    (
        "queue.sidecar.serving.knative.dev/memory-resource-limit",
        May,
        MEMORY,
    ),
]);

const SERVICE: Shape = Fields(&[
    ("apiVersion", Must, OneOf(&["serving.knative.dev/v1"])),
    ("kind", Must, OneOf(&["Service"])),
    // No annotations: the webhook refuses those of autoscaling here, and there are no others.
    (
        "metadata",
        Must,
        Fields(&[
            ("name", Must, NAME),
            ("namespace", Must, NAME),
            ("labels", Must, LABELS),
        ]),
    ),
    ("spec", Must, Fields(&[("template", Must, TEMPLATE)])),
]);

const TEMPLATE: Shape = Fields(&[
    (
        "metadata",
        Must,
        Fields(&[("labels", Must, LABELS), ("annotations", Must, ANNOTATIONS)]),
    ),
    (
        "spec",
        Must,
        Fields(&[
            ("containerConcurrency", May, Whole(0, 1000)),
            ("timeoutSeconds", Must, Whole(1, MAX_TIMEOUT)),
            ("responseStartTimeoutSeconds", May, Whole(0, MAX_TIMEOUT)),
            ("idleTimeoutSeconds", May, Whole(0, MAX_TIMEOUT)),
            ("enableServiceLinks", May, Truth),
            ("automountServiceAccountToken", May, Only(false)),
            ("serviceAccountName", May, NAME),
            (
                "imagePullSecrets",
                May,
                List(0, 8, &Fields(&[("name", Must, NAME)])),
            ),
            ("containers", Must, List(1, 1, &CONTAINER)),
            ("volumes", May, List(0, 8, &VOLUME)),
        ]),
    ),
]);

/// What Knative would refuse about a Service, or do otherwise than we mean it: a line for each thing.
pub(crate) fn complaints(service: &Value) -> Vec<String> {
    let mut complaints = SERVICE.complaints("", service);
    let template = &service["spec"]["template"];
    let spec = &template["spec"];
    let container = &spec["containers"][0];

    let port = container["ports"][0]["containerPort"]
        .as_i64()
        .unwrap_or_default();
    if RESERVED_PORTS.contains(&port) {
        complaints.push(format!("containerPort: {port} is of Knative's sidecar"));
    }
    let timeout = spec["timeoutSeconds"].as_i64().unwrap_or_default();
    for part in ["responseStartTimeoutSeconds", "idleTimeoutSeconds"] {
        if spec[part].as_i64().is_some_and(|seconds| seconds > timeout) {
            complaints.push(format!("{part}: longer than timeoutSeconds"));
        }
    }
    let scale = |name: &str| {
        let annotation =
            &template["metadata"]["annotations"][format!("autoscaling.knative.dev/{name}")];
        annotation
            .as_str()
            .and_then(|scale| scale.parse::<i64>().ok())
    };
    for of in ["min-scale", "initial-scale"] {
        if scale(of)
            .zip(scale("max-scale"))
            .is_some_and(|(of, most)| of > most)
        {
            complaints.push(format!("{of}: more than max-scale"));
        }
    }
    let resources = &container["resources"];
    let memory = |of: &str| resources[of]["memory"].as_str().and_then(bytes);
    if memory("requests") > memory("limits") {
        complaints.push("resources: more memory requested than allowed".into());
    }
    let names = |list: &Value| -> Vec<Value> {
        list.as_array()
            .into_iter()
            .flatten()
            .map(|item| item["name"].clone())
            .collect()
    };
    let volumes = names(&spec["volumes"]);
    let mounts = names(&container["volumeMounts"]);
    if mounts.iter().any(|mount| !volumes.contains(mount))
        || volumes.iter().any(|volume| !mounts.contains(volume))
    {
        complaints.push("volumes: other ones than are mounted".into());
    }
    complaints
}

//! Bad manifests, each refused for what is bad about it; and good ones, taken.
//!
//! Documents of Kubernetes are held against its schemas by `kubernetes-validate`
//! from the Python Package Index, strictly: a field that a schema does not know
//! is refused.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    knative,
    kustomize::{OVERLAYS, documents, of_kind, one, overlay},
    outside, repository,
};

/// The oldest and the newest version of Kubernetes that the manifests are for.
const VERSIONS: [&str; 2] = ["1.32", "1.35"];

/// Puts `value` at a place that may not be there yet.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = document
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing at {parent}"));
    match parent {
        Value::Array(items) => {
            assert_eq!(name, "-", "{pointer}");
            items.push(value);
        }
        parent => {
            let name = name.replace("~1", "/");
            parent.as_object_mut().unwrap().insert(name, value);
        }
    }
}

/// What is wrong, where it is put, and what is said about it.
type Bad = (&'static str, &'static str, Value, &'static str);

#[test]
fn knative_refuses_each_bad_node() {
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    let bad: [Bad; 18] = [
        (
            "a second port",
            "/C/ports/-",
            json!({ "containerPort": 6382 }),
            "ports: 2 items",
        ),
        (
            "a port of the sidecar",
            "/C/ports",
            json!([{ "containerPort": 9090 }]),
            "9090 is of",
        ),
        (
            "a grace of its own",
            "/S/terminationGracePeriodSeconds",
            json!(600),
            "terminationGracePeriodSeconds: not allowed",
        ),
        (
            "a field of the pod",
            "/C/env/-",
            json!({ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }),
            "fieldRef: not allowed",
        ),
        (
            "a timeout too long",
            "/S/timeoutSeconds",
            json!(601),
            "timeoutSeconds: 601, 1 to 600 expected",
        ),
        (
            "an annotation on the Service",
            "/metadata/annotations",
            json!({ "autoscaling.knative.dev/window": "60s" }),
            ".metadata.annotations: not allowed",
        ),
        (
            "a misspelt field",
            "/C/readynessProbe",
            json!({ "httpGet": { "path": "/readyz" } }),
            "readynessProbe: not allowed",
        ),
        (
            "a misspelt annotation",
            "/A/autoscaling.knative.dev~1maxScale",
            json!("1"),
            "maxScale: not allowed",
        ),
        (
            "a variable that Knative sets",
            "/C/env/-",
            json!({ "name": "PORT", "value": "1" }),
            "a variable that Knative does not set expected",
        ),
        (
            "a window too short",
            "/A/autoscaling.knative.dev~1window",
            json!("5s"),
            "6s to 1h expected",
        ),
        (
            "a retention too long",
            "/A/autoscaling.knative.dev~1scale-to-zero-pod-retention-period",
            json!("61m"),
            "0s to 1h expected",
        ),
        (
            "an annotation that is no text",
            "/A/autoscaling.knative.dev~1max-scale",
            json!(1),
            "max-scale: 1, 1 expected",
        ),
        (
            "fewer pods at most than at least",
            "/A/autoscaling.knative.dev~1min-scale",
            json!("2"),
            "min-scale: more than max-scale",
        ),
        (
            "a selector of hosts",
            "/S/nodeSelector",
            json!({ "disk": "fast" }),
            "nodeSelector: not allowed",
        ),
        (
            "privileges",
            "/C/securityContext/allowPrivilegeEscalation",
            json!(true),
            "true, false expected",
        ),
        (
            "a hook",
            "/C/lifecycle",
            json!({}),
            "lifecycle: not allowed",
        ),
        (
            "a secret that can be written to",
            "/C/volumeMounts/0/readOnly",
            json!(false),
            "false, true expected",
        ),
        (
            "a path of a host",
            "/S/volumes/0/hostPath",
            json!({ "path": "/" }),
            "hostPath: not allowed",
        ),
    ];
    let all = overlay("production");
    let good = of_kind(&all, "serving.knative.dev/v1", "Service")[0];
    for (what, place, value, said) in bad {
        let place = place
            .replace("/C/", &format!("{CONTAINER}/"))
            .replace("/S/", "/spec/template/spec/")
            .replace("/A/", "/spec/template/metadata/annotations/");
        let mut node = good.clone();
        put(&mut node, &place, value);
        let complaints = knative::complaints(&node);
        assert_eq!(complaints.len(), 1, "{what}: {complaints:?}");
        assert!(complaints[0].contains(said), "{what}: {complaints:?}");
    }
}

/// What `kubernetes-validate` says of documents, and whether it takes them.
fn validated(documents: &[Value], version: &str, name: &str) -> (bool, String) {
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.yaml", std::process::id()));
    let text: Vec<String> = documents.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n---\n")).unwrap();
    let mut command = Command::new("kubernetes-validate");
    let output = outside::run(command.args(["--strict", "-k", version]).arg(&file));
    fs::remove_file(&file).unwrap();
    (output.status.success(), outside::said(&output))
}

/// The documents that are not Knative's.
fn of_kubernetes(overlay: &[Value]) -> Vec<Value> {
    let is_it = |document: &&Value| document["apiVersion"] != "serving.knative.dev/v1";
    overlay.iter().filter(is_it).cloned().collect()
}

#[test]
fn kubernetes_takes_every_document_of_every_overlay() {
    if !outside::is_there("kubernetes-validate") {
        return;
    }
    let doctor = documents(&repository("deploy/doctor.yaml"));
    for name in OVERLAYS {
        let documents = [of_kubernetes(&overlay(name)), doctor.clone()].concat();
        assert!(documents.len() >= 11);
        for version in VERSIONS {
            let (is_taken, said) = validated(&documents, version, name);
            assert!(is_taken, "{name} on {version}: {said}");
        }
    }
}

#[test]
fn kubernetes_refuses_each_bad_document() {
    if !outside::is_there("kubernetes-validate") {
        return;
    }
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    let container = |field: &str| format!("{CONTAINER}/{field}");
    let bad = [
        (
            "Deployment",
            "infinicache",
            "/spec/replica".to_owned(),
            json!(1),
        ),
        (
            "Deployment",
            "infinicache",
            "/spec/replicas".to_owned(),
            json!("one"),
        ),
        (
            "Deployment",
            "infinicache",
            container("readynessProbe"),
            json!({}),
        ),
        (
            "Deployment",
            "infinicache",
            container("args"),
            json!("--discover"),
        ),
        (
            "ConfigMap",
            "infinicache",
            "/data/INFINICACHE_DATA".to_owned(),
            json!(10),
        ),
        (
            "NetworkPolicy",
            "infinicache-node",
            "/spec/policyType".to_owned(),
            json!(["Ingress"]),
        ),
        (
            "NetworkPolicy",
            "infinicache-node",
            "/spec/ingress/0/port".to_owned(),
            json!([]),
        ),
        (
            "PodDisruptionBudget",
            "infinicache-nodes",
            "/spec/maxUnavailble".to_owned(),
            json!(1),
        ),
        (
            "Role",
            "infinicache-proxy",
            "/rules/0/verb".to_owned(),
            json!(["get"]),
        ),
    ];
    let all = overlay("production");
    for (kind, name, place, value) in bad {
        let mut document = one(&all, kind, name).clone();
        put(&mut document, &place, value);
        for version in VERSIONS {
            let (is_taken, said) = validated(&[document.clone()], version, "bad");
            assert!(!is_taken, "{kind} with {place} on {version}: {said}");
        }
    }
}

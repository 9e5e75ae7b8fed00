//! Kubernetes, Knative Serving, its ingress and its settings.

use serde_json::json;

use super::cluster::{Cluster, KOURIER, NODES, SERVING, SETTINGS, list, version};

#[tokio::test]
async fn versions_that_are_too_old_are_doubtful() {
    let mut cluster = Cluster::well();
    cluster.has("/version", version("v1.31.9"));
    cluster
        .complains("doubtful kubernetes: v1.31.9 is older than 1.32")
        .await;
    let mut cluster = Cluster::well();
    let label = "/items/2/metadata/labels/app.kubernetes.io~1version";
    let controller = cluster.0.get_mut(SERVING).unwrap().1.pointer_mut(label);
    *controller.expect("it has a version") = json!("1.19.7");
    cluster
        .complains("doubtful knative serving: 1.19.7 is older than 1.20")
        .await;
}

#[tokio::test]
async fn a_cluster_without_knative_is_bad() {
    let mut cluster = Cluster::well();
    cluster.has(SERVING, list([])).refuses(NODES, 404);
    for name in ["autoscaler", "defaults", "features", "network"] {
        cluster.refuses(&format!("{SETTINGS}/config-{name}"), 404);
    }
    let complaints = cluster.complaints().await;
    let expected = [
        "bad knative serving: is not installed",
        "bad ingress: config-network does not exist",
        "bad config-autoscaler: does not exist",
        "bad config-defaults: does not exist",
        "bad config-features: does not exist",
        "bad nodes: this cluster knows no Knative Services",
    ];
    assert_eq!(complaints.len(), expected.len(), "{complaints:#?}");
    for (complaint, expected) in complaints.iter().zip(expected) {
        assert!(complaint.starts_with(expected), "{complaint}");
    }
}

#[tokio::test]
async fn parts_of_knative_that_do_not_run_are_bad() {
    let mut cluster = Cluster::well();
    let condition =
        json!([{ "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable" }]);
    cluster.change(SERVING, "/items/0/status/conditions", condition.clone());
    cluster
        .complains("bad knative serving: activator is not available: Minimum")
        .await;
    let mut cluster = Cluster::well();
    cluster.change(KOURIER, "/items/0/status/conditions", condition);
    cluster
        .complains("bad ingress: 3scale-kourier-gateway is not available")
        .await;
}

#[tokio::test]
async fn the_ingress_has_to_be_chosen_and_there() {
    let network = &format!("{SETTINGS}/config-network");
    let mut cluster = Cluster::well();
    cluster.change(network, "/data", json!({}));
    cluster.complains("bad ingress: none is chosen").await;
    cluster.change(network, "/data", json!({ "ingress-class": "istio" }));
    cluster.complains("doubtful ingress: is istio").await;
    let mut cluster = Cluster::well();
    cluster.has(KOURIER, list([]));
    cluster
        .complains("bad ingress: Kourier is chosen and not installed")
        .await;
}

#[tokio::test]
async fn settings_in_the_way_of_nodes_are_told_of() {
    let autoscaler = &format!("{SETTINGS}/config-autoscaler");
    let mut cluster = Cluster::well();
    cluster.change(
        autoscaler,
        "/data",
        json!({ "enable-scale-to-zero": "false" }),
    );
    cluster
        .complains("doubtful config-autoscaler: nodes never sleep")
        .await;
    let hpa = json!({ "pod-autoscaler-class": "hpa.autoscaling.knative.dev" });
    cluster.change(autoscaler, "/data", hpa);
    cluster
        .complains("bad config-autoscaler: pods are scaled by hpa")
        .await;
    let many = json!({ "container-concurrency-target-default": "1000" });
    cluster.change(autoscaler, "/data", many);
    cluster
        .complains("bad config-autoscaler: the activator does not stand before a pod")
        .await;

    let mut cluster = Cluster::well();
    let short = json!({ "max-revision-timeout-seconds": "300" });
    cluster.change(&format!("{SETTINGS}/config-defaults"), "/data", short);
    cluster
        .complains("bad config-defaults: a request may take 300 s, and nodes ask for 600 s")
        .await;
}

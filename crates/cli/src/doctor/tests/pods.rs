//! What keeps the pods of nodes and proxy from running.

use serde_json::{Value, json};

use super::{
    super::{Level, check, sum_up},
    cluster::{Cluster, EVENTS, NODES, PODS, PROXY, container, list, node, pod, waiting},
};

const NODE_3: &str = "/items/3/status/conditions";

/// An event of the pod of node 3.
fn event(time: &str, reason: &str, message: &str) -> Value {
    json!({
        "metadata": { "name": format!("event-{time}") },
        "involvedObject": { "kind": "Pod", "name": "infinicache-node-3-00002-deployment-abc" },
        "type": "Warning",
        "lastTimestamp": time,
        "reason": reason,
        "message": message,
    })
}

#[tokio::test]
async fn a_node_that_is_not_ready_for_no_reason_is_still_coming_up() {
    let mut cluster = Cluster::well();
    let unknown = json!([{ "type": "Ready", "status": "Unknown" }]);
    cluster.change(NODES, NODE_3, unknown);
    let (facts, _) = cluster.examined(false).await;
    let found: Vec<_> = check(&facts).into_iter().map(|it| it.found).collect();
    assert!(found.contains(&"is still coming up".into()), "{found:?}");
    // The conditions of which that is made may know why.
    let unknown = json!([
        { "type": "ConfigurationsReady", "status": "Unknown", "reason": "Deploying" },
        { "type": "Ready", "status": "Unknown" },
        { "type": "RoutesReady", "status": "True" },
    ]);
    cluster.change(NODES, NODE_3, unknown);
    cluster
        .complains("doubtful node infinicache-node-3: is still coming up: Deploying")
        .await;
    cluster.change(NODES, NODE_3, json!([]));
    cluster
        .complains("doubtful node infinicache-node-3: is still coming up: no controller has")
        .await;
}

#[tokio::test]
async fn what_keeps_the_pod_of_a_node_from_running_is_told() {
    let killed = json!({ "terminated": { "reason": "OOMKilled", "exitCode": 137 } });
    let failed = json!({ "terminated": { "reason": "Error", "exitCode": 2 } });
    let crashing = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    let crashed = |last: &Value| {
        let state = crashing.clone();
        container(json!({ "state": state, "lastState": last, "restartCount": 7 }))
    };
    for (status, expected) in [
        (
            waiting("ErrImagePull", "9: not found"),
            "bad: dev.local/infinicache-node:9 cannot be pulled (ErrImagePull): 9: not found",
        ),
        (
            waiting(
                "ImagePullBackOff",
                "Back-off pulling image \"x\": ErrImagePull: 9: not found",
            ),
            "bad: dev.local/infinicache-node:9 cannot be pulled (ErrImagePull): 9: not found",
        ),
        (
            waiting(
                "CreateContainerConfigError",
                "couldn't find key k in Secret",
            ),
            "bad: node: CreateContainerConfigError: couldn't find key k in Secret",
        ),
        (
            waiting("ContainerCreating", ""),
            "bad: FailedMount: secret \"infinicache\" not found",
        ),
        (
            json!({ "phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/2 nodes are available: 2 Insufficient memory.",
            }] }),
            "bad: no host takes its pod: 0/2 nodes are available: 2 Insufficient memory.",
        ),
        (
            crashed(&failed),
            "bad: node ends with status 2 at once (CrashLoopBackOff)",
        ),
        (
            crashed(&killed),
            "bad: node was killed for want of memory (OOMKilled), 7 restarts",
        ),
        (
            container(
                json!({ "state": { "running": {} }, "lastState": killed, "restartCount": 1 }),
            ),
            "doubtful: node was killed for want of memory (OOMKilled), 1 restarts",
        ),
    ] {
        let mut cluster = Cluster::well();
        // Whether the Service knows it already or not.
        cluster.change(
            NODES,
            NODE_3,
            json!([{ "type": "Ready", "status": "Unknown" }]),
        );
        cluster.has(PODS, list([pod(3, status)]));
        let events = [
            event(
                "2026-01-01T00:00:09Z",
                "FailedMount",
                "secret \"infinicache\" not found",
            ),
            event("2026-01-01T00:00:08Z", "FailedMount", "timed out"),
            event(
                "2026-01-01T00:00:10Z",
                "Unhealthy",
                "Readiness probe failed",
            ),
        ];
        cluster.has(EVENTS, list(events));
        let (level, found) = expected.split_once(": ").unwrap();
        let expected = format!("{level} node infinicache-node-3: {found}");
        assert_eq!(cluster.complaints().await, [expected]);
    }
}

#[tokio::test]
async fn a_pod_that_is_being_started_or_is_about_to_go_is_no_trouble() {
    let mut cluster = Cluster::well();
    let mut going = pod(4, waiting("ImagePullBackOff", "no"));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let evicted = pod(5, json!({ "phase": "Failed", "reason": "Evicted" }));
    let starting = pod(3, waiting("ContainerCreating", ""));
    let running = pod(
        6,
        container(json!({ "state": { "running": {} }, "lastState": {} })),
    );
    cluster.has(PODS, list([starting, going, evicted, running]));
    assert_eq!(cluster.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_fourteen_nodes_lack_is_said_once() {
    let mut cluster = Cluster::well();
    cluster.has(
        PODS,
        list((0..14).map(|it| pod(it, waiting("ErrImagePull", "no such tag")))),
    );
    let nodes = (0..14).map(|index| {
        let mut node = node(index);
        node["status"]["conditions"] = json!([{ "type": "Ready", "status": "Unknown" }]);
        node
    });
    cluster.has(NODES, list(nodes));
    let (facts, _) = cluster.examined(false).await;
    let bad: Vec<_> = sum_up(check(&facts))
        .into_iter()
        .filter(|it| it.level == Level::Bad)
        .map(|it| format!("{}: {}", it.subject, it.found))
        .collect();
    let expected = "node infinicache-node-[0-13]: dev.local/infinicache-node:9 cannot be pulled \
                    (ErrImagePull): no such tag";
    assert_eq!(bad, [expected]);
}

#[tokio::test]
async fn why_the_proxy_is_not_available_is_told() {
    let mut cluster = Cluster::well();
    let unavailable = json!({
        "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
    });
    cluster.change(PROXY, "/status/conditions", json!([unavailable]));
    cluster
        .complains("bad proxy: is not available: MinimumReplicasUnavailable")
        .await;
    let refused = json!({
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"infinicache-1\" is forbidden: exceeded quota",
    });
    cluster.change(PROXY, "/status/conditions", json!([unavailable, refused]));
    cluster
        .complains("bad proxy: its pod is not created: FailedCreate pods")
        .await;
    let mut proxy = pod(0, waiting("CreateContainerConfigError", "no ConfigMap"));
    proxy["metadata"]["labels"] = json!({ "app.kubernetes.io/component": "proxy" });
    cluster.has(PODS, list([proxy]));
    cluster
        .complains("bad proxy: node: CreateContainerConfigError: no ConfigMap")
        .await;
}

#[tokio::test]
async fn pods_that_are_not_visible_are_unknown_and_leave_what_services_say() {
    let mut cluster = Cluster::well();
    cluster.refuses(PODS, 403).refuses(EVENTS, 403);
    let expected = ["pods", "events"].map(|it| format!("unknown {it}: not visible from here"));
    assert_eq!(cluster.complaints().await, expected);
}

//! The proxy, and its nodes.

use serde_json::json;

use super::{
    super::*,
    cluster::{CONFIGURATION, Cluster, NODE_SERVICE, NODES, PROXY, list, node},
};

#[tokio::test]
async fn there_is_one_proxy_and_nodes_can_dial_it_before_it_is_ready() {
    let mut cluster = Cluster::well();
    cluster.change(PROXY, "/spec/replicas", json!(2));
    cluster.complains("bad proxy: 2 replicas").await;
    let mut cluster = Cluster::well();
    cluster.change(PROXY, "/spec/strategy/type", json!("RollingUpdate"));
    cluster
        .complains("doubtful proxy: a new one is started before")
        .await;
    let mut cluster = Cluster::well();
    cluster.change(PROXY, "/status/conditions", json!([]));
    cluster.complains("bad proxy: is not available").await;
    let mut cluster = Cluster::well();
    cluster.change(NODE_SERVICE, "/spec/publishNotReadyAddresses", json!(false));
    cluster
        .complains("bad service that nodes dial: leads to the proxy only once")
        .await;
}

#[tokio::test]
async fn too_few_nodes_are_told_of() {
    let mut cluster = Cluster::well();
    cluster.has(NODES, list((0..2).map(node)));
    cluster.complains("bad nodes: 2 found, 3 needed").await;
    cluster.has(NODES, list((0..5).map(node)));
    cluster
        .complains("doubtful nodes: 5 found: the code 10+2 needs 12")
        .await;
}

#[tokio::test]
async fn each_node_is_looked_at() {
    let template = "/items/3/spec/template";
    let annotation =
        |name| format!("{template}/metadata/annotations/autoscaling.knative.dev~1{name}");
    for (pointer, value, expected) in [
        (
            annotation("max-scale"),
            json!("3"),
            "bad node infinicache-node-3: may have several pods",
        ),
        (
            annotation("min-scale"),
            json!("1"),
            "doubtful node infinicache-node-3: never sleeps",
        ),
        (
            format!("{template}/spec/timeoutSeconds"),
            json!(45),
            "bad node infinicache-node-3: has 45 s to be emptied, of which the platform takes 30 s",
        ),
        (
            format!("{template}/spec/containerConcurrency"),
            json!(1),
            "bad node infinicache-node-3: limits its requests",
        ),
        (
            "/items/3/status/conditions".into(),
            json!([{ "type": "Ready", "status": "False", "reason": "RevisionMissing", "message": "why" }]),
            "bad node infinicache-node-3: is not ready: RevisionMissing why",
        ),
        (
            "/items/3/metadata/labels".into(),
            json!({}),
            "doubtful node infinicache-node-3: can be reached from outside",
        ),
    ] {
        let mut cluster = Cluster::well();
        let nodes = &mut cluster.0.get_mut(NODES).unwrap().1;
        *nodes.pointer_mut(&pointer).expect(&pointer) = value;
        cluster.complains(expected).await;
    }
}

#[tokio::test]
async fn each_way_in_which_a_wake_goes_is_told_of() {
    let (mut facts, _) = Cluster::well().examined(false).await;
    let seen = [
        ("a", WakeSeen::AsksForProof),
        ("b", WakeSeen::Answered(200, "hello".into())),
        ("c", WakeSeen::Answered(503, "no healthy upstream".into())),
        ("d", WakeSeen::Unreachable("connection refused".into())),
    ];
    facts.wakes = seen.map(|(node, seen)| (node.into(), seen)).into();
    let findings = check(&facts).into_iter();
    let of_wakes: Vec<_> = findings
        .filter(|it| it.subject.starts_with("wake of"))
        .map(|it| (it.level, it.found))
        .collect();
    let levels = [Level::Good, Level::Bad, Level::Bad, Level::Bad];
    assert_eq!(
        of_wakes.iter().map(|(level, _)| *level).collect::<Vec<_>>(),
        levels
    );
    assert_eq!(of_wakes[2].1, "was answered with 503: no healthy upstream");
}

#[tokio::test]
async fn nodes_that_go_before_the_proxy_wakes_them_again_are_bad() {
    let mut cluster = Cluster::well();
    let window = "/data/INFINICACHE_NODE_IDLE_WINDOW";
    cluster.change(CONFIGURATION, window, json!("90s"));
    cluster
        .complains("bad how long nodes are kept: 60s, and the proxy takes them to be kept for 90s")
        .await;
    let retention = "autoscaling.knative.dev/scale-to-zero-pod-retention-period";
    let nodes = (0..14).map(|index| {
        let mut node = node(index);
        node["spec"]["template"]["metadata"]["annotations"][retention] = json!("600s");
        node
    });
    cluster.has(NODES, list(nodes));
    assert_eq!(cluster.complaints().await, Vec::<String>::new());
    cluster.refuses(CONFIGURATION, 404);
    cluster
        .complains("unknown how long nodes are kept: the proxy's ConfigMap does not exist")
        .await;
}

//! Access: rights, the Secret, network policies, and the identity of the caller.

use serde_json::json;

use super::{
    super::{Level, check, sum_up},
    cluster::{Cluster, KOURIER, NODE_SERVICE, POLICIES, REVIEWS, SECRET, SERVING, SETTINGS, list},
};

#[tokio::test]
async fn the_rights_of_the_proxy_are_asked_about_from_outside_and_from_inside() {
    let (facts, reviews) = Cluster::well().examined(false).await;
    assert_eq!(reviews.len(), 6);
    assert_eq!(facts.rights.len(), 6);
    let user = "system:serviceaccount:cache:infinicache-proxy";
    for review in &reviews {
        assert_eq!(review["kind"], "LocalSubjectAccessReview");
        assert_eq!(review["metadata"]["namespace"], "cache");
        assert_eq!(review["spec"]["user"], user);
    }
    let asked = &reviews[2]["spec"]["resourceAttributes"];
    let expected = json!({
        "namespace": "cache", "group": "serving.knative.dev", "resource": "services", "verb": "watch",
    });
    assert_eq!(*asked, expected);

    let (_, inside) = Cluster::well().examined(true).await;
    assert_eq!(inside, reviews);
}

#[tokio::test]
async fn a_secret_that_is_missing_short_or_half_rotated_is_told_of_and_never_shown() {
    let mut cluster = Cluster::well();
    cluster.refuses(SECRET, 404);
    cluster
        .complains("bad secret infinicache: does not exist")
        .await;
    let mut cluster = Cluster::well();
    cluster.change(SECRET, "/data/pool-secret", json!("c2hvcnQK"));
    cluster
        .complains("bad secret infinicache: pool-secret: secret of 5 bytes, at least 16 needed")
        .await;
    cluster.change(SECRET, "/data", json!({ "password": "aHVudGVyMg==" }));
    cluster
        .complains("bad secret infinicache: has no key pool-secret")
        .await;

    let mut cluster = Cluster::well();
    cluster.change(SECRET, "/data/pool-secret-previous", json!("b2xk"));
    cluster
        .complains("bad secret infinicache: pool-secret-previous: secret of 3 bytes")
        .await;
    let previous = json!("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    cluster.change(SECRET, "/data/pool-secret-previous", previous);
    cluster
        .complains("doubtful secret infinicache: the secret is being rotated")
        .await;
    let mut cluster = Cluster::well();
    cluster.change(SECRET, "/data/password", json!("Cg=="));
    cluster
        .complains("bad secret infinicache: the password is empty")
        .await;
}

#[tokio::test]
async fn a_proxy_that_may_not_watch_is_bad() {
    let mut cluster = Cluster::well();
    cluster.change(REVIEWS, "/status/allowed", json!(false));
    let complaints = cluster.complaints().await;
    assert_eq!(complaints.len(), 6, "{complaints:#?}");
    assert_eq!(
        complaints[2],
        "bad rights of the proxy: it may not watch services.serving.knative.dev"
    );
}

#[tokio::test]
async fn what_the_asker_may_not_see_is_unknown_and_not_bad() {
    let mut cluster = Cluster::well();
    for path in [SECRET, REVIEWS, POLICIES] {
        cluster.refuses(path, 403);
    }
    let complaints = cluster.complaints().await;
    let expected = [
        "secret infinicache",
        "rights of the proxy",
        "network policies",
    ];
    let expected = expected.map(|subject| format!("unknown {subject}: not visible from here"));
    assert_eq!(complaints, expected);
    let mut cluster = Cluster::well();
    cluster.refuses(NODE_SERVICE, 500);
    cluster
        .complains("unknown service that nodes dial: cannot be asked for: 500 no")
        .await;
}

#[tokio::test]
async fn what_a_pod_of_the_namespace_may_not_see_is_one_line_and_no_doubt() {
    let mut cluster = Cluster::well();
    let hidden = ["autoscaler", "defaults", "features", "network"];
    let hidden = hidden.map(|name| format!("{SETTINGS}/config-{name}"));
    for path in hidden
        .iter()
        .map(String::as_str)
        .chain([SERVING, KOURIER, SECRET])
    {
        cluster.refuses(path, 403);
    }
    let (facts, _) = cluster.examined(true).await;
    let findings = sum_up(check(&facts));
    let told = findings.iter().filter(|it| it.level != Level::Good);
    let told: Vec<_> = told
        .map(|it| (it.level, &*it.subject, &*it.found))
        .collect();
    let subjects = "knative serving, ingress, config-autoscaler, config-defaults, \
                    config-features, secret infinicache";
    let expected = [
        (Level::Unknown, subjects, "not visible from here"),
        (
            Level::Unknown,
            "wakes",
            "not tried for 14 nodes: that was asked for",
        ),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn pods_that_no_policy_protects_are_doubtful() {
    let mut cluster = Cluster::well();
    cluster.change(POLICIES, "/items/1/spec/policyTypes", json!(["Egress"]));
    cluster
        .complains("doubtful network policies: anybody may connect to: node")
        .await;
    cluster.has(POLICIES, list([]));
    cluster
        .complains("doubtful network policies: anybody may connect to: proxy, node")
        .await;
}

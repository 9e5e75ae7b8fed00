//! The doctor against an API server that is a test, cluster by cluster.
//!
//! Each test begins with a cluster in which all is well, and breaks one thing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time;
use tower_test::mock;

use super::*;

const SERVING: &str = "/apis/apps/v1/namespaces/knative-serving/deployments";
const KOURIER: &str = "/apis/apps/v1/namespaces/kourier-system/deployments";
const SETTINGS: &str = "/api/v1/namespaces/knative-serving/configmaps";
const SECRET: &str = "/api/v1/namespaces/cache/secrets/infinicache";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/cache/networkpolicies";
const PROXY: &str = "/apis/apps/v1/namespaces/cache/deployments/infinicache";
const DOOR: &str = "/api/v1/namespaces/cache/services/infinicache-nodes";
const NODES: &str = "/apis/serving.knative.dev/v1/namespaces/cache/services";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const OWN_REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What an API server answers, by path.
struct Cluster(BTreeMap<String, (StatusCode, Value)>);

impl Cluster {
    /// One in which all is well.
    fn well() -> Self {
        let deployment = |name: &str, version: &str| {
            json!({
                "metadata": { "name": name, "labels": { "app.kubernetes.io/version": version } },
                "status": { "conditions": [{ "type": "Available", "status": "True" }] },
            })
        };
        let serving = ["activator", "autoscaler", "controller", "webhook"];
        let map = |data: Value| json!({ "metadata": { "name": "map" }, "data": data });
        let kourier = "kourier.ingress.networking.knative.dev";
        let policy = |component: &str| {
            json!({
                "metadata": { "name": format!("infinicache-{component}") },
                "spec": {
                    "podSelector": { "matchLabels": {
                        "app.kubernetes.io/part-of": "infinicache",
                        "app.kubernetes.io/component": component,
                    } },
                    "policyTypes": ["Ingress", "Egress"],
                },
            })
        };
        let mut proxy = deployment("infinicache", "0.1.0");
        proxy["spec"] = json!({
            "replicas": 1,
            "strategy": { "type": "Recreate" },
            "template": { "spec": { "serviceAccountName": "infinicache-proxy" } },
        });
        let mut cluster = Self(BTreeMap::new());
        cluster.has("/version", version("v1.32.1"));
        cluster.has(
            SERVING,
            list(serving.map(|name| deployment(name, "1.20.3"))),
        );
        cluster.has(
            KOURIER,
            list([deployment("3scale-kourier-gateway", "1.20.0")]),
        );
        cluster.has(&format!("{SETTINGS}/config-autoscaler"), map(json!({})));
        cluster.has(
            &format!("{SETTINGS}/config-defaults"),
            map(json!({ "_example": "..." })),
        );
        cluster.has(
            &format!("{SETTINGS}/config-features"),
            json!({ "metadata": {} }),
        );
        let network = map(json!({ "ingress-class": kourier }));
        cluster.has(&format!("{SETTINGS}/config-network"), network);
        // 32 bytes, and "hunter2".
        let secret = json!({
            "pool-secret": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            "password": "aHVudGVyMg==",
        });
        cluster.has(SECRET, map(secret));
        cluster.has(POLICIES, list(["proxy", "node"].map(policy)));
        cluster.has(PROXY, proxy);
        let door = json!({ "metadata": {}, "spec": { "publishNotReadyAddresses": true } });
        cluster.has(DOOR, door);
        cluster.has(NODES, list((0..14).map(node)));
        for reviews in [REVIEWS, OWN_REVIEWS] {
            cluster.has(
                reviews,
                json!({ "metadata": {}, "status": { "allowed": true } }),
            );
        }
        cluster
    }

    fn has(&mut self, path: &str, document: Value) -> &mut Self {
        self.0.insert(path.into(), (StatusCode::OK, document));
        self
    }

    fn refuses(&mut self, path: &str, code: u16) -> &mut Self {
        let status = StatusCode::from_u16(code).unwrap();
        let document =
            json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" });
        self.0.insert(path.into(), (status, document));
        self
    }

    fn change(&mut self, path: &str, pointer: &str, value: Value) -> &mut Self {
        let (_, document) = self.0.get_mut(path).expect("a path that is there");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).expect("a parent")[key] = value;
        self
    }

    /// Has the doctor look at it, who must ask for all that is there, and for nothing else.
    async fn examined(&self, inside: bool) -> (Facts, Vec<Value>) {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
        let client = Client::new(service, "default");
        let place = Place {
            namespace: "cache".into(),
            selector: "infinicache.io/pool=default".into(),
            name: "infinicache".into(),
            inside,
            wakes: false,
        };
        let answers = self.0.clone();
        let serving = tokio::spawn(async move {
            let (mut asked, mut reviews) = (BTreeSet::new(), Vec::new());
            while let Some((request, answer)) = handle.next_request().await {
                let path = request.uri().path().to_owned();
                let (status, document) = answers.get(&path).expect(&path);
                if request.method() == Method::POST {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    reviews.push(serde_json::from_slice::<Value>(&body).unwrap());
                } else {
                    assert_eq!(request.method(), Method::GET, "it only looks");
                }
                asked.insert(path);
                let response = Response::builder().status(*status);
                let body = Full::from(document.to_string());
                answer.send_response(response.body(body).unwrap());
            }
            (asked, reviews)
        });
        let facts = examine(&client, &place).await;
        drop(client);
        let served = time::timeout(Duration::from_secs(30), serving).await;
        let (asked, reviews) = served.expect("nobody asks any more").unwrap();
        let other = if inside { REVIEWS } else { OWN_REVIEWS };
        let expected: BTreeSet<String> = self.0.keys().filter(|it| *it != other).cloned().collect();
        assert_eq!(asked, expected);
        (facts, reviews)
    }

    /// What is not good, as `level subject: finding`.
    async fn complaints(&self) -> Vec<String> {
        let (facts, _) = self.examined(false).await;
        let findings = check(&facts);
        for finding in &findings {
            let is_good = finding.level == Level::Good;
            assert_eq!(finding.advice.is_empty(), is_good, "{finding:?}");
        }
        let text = serde_json::to_string(&findings).unwrap();
        for secret in ["0123456789abcdef", "MDEyMzQ1", "hunter2", "aHVudGVyMg"] {
            assert!(!text.contains(secret), "{text}");
        }
        let told = findings.into_iter().filter(|it| it.level != Level::Good);
        told.map(|it| format!("{} {}: {}", it.level.as_str(), it.subject, it.found))
            // It is said in each of these tests.
            .filter(|line| !line.starts_with("unknown wakes: not tried for"))
            .collect()
    }

    /// Its one complaint begins like that.
    async fn complains(&self, expected: &str) {
        let complaints = self.complaints().await;
        let is_so = complaints.len() == 1 && complaints[0].starts_with(expected);
        assert!(is_so, "{complaints:#?}, expected {expected:?}");
    }
}

fn version(version: &str) -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": version, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    })
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
}

fn node(index: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("infinicache-node-{index}"),
            "labels": { "networking.knative.dev/visibility": "cluster-local" },
        },
        "spec": { "template": {
            "metadata": { "annotations": {
                "autoscaling.knative.dev/min-scale": "0",
                "autoscaling.knative.dev/max-scale": "1",
            } },
            "spec": { "containerConcurrency": 0, "timeoutSeconds": 600 },
        } },
        "status": {
            "address": { "url": format!("http://infinicache-node-{index}.cache.svc.cluster.local") },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

#[tokio::test]
async fn a_cluster_in_which_all_is_well_has_no_complaints() {
    assert_eq!(Cluster::well().complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_rights_of_the_proxy_are_asked_about_from_outside_and_its_own_from_inside() {
    let (facts, reviews) = Cluster::well().examined(false).await;
    assert_eq!(reviews.len(), 6);
    assert_eq!(facts.rights.len(), 6);
    let user = "system:serviceaccount:cache:infinicache-proxy";
    assert!(
        reviews.iter().all(|review| review["spec"]["user"] == user),
        "{reviews:?}"
    );
    let asked = &reviews[2]["spec"]["resourceAttributes"];
    let expected = json!({
        "namespace": "cache", "group": "serving.knative.dev", "resource": "services", "verb": "watch",
    });
    assert_eq!(*asked, expected);

    let (_, reviews) = Cluster::well().examined(true).await;
    assert!(
        reviews
            .iter()
            .all(|review| review["kind"] == "SelfSubjectAccessReview")
    );
    assert!(
        reviews
            .iter()
            .all(|review| review["spec"].get("user").is_none())
    );
}

#[tokio::test]
async fn versions_that_are_too_old_are_doubtful() {
    let mut cluster = Cluster::well();
    cluster.has("/version", version("v1.27.9"));
    cluster
        .complains("doubtful kubernetes: v1.27.9 is older than 1.31")
        .await;
    let mut cluster = Cluster::well();
    let label = "/items/2/metadata/labels/app.kubernetes.io~1version";
    let controller = cluster.0.get_mut(SERVING).unwrap().1.pointer_mut(label);
    *controller.expect("it has a version") = json!("1.12.0");
    cluster
        .complains("doubtful knative serving: 1.12.0 is older than 1.19")
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

    let mut cluster = Cluster::well();
    let short = json!({ "max-revision-timeout-seconds": "300" });
    cluster.change(&format!("{SETTINGS}/config-defaults"), "/data", short);
    cluster
        .complains("bad config-defaults: a request may take 300 s, and nodes ask for 600 s")
        .await;
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
    let expected = expected.map(|subject| format!("unknown {subject}: may not be seen by you"));
    assert_eq!(complaints, expected);
    let mut cluster = Cluster::well();
    cluster.refuses(DOOR, 500);
    cluster
        .complains("unknown service that nodes dial: cannot be asked for: 500 no")
        .await;
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
    cluster.change(DOOR, "/spec/publishNotReadyAddresses", json!(false));
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

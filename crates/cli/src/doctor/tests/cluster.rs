//! A cluster for the doctor to look at: an API server that is a test.

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

use super::super::*;

pub(super) const SERVING: &str = "/apis/apps/v1/namespaces/knative-serving/deployments";
pub(super) const KOURIER: &str = "/apis/apps/v1/namespaces/kourier-system/deployments";
pub(super) const SETTINGS: &str = "/api/v1/namespaces/knative-serving/configmaps";
pub(super) const SECRET: &str = "/api/v1/namespaces/cache/secrets/infinicache";
pub(super) const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/cache/networkpolicies";
pub(super) const PROXY: &str = "/apis/apps/v1/namespaces/cache/deployments/infinicache";
pub(super) const CONFIGURATION: &str = "/api/v1/namespaces/cache/configmaps/infinicache";
pub(super) const NODE_SERVICE: &str = "/api/v1/namespaces/cache/services/infinicache-nodes";
pub(super) const NODES: &str = "/apis/serving.knative.dev/v1/namespaces/cache/services";
pub(super) const PODS: &str = "/api/v1/namespaces/cache/pods";
pub(super) const EVENTS: &str = "/api/v1/namespaces/cache/events";
pub(super) const REVIEWS: &str =
    "/apis/authorization.k8s.io/v1/namespaces/cache/localsubjectaccessreviews";

/// What an API server answers, by path.
pub(super) struct Cluster(pub(super) BTreeMap<String, (StatusCode, Value)>);

impl Cluster {
    /// One in which all is well.
    pub(super) fn well() -> Self {
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
        let node_service = json!({ "metadata": {}, "spec": { "publishNotReadyAddresses": true } });
        cluster.has(NODE_SERVICE, node_service);
        let window = json!({ "INFINICACHE_NODE_IDLE_WINDOW": "60s" });
        cluster.has(CONFIGURATION, map(window));
        cluster.has(NODES, list((0..14).map(node)));
        cluster.has(PODS, list([]));
        cluster.has(EVENTS, list([]));
        let allowed = json!({ "metadata": {}, "status": { "allowed": true } });
        cluster.has(REVIEWS, allowed);
        cluster
    }

    pub(super) fn has(&mut self, path: &str, document: Value) -> &mut Self {
        self.0.insert(path.into(), (StatusCode::OK, document));
        self
    }

    pub(super) fn refuses(&mut self, path: &str, code: u16) -> &mut Self {
        let status = StatusCode::from_u16(code).unwrap();
        let document =
            json!({ "kind": "Status", "status": "Failure", "code": code, "message": "no" });
        self.0.insert(path.into(), (status, document));
        self
    }

    pub(super) fn change(&mut self, path: &str, pointer: &str, value: Value) -> &mut Self {
        let (_, document) = self.0.get_mut(path).expect("a path that is there");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).expect("a parent")[key] = value;
        self
    }

    /// Has the doctor look at it, who must ask for all that is there, and for nothing else.
    pub(super) async fn examined(&self, inside: bool) -> (Facts, Vec<Value>) {
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
        let expected: BTreeSet<String> = self.0.keys().cloned().collect();
        assert_eq!(asked, expected);
        (facts, reviews)
    }

    /// What is not good, as `level subject: finding`.
    pub(super) async fn complaints(&self) -> Vec<String> {
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
    pub(super) async fn complains(&self, expected: &str) {
        let complaints = self.complaints().await;
        let is_so = complaints.len() == 1 && complaints[0].starts_with(expected);
        assert!(is_so, "{complaints:#?}, expected {expected:?}");
    }
}

pub(super) fn version(version: &str) -> Value {
    json!({
        "major": "1", "minor": "32", "gitVersion": version, "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    })
}

pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.into_iter().collect();
    json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
}

pub(super) fn node(index: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("infinicache-node-{index}"),
            "labels": { "networking.knative.dev/visibility": "cluster-local" },
        },
        "spec": { "template": {
            "metadata": { "annotations": {
                "autoscaling.knative.dev/min-scale": "0",
                "autoscaling.knative.dev/max-scale": "1",
                "autoscaling.knative.dev/window": "60s",
            } },
            "spec": { "containerConcurrency": 0, "timeoutSeconds": 600 },
        } },
        "status": {
            "address": { "url": format!("http://infinicache-node-{index}.cache.svc.cluster.local") },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

/// The pod of a node, of whose status this is so.
pub(super) fn pod(index: usize, status: Value) -> Value {
    json!({
        "metadata": {
            "name": format!("infinicache-node-{index}-00002-deployment-abc"),
            "labels": {
                "app.kubernetes.io/component": "node",
                "serving.knative.dev/service": format!("infinicache-node-{index}"),
            },
        },
        "status": status,
    })
}

/// The status of a pod whose one container has this one.
pub(super) fn container(status: Value) -> Value {
    let mut status = status;
    status["name"] = json!("node");
    status["image"] = json!("dev.local/infinicache-node:9");
    json!({ "phase": "Pending", "containerStatuses": [status] })
}

/// The status of a pod whose one container waits.
pub(super) fn waiting(reason: &str, message: &str) -> Value {
    container(json!({ "state": { "waiting": { "reason": reason, "message": message } } }))
}

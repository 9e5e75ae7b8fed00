//! The watcher against an API server that is a test.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time};
use tower_test::mock::{self, SendResponse};

use super::*;

/// What is answered: a document, or events that come one by one.
type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Of a paused clock, which goes as fast as nobody does anything: none of it passes for real.
const PATIENCE: Duration = Duration::from_mins(10);

const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/infinicache/services";
const PODS: &str = "/api/v1/namespaces/infinicache/pods";

/// An API server, and the watcher that talks to it.
struct Server {
    handle: mock::Handle<Request<Body>, Answer>,
    /// Calls about what is not asked for yet.
    waiting: VecDeque<Call>,
    told: mpsc::UnboundedReceiver<Observation>,
    failures: Arc<Mutex<Vec<&'static str>>>,
    watching: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A call that is to be answered.
struct Call {
    path: String,
    query: String,
    answer: SendResponse<Answer>,
}

/// A watch that is open.
struct Watch(mpsc::UnboundedSender<io::Result<Frame<Bytes>>>);

impl Server {
    fn start() -> Self {
        let (service, handle) = mock::pair::<Request<Body>, Answer>();
        let watched = Watched {
            client: Client::new(service, "default"),
            namespace: "infinicache".into(),
            selector: "infinicache.io/pool=default".into(),
        };
        let (tell, told) = mpsc::unbounded_channel();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let counted = failures.clone();
        let failed = move |reason| counted.lock().unwrap().push(reason);
        let watching = watched.run(failed, move |seen| {
            let _ = tell.send(seen);
        });
        Self {
            handle,
            waiting: VecDeque::new(),
            told,
            failures,
            watching: tokio::spawn(watching),
        }
    }

    /// The next call about `path`, which has to come.
    async fn call(&mut self, path: &str) -> Call {
        if let Some(index) = self.waiting.iter().position(|call| call.path == path) {
            return self.waiting.remove(index).unwrap();
        }
        let next = async {
            loop {
                let (request, answer) = self.handle.next_request().await.expect("it goes on");
                let call = Call {
                    path: request.uri().path().to_owned(),
                    query: request.uri().query().unwrap_or_default().to_owned(),
                    answer,
                };
                if call.path == path {
                    return call;
                }
                self.waiting.push_back(call);
            }
        };
        let call = time::timeout(PATIENCE, next).await;
        call.unwrap_or_else(|_| panic!("nobody called {path}"))
    }

    /// Answers the list that has to be asked for, and the watch after it.
    async fn listed(&mut self, path: &str, version: &str, items: Vec<Value>) -> Watch {
        let list = self.call(path).await;
        assert!(!list.is_watch(), "{}", list.query);
        list.answer(&page(version, "", items));
        self.watched(path, version).await
    }

    /// Answers the watch that has to be asked for, from `version` on.
    async fn watched(&mut self, path: &str, version: &str) -> Watch {
        let watch = self.call(path).await;
        assert!(watch.is_watch(), "{}", watch.query);
        assert!(
            watch.has(&format!("resourceVersion={version}")),
            "{}",
            watch.query
        );
        watch.open()
    }

    /// What is told next, which has to be something.
    async fn told(&mut self) -> Observation {
        let told = time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("something is told").expect("it goes on")
    }

    fn names(seen: &Observation) -> Vec<&str> {
        seen.services.keys().map(String::as_str).collect()
    }

    fn counted(&self, reason: &str) -> usize {
        let failures = self.failures.lock().unwrap();
        failures.iter().filter(|it| **it == reason).count()
    }
}

impl Call {
    fn has(&self, parameter: &str) -> bool {
        self.query.split('&').any(|it| it == parameter)
    }

    fn is_watch(&self) -> bool {
        self.has("watch=true")
    }

    fn answer(self, document: &Value) {
        self.answer_with(StatusCode::OK, document.to_string());
    }

    fn answer_with(self, status: StatusCode, text: String) {
        let response = Response::builder().status(status);
        let body = Full::from(text).map_err(io::Error::other).boxed_unsync();
        let response = response.body(body).unwrap();
        self.answer.send_response(response);
    }

    fn refuse(self, code: u16, reason: &str) {
        let status = StatusCode::from_u16(code).unwrap();
        self.answer_with(status, failure(code, reason).to_string());
    }

    fn open(self) -> Watch {
        let (events, coming) = mpsc::unbounded_channel();
        let body = stream::unfold(coming, async |mut coming| {
            let next = coming.recv().await?;
            Some((next, coming))
        });
        let body = StreamBody::new(body).boxed_unsync();
        self.answer.send_response(Response::new(body));
        Watch(events)
    }
}

impl Watch {
    fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.raw(line);
    }

    fn raw(&self, text: String) {
        let frame = Frame::data(Bytes::from(text));
        self.0.send(Ok(frame)).expect("somebody watches");
    }

    fn breaks(self) {
        let error = io::Error::other("connection reset");
        self.0.send(Err(error)).expect("somebody watches");
    }
}

fn page(version: &str, next: &str, items: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "metadata": { "resourceVersion": version, "continue": next },
        "items": items,
    })
}

fn failure(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "no",
        "reason": reason,
        "code": code,
    })
}

fn ksvc(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "infinicache", "resourceVersion": version },
        "status": {
            "address": { "url": format!("http://{name}.infinicache.svc.cluster.local") },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

fn pod(name: &str, node: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "infinicache",
            "resourceVersion": version,
            "labels": { "serving.knative.dev/service": node },
        },
        "spec": { "nodeName": "host-1" },
    })
}

/// A pool of nodes `a` and `b` without pods, as it was told.
async fn two_nodes() -> (Server, Watch, Watch) {
    let mut server = Server::start();
    let pods = server.listed(PODS, "1", vec![]).await;
    let services = vec![ksvc("a", "2"), ksvc("b", "3")];
    let services = server.listed(SERVICES, "5", services).await;
    assert_eq!(Server::names(&server.told().await), ["a", "b"]);
    (server, services, pods)
}

#[tokio::test(start_paused = true)]
async fn services_with_the_label_and_pods_behind_services_are_asked_for() {
    let mut server = Server::start();
    let list = server.call(SERVICES).await;
    assert!(
        list.has("labelSelector=infinicache.io%2Fpool%3Ddefault"),
        "{}",
        list.query
    );
    let list = server.call(PODS).await;
    assert!(
        list.has("labelSelector=serving.knative.dev%2Fservice"),
        "{}",
        list.query
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_several_pages_is_told_at_once() {
    let mut server = Server::start();
    let list = server.call(SERVICES).await;
    list.answer(&page("5", "more", vec![ksvc("a", "2")]));
    let list = server.call(SERVICES).await;
    assert!(list.has("continue=more"), "{}", list.query);
    list.answer(&page("5", "", vec![ksvc("b", "3")]));
    assert_eq!(Server::names(&server.told().await), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn services_that_come_change_and_go_are_told() {
    let (mut server, services, _pods) = two_nodes().await;
    services.event("ADDED", &ksvc("c", "6"));
    assert_eq!(Server::names(&server.told().await), ["a", "b", "c"]);

    let mut moved = ksvc("c", "7");
    moved["status"]["address"]["url"] = json!("http://moved.example.com");
    services.event("MODIFIED", &moved);
    let seen = server.told().await;
    assert_eq!(seen.services["c"].url.host(), Some("moved.example.com"));

    services.event("DELETED", &ksvc("a", "8"));
    assert_eq!(Server::names(&server.told().await), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_is_told_of_while_it_still_runs() {
    let (mut server, _services, pods) = two_nodes().await;
    pods.event("ADDED", &pod("a-1", "a", "6"));
    let seen = server.told().await;
    assert_eq!(seen.pods["a-1"].site.host, "host-1");
    assert!(!seen.pods["a-1"].leaving);

    let mut deleted = pod("a-1", "a", "7");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pods.event("MODIFIED", &deleted);
    assert!(server.told().await.pods["a-1"].leaving);

    pods.event("DELETED", &deleted);
    assert!(server.told().await.pods.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_was() {
    let (mut server, services, _pods) = two_nodes().await;
    services.event("ADDED", &ksvc("c", "6"));
    server.told().await;
    drop(services);
    let services = server.watched(SERVICES, "6").await;
    services.event("ADDED", &ksvc("d", "7"));
    assert_eq!(Server::names(&server.told().await), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_is_resumed_and_takes_nobody_out() {
    let (mut server, services, _pods) = two_nodes().await;
    services.breaks();
    let services = server.watched(SERVICES, "5").await;
    assert!(server.told.is_empty());
    assert_eq!(server.counted("unreachable"), 1);
    services.event("ADDED", &ksvc("c", "6"));
    assert_eq!(Server::names(&server.told().await), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nothing_comes_from_is_taken_for_broken() {
    let (mut server, _silent, _pods) = two_nodes().await;
    server.watched(SERVICES, "5").await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_has_fallen_behind_begins_with_a_list() {
    let (mut server, services, _pods) = two_nodes().await;
    services.event("ERROR", &failure(410, "Expired"));
    let services = vec![ksvc("b", "3"), ksvc("c", "8")];
    let _services = server.listed(SERVICES, "9", services).await;
    assert_eq!(Server::names(&server.told().await), ["b", "c"]);
    assert_eq!(server.counted("gone"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_restarts_takes_nobody_out() {
    let (mut server, services, _pods) = two_nodes().await;
    services.event("ERROR", &failure(410, "Expired"));
    for _ in 0..5 {
        let list = server.call(SERVICES).await;
        list.answer
            .send_error(io::Error::other("connection refused"));
    }
    server
        .call(SERVICES)
        .await
        .refuse(503, "ServiceUnavailable");
    assert!(server.told.is_empty());
    let services = vec![ksvc("a", "2"), ksvc("b", "3")];
    let services = server.listed(SERVICES, "20", services).await;
    services.event("ADDED", &ksvc("c", "21"));
    assert_eq!(
        Server::names(&server.told().await),
        ["a", "b", "c"],
        "the same is not told twice"
    );
    assert_eq!(server.counted("unreachable"), 5);
    assert_eq!(server.counted("refused"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_is_tried_again_later_and_later() {
    let mut server = Server::start();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let asked = time::Instant::now();
        server.call(SERVICES).await.refuse(403, "Forbidden");
        waits.push(asked.elapsed());
    }
    // By the paused clock: each wait is at least half of twice the one before.
    let doubled = |wait: u32| Duration::from_millis(250) * 2u32.pow(wait);
    for (wait, failures) in waits[1..].iter().zip(0..) {
        assert!(
            *wait >= doubled(failures).min(Duration::from_secs(15)),
            "{waits:?}"
        );
    }
    let _services = server.listed(SERVICES, "5", vec![ksvc("a", "2")]).await;
    assert_eq!(Server::names(&server.told().await), ["a"]);
    assert_eq!(server.counted("forbidden"), 8);
}

#[tokio::test(start_paused = true)]
async fn without_a_right_to_see_pods_services_are_told() {
    let mut server = Server::start();
    server.call(PODS).await.refuse(403, "Forbidden");
    let services = server.listed(SERVICES, "5", vec![ksvc("a", "2")]).await;
    assert_eq!(Server::names(&server.told().await), ["a"]);
    server.call(PODS).await.refuse(403, "Forbidden");
    services.event("ADDED", &ksvc("b", "6"));
    assert_eq!(Server::names(&server.told().await), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_makes_no_sense_hides_no_other() {
    let mut server = Server::start();
    let mut wrong = ksvc("b", "3");
    wrong["status"] = json!(["what is this"]);
    let services = vec![ksvc("a", "2"), wrong.clone(), ksvc("c", "4")];
    let services = server.listed(SERVICES, "5", services).await;
    assert_eq!(Server::names(&server.told().await), ["a", "c"]);
    wrong["metadata"] = json!({ "name": "c", "resourceVersion": "6" });
    services.event("MODIFIED", &wrong);
    let seen = server.told().await;
    assert_eq!(Server::names(&seen), ["a", "c"]);
    assert!(!seen.services["c"].ready);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_makes_no_sense_is_asked_for_again() {
    let mut server = Server::start();
    let list = server.call(SERVICES).await;
    list.answer_with(StatusCode::OK, "<html>captive portal</html>".into());
    let list = server.call(SERVICES).await;
    list.answer(&json!({ "kind": "List", "metadata": {}, "items": [] }));
    let services = server.listed(SERVICES, "5", vec![ksvc("a", "2")]).await;
    assert_eq!(Server::names(&server.told().await), ["a"]);
    assert_eq!(server.counted("malformed"), 2);
    services.raw("<html>\n".into());
    drop(services);
    let services = server.watched(SERVICES, "5").await;
    services.event("ADDED", &ksvc("b", "6"));
    assert_eq!(Server::names(&server.told().await), ["a", "b"]);
    assert_eq!(server.counted("malformed"), 3);
}

//! A cluster on this machine: what is checked in for one becomes processes.
//!
//! Each pod is a process with the arguments and the environment that its
//! manifest gives it; only ports, addresses and paths are those of one machine.
//! Whatever it is told of the cluster it is told by the [`Api`]. Wakes come
//! through an ingress, which knows a node by the first part of the path and
//! passes them to its youngest pod that is not about to go.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use infinicache::http;
use infinicache_client::{Client, Options};
use infinicache_wire::control::NodeStatus;
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
};

use super::api::Api;
use crate::{
    cluster::{Cluster, PATIENCE, until},
    openmetrics::Metrics,
    processes::{kill, ports, until_gone},
};

/// Where pods find the Secret.
const MOUNT: &str = "/etc/infinicache/secret";

/// The version of Services that are nodes.
const KNATIVE: &str = "serving.knative.dev/v1";

/// What a node tells of itself: complete chunks.
const CHUNKS: &str = "infinicache_node_chunks";

/// Hosts that there are.
const HOSTS: usize = 4;

/// A cluster, and a cache on it.
pub(crate) struct Platform {
    pub(crate) api: Api,
    /// What is applied to it.
    documents: Vec<Value>,
    pods: Pods,
    asked: Asked,
    ingress: SocketAddr,
    passing: JoinHandle<()>,
    proxy: Option<Child>,
    redis: SocketAddr,
    admin: SocketAddr,
    nodes: SocketAddr,
    directory: PathBuf,
}

type Pods = Arc<Mutex<Vec<Pod>>>;

/// Nodes that were asked for and have no pod.
type Asked = Arc<Mutex<BTreeSet<String>>>;

/// The process of a node.
struct Pod {
    name: String,
    node: String,
    address: SocketAddr,
    process: Child,
    leaving: bool,
}

/// A pod by name, and what has to be known to look at it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) pid: u64,
    address: SocketAddr,
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// All documents of a directory of manifests.
fn checked_in(directory: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let files = fs::read_dir(root.join(directory)).unwrap();
    let files = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let documents = files.flat_map(|text| serde_saphyr::from_multiple(&text).unwrap());
    // What kustomize reads is for nobody else.
    documents
        .filter(|it: &Value| it["kind"] != "Kustomization")
        .collect()
}

impl Platform {
    /// Applies what is checked in, and waits until the cache is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with other entries in the proxy's configuration.
    pub(crate) async fn start_with(entries: &[(&str, &str)]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Relaxed);
        let name = format!("kubernetes-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        let pods = Pods::default();
        let listener = TcpListener::bind(local(0)).await.unwrap();
        let ingress = listener.local_addr().unwrap();
        let asked = Asked::default();
        let state = (pods.clone(), asked.clone());
        let router = Router::new().fallback(pass).with_state(state);
        let passing = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let [redis, admin, nodes] = ports();
        let mut platform = Self {
            api: Api::start(&directory).await,
            documents: ["k8s", "knative"].map(checked_in).concat(),
            pods,
            asked,
            ingress,
            passing,
            proxy: None,
            redis: local(redis),
            admin: local(admin),
            nodes: local(nodes),
            directory,
        };
        let is_map = |it: &&mut Value| it["kind"] == "ConfigMap";
        let map = platform.documents.iter_mut().find(is_map).unwrap();
        for (name, value) in entries {
            map["data"][name] = json!(value);
        }
        platform.mount(&[("pool-secret", super::SECRET)]);
        for document in platform.documents.clone() {
            match document["apiVersion"].as_str() {
                Some(KNATIVE) => platform.serve(document).await,
                _ => platform.api.apply(document),
            }
        }
        platform.start_proxy().await;
        platform
    }

    /// A document by kind and name.
    pub(crate) fn document(&self, version: &str, kind: &str, name: &str) -> Value {
        let is_it = |it: &&Value| {
            it["apiVersion"] == version && it["kind"] == kind && it["metadata"]["name"] == name
        };
        let found = self.documents.iter().find(is_it);
        found.unwrap_or_else(|| panic!("{kind} {name}")).clone()
    }

    /// The Knative Service of a node.
    pub(crate) fn service(&self, name: &str) -> Value {
        self.document(KNATIVE, "Service", name)
    }

    /// Does what Knative does with a Service: a pod, and once that is ready a URL.
    pub(crate) async fn serve(&self, mut service: Value) {
        self.api.apply(service.clone());
        self.run_pod(&service).await;
        let name = service["metadata"]["name"].as_str().unwrap();
        let url = format!("http://{}/{name}", self.ingress);
        service["status"] = json!({
            "address": { "url": url },
            "url": url,
            "conditions": [{ "type": "Ready", "status": "True" }],
        });
        self.api.apply(service);
    }

    /// Starts a pod of a Service.
    async fn run_pod(&self, service: &Value) {
        let [port] = ports();
        let node = service["metadata"]["name"].as_str().unwrap();
        let name = format!("{node}-00001-deployment-{port}");
        let template = &service["spec"]["template"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_infinicache"));
        command.arg("node");
        for variable in template["spec"]["containers"][0]["env"].as_array().unwrap() {
            let text = |field: &str| variable[field].as_str().unwrap();
            command.env(text("name"), self.here(text("value")));
        }
        let process = command
            // What Knative and Kubernetes add.
            .env("PORT", port.to_string())
            .env("K_SERVICE", node)
            .env("HOSTNAME", &name)
            // They share one address, and the memory of one machine.
            .env("INFINICACHE_LISTEN_ADDRESS", "127.0.0.1")
            .env("INFINICACHE_DIRECT_PORT", "0")
            .env("INFINICACHE_NODE_MEMORY", "64MiB")
            .stdin(Stdio::null())
            .stderr(self.log(&name))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("a pod is ready", async || {
            self.page(local(port), "/readyz").await
        })
        .await;
        let mut pods = self.pods.lock().unwrap();
        let mut labels = template["metadata"]["labels"].clone();
        labels["serving.knative.dev/service"] = json!(node);
        self.api.apply(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "infinicache", "labels": labels },
            "spec": { "nodeName": format!("host-{}", pods.len() % HOSTS) },
        }));
        pods.push(Pod {
            name,
            node: node.to_owned(),
            address: local(port),
            process,
            leaving: false,
        });
    }

    /// Does what Knative's activator does: nodes that were asked for get a pod.
    async fn run_asked(&self) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        for node in asked {
            self.run_pod(&self.service(&node)).await;
        }
    }

    /// All nodes fall asleep.
    pub(crate) async fn end_pods(&self) {
        let pods = std::mem::take(&mut *self.pods.lock().unwrap());
        for pod in pods {
            let pid = pod.process.id().expect("it runs").into();
            kill(pid, Signal::TERM);
            until_gone(pid).await;
            self.api.remove(&pod_document(&pod.name));
        }
    }

    /// Deletes the pod of a node, as far as the API does: the next one is started at once, and
    /// nobody has told the process yet.
    pub(crate) async fn delete_pod(&self, node: &str) -> Seen {
        let seen = self.pod(node);
        let is_it = |pod: &&mut Pod| pod.name == seen.name;
        self.pods
            .lock()
            .unwrap()
            .iter_mut()
            .find(is_it)
            .unwrap()
            .leaving = true;
        self.api.change(&pod_document(&seen.name), |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        });
        self.run_pod(&self.service(node)).await;
        seen
    }

    /// Deletes the Services of all nodes; the pods that they had, whose processes run on.
    pub(crate) fn remove_all(&self) -> Vec<Seen> {
        let nodes = self.documents.iter();
        let nodes = nodes.filter(|it| it["apiVersion"] == KNATIVE);
        nodes
            .map(|node| {
                self.api.remove(node);
                self.pod(node["metadata"]["name"].as_str().unwrap())
            })
            .collect()
    }

    /// A new revision of all nodes: each gets another pod, and the one that it had is left where
    /// it is, as Knative leaves it for about a minute.
    pub(crate) async fn revise_all(&self) -> Vec<Seen> {
        let nodes = self
            .documents
            .iter()
            .filter(|it| it["apiVersion"] == KNATIVE);
        let mut old = Vec::new();
        for node in nodes {
            old.push(self.pod(node["metadata"]["name"].as_str().unwrap()));
            self.run_pod(node).await;
        }
        old
    }

    /// The process of a pod is told to go, and the pod is gone with it.
    pub(crate) async fn end_pod(&self, pod: &Seen) {
        kill(pod.pid, Signal::TERM);
        until_gone(pod.pid).await;
        self.api.remove(&pod_document(&pod.name));
    }

    /// How many pods there are.
    pub(crate) fn pods(&self) -> usize {
        self.pods.lock().unwrap().len()
    }

    /// The pod that requests for a node go to.
    pub(crate) fn pod(&self, node: &str) -> Seen {
        let pods = self.pods.lock().unwrap();
        let pod = youngest(&pods, node).expect("it has a pod");
        Seen {
            name: pod.name.clone(),
            pid: pod.process.id().expect("it runs").into(),
            address: pod.address,
        }
    }

    /// Waits until a pod holds nothing that counts, by its own account.
    pub(crate) async fn until_empty(&self, pod: &Seen) {
        until("a pod is empty", async || {
            let page = self.page(pod.address, "/metrics").await?;
            let metrics = Metrics::parse(&page).unwrap();
            assert!(metrics.names().contains(CHUNKS));
            (metrics.total(CHUNKS) == 0.0).then_some(())
        })
        .await;
    }

    /// Starts the proxy as its Deployment says, and waits until it is ready.
    pub(crate) async fn start_proxy(&mut self) {
        let mut deployment = self.document("apps/v1", "Deployment", "infinicache");
        let configuration = self.document("v1", "ConfigMap", "infinicache");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter();
        let arguments = arguments.map(|it| match it.as_str().unwrap() {
            it if it.starts_with("--advertise=") => format!("--advertise={}", self.nodes),
            it => it.replace("$(POD_NAMESPACE)", "infinicache"),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_infinicache"));
        command.arg("proxy").args(arguments);
        for (name, value) in configuration["data"].as_object().unwrap() {
            command.env(name, self.here(value.as_str().unwrap()));
        }
        let process = command
            .env("KUBECONFIG", self.api.kubeconfig())
            .env("INFINICACHE_LISTEN", self.redis.to_string())
            .env("INFINICACHE_ADMIN_LISTEN", self.admin.to_string())
            .env("INFINICACHE_NODE_LISTEN", self.nodes.to_string())
            .stdin(Stdio::null())
            .stderr(self.log("proxy"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.proxy = Some(process);
        until("the proxy is ready", async || {
            self.run_asked().await;
            self.page(self.admin, "/readyz").await
        })
        .await;
        deployment["status"] = json!({ "conditions": [{ "type": "Available", "status": "True" }] });
        self.api.apply(deployment);
    }

    /// Ends the proxy without a word of farewell.
    pub(crate) async fn kill_proxy(&mut self) {
        let mut proxy = self.proxy.take().expect("it runs");
        proxy.kill().await.unwrap();
    }

    /// Pods find these keys of the Secret from now on, all at once: as kubelet does it, what is
    /// above the files is turned.
    pub(crate) fn mount(&self, keys: &[(&str, &str)]) {
        let mounts = fs::read_dir(&self.directory).unwrap().count();
        let files = self.directory.join(format!("secret-{mounts}"));
        fs::create_dir(&files).unwrap();
        for (key, value) in keys {
            fs::write(files.join(key), value).unwrap();
        }
        let link = self.directory.join("link");
        symlink(&files, &link).unwrap();
        fs::rename(link, self.directory.join("secret")).unwrap();
    }

    /// How often something was logged, by all processes together.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let files = fs::read_dir(&self.directory).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let logs = paths.filter(|path| path.extension().is_some_and(|it| it == "log"));
        logs.map(|log| fs::read_to_string(log).unwrap().matches(text).count())
            .sum()
    }

    /// A connection of the `redis` crate.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{}", self.redis)).unwrap();
        Cluster::connect(&client).await.unwrap()
    }

    /// A client of ours.
    pub(crate) async fn client(&self) -> Client {
        let server = self.redis.to_string();
        Options::default().connect([server]).await.unwrap()
    }

    /// What the proxy counts.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.page(self.admin, "/metrics").await.unwrap()).unwrap()
    }

    /// A node, as the proxy sees it; `None` if it is not in the pool.
    pub(crate) async fn node(&self, name: &str) -> Option<NodeStatus> {
        let view = self.client().await.pool().await.unwrap();
        view.nodes.into_iter().find(|node| node.name == name)
    }

    /// A page of a process, if it can be had and is as it should be.
    async fn page(&self, address: SocketAddr, path: &str) -> Option<String> {
        let (status, page) = http::get(address, path, PATIENCE).await.ok()?;
        let is_good = status == StatusCode::OK;
        is_good.then(|| String::from_utf8(page.to_vec()).unwrap())
    }

    /// A text of a manifest, as it is on this machine.
    fn here(&self, text: &str) -> String {
        let secret = self.directory.join("secret");
        text.replace(MOUNT, secret.to_str().unwrap())
    }

    fn log(&self, name: &str) -> File {
        let path = self.directory.join(format!("{name}.log"));
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.passing.abort();
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.join("proxy.log")).unwrap_or_default();
            println!("the proxy logged:\n{log}");
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn pod_document(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "infinicache" },
    })
}

fn youngest<'a>(pods: &'a [Pod], node: &str) -> Option<&'a Pod> {
    let mut pods = pods.iter().rev();
    pods.find(|pod| pod.node == node && !pod.leaving)
}

/// Passes a request for `/node/...` on to the node's pod.
async fn pass(State((pods, asked)): State<(Pods, Asked)>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (node, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let address = youngest(&pods.lock().unwrap(), node).map(|pod| pod.address);
    let Some(address) = address else {
        asked.lock().unwrap().insert(node.to_owned());
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    *request.uri_mut() = format!("/{rest}").parse().unwrap();
    let answered = async { http::exchange(http::connect(address).await?, request).await };
    match answered.await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

//! An API server for clients that nobody here wrote: TLS with a CA of its own, a
//! token, documents, lists and watches. What documents mean it does not know,
//! but for rights, which it gives as the roles that it was given say.
//!
//! Certificates and key in `tls` protect nothing, and are good until 2120.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{body::Body, extract::Query};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::AUTHORIZATION,
    server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::store::{Gone, Selector, Store, path};
use crate::processes::ports;

/// What clients prove themselves by.
const TOKEN: &str = "a-token-that-is-only-for-tests";

/// An API server, and all that it knows.
pub(crate) struct Api {
    address: SocketAddr,
    kubeconfig: PathBuf,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }
}

impl Api {
    /// Starts one that knows of nothing, and writes into `directory` what clients need.
    pub(crate) async fn start(directory: &Path) -> Self {
        let [port] = ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tls = tls();
        fs::write(directory.join("ca.crt"), include_bytes!("tls/ca.crt")).unwrap();
        fs::write(directory.join("token"), TOKEN).unwrap();
        let kubeconfig = directory.join("kubeconfig");
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "it", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": directory.join("ca.crt"),
            } }],
            "users": [{ "name": "it", "user": { "tokenFile": directory.join("token") } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "current-context": "it",
        });
        fs::write(&kubeconfig, document.to_string()).unwrap();
        let shared = Arc::<Shared>::default();
        let serving = serve(address, &tls, &shared).await;
        Self {
            address,
            kubeconfig,
            tls,
            shared,
            serving,
        }
    }

    /// What tells clients where it is.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// It is gone, and all connections with it.
    pub(crate) async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// It is there again, and does not know any more what has changed when.
    pub(crate) async fn start_again(&mut self) {
        self.shared.store().forget();
        self.serving = serve(self.address, &self.tls, &self.shared).await;
    }

    /// Enters a document, new or in place of the one that is there.
    pub(crate) fn apply(&self, document: Value) {
        self.put(&path(&document), document);
    }

    /// Enters something at a path.
    pub(crate) fn put(&self, path: &str, document: Value) {
        self.shared.store().put(path, document);
        self.shared.changed.send_replace(());
    }

    /// Changes the document that is at the path of `document`.
    pub(crate) fn change(&self, document: &Value, change: impl FnOnce(&mut Value)) {
        let path = path(document);
        let mut document = self.shared.store().get(&path).expect("it is there").clone();
        change(&mut document);
        self.put(&path, document);
    }

    /// Removes the document that is at the path of `document`.
    pub(crate) fn remove(&self, document: &Value) {
        self.shared.store().remove(&path(document));
        self.shared.changed.send_replace(());
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server that the CA vouches for.
fn tls() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves until the task is aborted, which cuts all connections.
async fn serve(address: SocketAddr, tls: &TlsAcceptor, shared: &Arc<Shared>) -> JoinHandle<()> {
    let listener = TcpListener::bind(address).await.unwrap();
    let (tls, shared) = (tls.clone(), shared.clone());
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, shared) = (tls.clone(), shared.clone());
            connections.spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| answer(shared.clone(), request));
                let connection = http1::Builder::new();
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let token = request.headers().get(AUTHORIZATION);
    if token.is_none_or(|token| token != &format!("Bearer {TOKEN}")) {
        return Ok(refusal(StatusCode::UNAUTHORIZED));
    }
    if request.method() == Method::POST {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let review = serde_json::from_slice(&body).unwrap();
        let is_allowed = is_allowed(&shared.store(), &review);
        return Ok(document(&json!({
            "metadata": {},
            "status": { "allowed": is_allowed },
        })));
    }
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(request.uri()).unwrap();
    let of = |name: &str| query.get(name).map_or("", String::as_str);
    let (path, selector) = (request.uri().path(), Selector::parse(of("labelSelector")));
    if of("watch") == "true" {
        let version = of("resourceVersion").parse().unwrap();
        return Ok(Response::new(watched(shared, path, selector, version)));
    }
    let store = shared.store();
    Ok(match (store.get(path), is_collection(path)) {
        (Some(found), _) => document(found),
        (None, true) => document(&store.list(path, &selector)),
        (None, false) => refusal(StatusCode::NOT_FOUND),
    })
}

/// `/apis/apps/v1/namespaces/n/deployments`, without a name behind it.
fn is_collection(path: &str) -> bool {
    let parts = path.split('/').skip_while(|part| *part != "namespaces");
    parts.count() == 3
}

fn document(document: &Value) -> Response<Body> {
    Response::new(document.to_string().into())
}

fn refusal(status: StatusCode) -> Response<Body> {
    let code = status.as_u16();
    let document = json!({ "kind": "Status", "status": "Failure", "message": "no", "code": code });
    let response = Response::builder().status(status);
    response.body(document.to_string().into()).unwrap()
}

/// What changes in a collection after `version`, line by line, until the client has enough of it.
fn watched(shared: Arc<Shared>, path: &str, selector: Selector, version: u64) -> Body {
    let collection = path.to_owned();
    let changed = shared.changed.subscribe();
    let lines = stream::unfold((Some(version), changed), move |(version, mut changed)| {
        let (shared, collection, selector) = (shared.clone(), collection.clone(), selector.clone());
        async move {
            let version = version?;
            loop {
                changed.mark_unchanged();
                let next = shared.store().next(&collection, version, &selector);
                let (version, event) = match next {
                    Ok(Some((version, event))) => (Some(version), event),
                    Ok(None) => {
                        changed.changed().await.ok()?;
                        continue;
                    }
                    Err(Gone) => {
                        let status = json!({
                            "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
                            "message": "too old resource version",
                        });
                        (None, json!({ "type": "ERROR", "object": status }))
                    }
                };
                let line = Bytes::from(format!("{event}\n"));
                return Some((Ok::<_, Infallible>(line), (version, changed)));
            }
        }
    });
    Body::from_stream(lines)
}

/// Whether the roles of a namespace let an account do what a review asks about.
fn is_allowed(store: &Store, review: &Value) -> bool {
    let asked = &review["spec"]["resourceAttributes"];
    let namespace = asked["namespace"].as_str().unwrap();
    let list = |kind: &str| {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind}");
        let list = store.list(&path, &Selector::default());
        list["items"].as_array().unwrap().clone()
    };
    let has = |list: &Value, wanted: &Value| list.as_array().unwrap().contains(wanted);
    let account = |subject: &Value| {
        let text = |field: &str| subject[field].as_str().unwrap().to_owned();
        format!(
            "system:serviceaccount:{}:{}",
            text("namespace"),
            text("name")
        )
    };
    let is_bound = |role: &Value| {
        list("rolebindings").iter().any(|binding| {
            let subjects = binding["subjects"].as_array().unwrap();
            binding["roleRef"]["name"] == role["metadata"]["name"]
                && subjects
                    .iter()
                    .any(|it| account(it) == review["spec"]["user"])
        })
    };
    list("roles")
        .iter()
        .filter(|role| is_bound(role))
        .any(|role| {
            let rules = role["rules"].as_array().unwrap();
            rules.iter().any(|rule| {
                has(&rule["apiGroups"], &asked["group"])
                    && has(&rule["resources"], &asked["resource"])
                    && has(&rule["verbs"], &asked["verb"])
            })
        })
}

//! A program that behaves like a node towards the activator, and a place to run it.
//!
//! The program is the test binary itself, started again with the name of an
//! ignored test: a real process, without another binary to build.

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{Response, StatusCode},
    routing::get,
};
use http_body_util::BodyExt;
use infinicache::{
    activator::{ActivatorConfig, lifecycle::ProcessTimings, serve},
    http,
    launcher::Launcher,
    leash,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
    time,
};

use crate::processes::DEADLINE;

/// So long that it does not happen in a test.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

const MANNERS: &str = "STAND_IN_MANNERS";

/// Starts the stand-in with manners: `polite`, `slow`, `stubborn`, `mute` or `broken`.
pub(crate) fn launcher(manners: &str) -> Launcher {
    test_function("stand_in").env(MANNERS, manners)
}

/// Starts an ignored function of this test binary.
pub(crate) fn test_function(name: &str) -> Launcher {
    Launcher {
        program: env::current_exe().unwrap(),
        args: vec![name.into(), "--exact".into(), "--ignored".into()],
        env: Vec::new(),
        without: Vec::new(),
    }
}

/// The stand-in's `main`.
pub(crate) async fn main() {
    let Ok(manners) = env::var(MANNERS) else {
        return; // Somebody runs the ignored tests.
    };
    leash::put_on().unwrap();
    match manners.as_str() {
        "broken" => std::process::exit(3),
        "mute" => std::future::pending().await,
        _ => {}
    }
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let port = env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let is_terminating = Arc::new(AtomicBool::new(false));
    let ready = {
        let is_terminating = is_terminating.clone();
        move || async move {
            match is_terminating.load(Relaxed) {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::OK,
            }
        }
    };
    let router = Router::new()
        .route("/healthz", get(|| async {}))
        .route("/readyz", get(ready))
        .route(
            "/hold",
            get(|| async { std::future::pending::<()>().await }),
        )
        .route("/mirror", axum::routing::post(async |body: Body| body))
        .fallback(describe);
    tokio::spawn(async move { axum::serve(listener, router).await });
    terminate.recv().await;
    is_terminating.store(manners == "slow", Relaxed);
    if matches!(manners.as_str(), "slow" | "stubborn") {
        std::future::pending::<()>().await;
    }
    std::process::exit(0);
}

/// Tells what it was asked, and who it is.
async fn describe(request: Request) -> axum::Json<Value> {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        head.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    axum::Json(json!({
        "pid": std::process::id(),
        "service": env::var("K_SERVICE").unwrap(),
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "test": header("x-test"),
        "connection": header("connection"),
        "body": String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    }))
}

/// An activator with the nodes `a` and `b`.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Stage {
    /// With timers that never fire, but for what `change` changes.
    pub(crate) async fn new(launcher: Launcher, change: impl FnOnce(&mut ProcessTimings)) -> Self {
        let mut timing = ProcessTimings {
            start: DEADLINE,
            idle_window: NEVER,
            term_delay: Duration::ZERO,
            grace: NEVER,
            stop_grace: Duration::from_millis(100),
            answer: DEADLINE,
        };
        change(&mut timing);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ActivatorConfig {
            names: vec!["a".into(), "b".into()],
            launcher,
            timing,
            faults: true,
        };
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, config, Router::new(), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop: Some(stop),
            served,
        }
    }

    /// Posts, and gives the answer as text.
    pub(crate) async fn post(&self, path: &str) -> (StatusCode, String) {
        let request = Request::post(path)
            .header("x-test", "kept")
            .body(Body::from("a wake"))
            .unwrap();
        let response = time::timeout(DEADLINE, self.send(request)).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Posts, and gives what the stand-in says.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let (status, text) = self.post(path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Posts, and gives the process that answered.
    pub(crate) async fn pid(&self, path: &str) -> u64 {
        self.ask(path).await["pid"].as_u64().unwrap()
    }

    /// Tells the activator what node `name` suffers from now on.
    pub(crate) async fn harm(&self, name: &str, faults: &str) {
        let request = Request::post(format!("/faults/{name}"))
            .header("content-type", "application/json")
            .body(Body::from(faults.to_owned()))
            .unwrap();
        assert_eq!(self.send(request).await.status(), StatusCode::NO_CONTENT);
    }

    pub(crate) async fn send(&self, request: Request) -> Response<Body> {
        send(self.address, request).await
    }

    /// What the activator says of the nodes.
    pub(crate) async fn status(&self) -> Value {
        let (status, body) = http::get(self.address, "/", DEADLINE).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice::<Value>(&body).unwrap()["nodes"].take()
    }

    /// Waits until the activator says of node `a` what is wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let a = self.status().await[0].take();
            if wanted(&a) {
                return a;
            }
            assert!(Instant::now() < give_up, "still {a}");
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the activator and waits for its end.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        time::timeout(DEADLINE, self.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub(crate) async fn send(address: SocketAddr, mut request: Request<Body>) -> Response<Body> {
    let host = address.to_string().parse().unwrap();
    request.headers_mut().insert("host", host);
    let stream = http::connect(address).await.unwrap();
    http::exchange(stream, request)
        .await
        .unwrap()
        .map(Body::new)
}

/// The next bytes of a body.
pub(crate) async fn next(body: &mut Body) -> Bytes {
    let frame = time::timeout(DEADLINE, body.frame()).await.unwrap();
    frame.unwrap().unwrap().into_data().unwrap()
}

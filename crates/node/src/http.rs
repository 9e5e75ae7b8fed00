//! The wake endpoint, health and metrics.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /wake` | 200 and which instance this is, open for the session if asked for; or why the wake is refused |
//! | `GET /healthz` | 200: the process serves |
//! | `GET /readyz` | 200: it may be woken; 503 once it is about to go |
//! | `GET /metrics` | metrics for Prometheus |
//!
//! Anybody in the network may connect, so connections, headers, bodies and
//! times are all bounded.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use infinicache_host::clock;
use infinicache_socket::{Listener, Stream};
use infinicache_wire::{
    PROTOCOL_VERSION,
    wake::{MAX_WAKE, Wake},
    wake_answer::{WakeAnswer, WakeRefusal, WakeRefusalKind},
};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    held_response::HeldResponse,
    listen::{accept_each, affordable},
    session::FencedError,
    supervisor::Supervisor,
};

/// How many connections may be open at once.
const MAX_CONNECTIONS: usize = 256;

/// How long a connection may be idle. Longer than the 90 s after which the
/// proxies of Knative close theirs, so that none is closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one request may take, from its head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What wakes are answered in.
const JSON: &str = "application/json";

/// How much of a connection is buffered: heads have to fit.
const BUFFER: usize = 16 << 10;

/// Serves `listener` until dropped, and its connections with it.
pub(crate) async fn serve(listener: Listener, supervisor: Arc<Supervisor>) {
    let router = router(supervisor);
    accept_each(listener, affordable(MAX_CONNECTIONS, 4), |stream, peer| {
        let router = router.clone();
        async move {
            if let Err(error) = connection(stream, router).await {
                debug!(%peer, %error, "HTTP connection failed");
            }
        }
    })
    .await;
}

async fn connection(stream: Stream, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

fn router(supervisor: Arc<Supervisor>) -> Router {
    Router::new()
        .route("/wake", post(wake))
        .route("/healthz", get(StatusCode::OK))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(MAX_WAKE))
        .layer(from_fn(in_time))
        .with_state(supervisor)
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn wake(State(supervisor): State<Arc<Supervisor>>, body: Bytes) -> Response {
    let identity = &supervisor.instance.identity;
    let wake = match accept(&supervisor, &body) {
        Ok(wake) => wake,
        Err(refusal) => return refuse(&supervisor, &refusal),
    };
    let held = wake.lifetimes.held;
    let (linked, session) = match supervisor.wake(wake.clone()) {
        Ok(begun) => begun,
        Err(disobeyed) => {
            let secret = &identity.secret;
            let refusal = match disobeyed {
                FencedError::Fenced { highest, .. } => WakeRefusal::fenced(&wake, highest, secret),
                FencedError::OtherLeader { leader, .. } => {
                    WakeRefusal::led_by_other(&wake, leader, secret)
                }
            };
            return refuse(&supervisor, &refusal);
        }
    };
    supervisor.instance.service.counters.wakes.inc();
    debug!(session = %wake.session, proxy = %wake.proxy, held, "woken");
    let answer = WakeAnswer {
        version: PROTOCOL_VERSION,
        node: identity.name.clone(),
        instance: identity.instance,
        session: wake.session,
        linked,
        held,
        proof: String::new(),
    }
    .signed(&identity.secret);
    let body = match held {
        true => Body::new(HeldResponse::new(&answer, session)),
        false => Body::from(answer.to_line()),
    };
    ([(CONTENT_TYPE, JSON)], body).into_response()
}

/// The wake, if it is genuine, for this node, and comes before its end.
fn accept(supervisor: &Supervisor, body: &[u8]) -> Result<Wake, WakeRefusal> {
    let ours = &supervisor.instance.identity.name;
    let wake = Wake::parse(body, &supervisor.instance.identity.secret)
        .map_err(|error| WakeRefusal::new(WakeRefusalKind::from(&error), error.to_string()))?;
    if wake.node != *ours {
        let reason = format!("wake for {:?}, but this is {ours:?}", wake.node);
        return Err(WakeRefusal::new(WakeRefusalKind::OtherNode, reason));
    }
    if supervisor.instance.exit.announced.is_cancelled() {
        let reason = "this instance is about to go";
        return Err(WakeRefusal::new(WakeRefusalKind::Leaving, reason));
    }
    Ok(wake)
}

fn refuse(supervisor: &Supervisor, refusal: &WakeRefusal) -> Response {
    supervisor.instance.service.counters.refused_wakes.inc();
    warn!(kind = ?refusal.refused, reason = %refusal.reason, "wake refused");
    let status = match refusal.refused {
        WakeRefusalKind::Malformed | WakeRefusalKind::Other => StatusCode::BAD_REQUEST,
        WakeRefusalKind::Version
        | WakeRefusalKind::OtherNode
        | WakeRefusalKind::Fenced
        | WakeRefusalKind::OtherLeader => StatusCode::CONFLICT,
        WakeRefusalKind::Forged => StatusCode::UNAUTHORIZED,
        WakeRefusalKind::Leaving => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(CONTENT_TYPE, JSON)], refusal.to_line()).into_response()
}

async fn ready(State(supervisor): State<Arc<Supervisor>>) -> StatusCode {
    if supervisor.instance.exit.announced.is_cancelled() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

async fn metrics(State(supervisor): State<Arc<Supervisor>>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let report = supervisor.instance.service.report(clock::now());
    let text = supervisor.instance.service.counters.render(&report);
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

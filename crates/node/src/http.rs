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
    answer::{Answer, Refusal, RefusalKind},
    wake::{MAX_WAKE, Wake},
};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    held::Held,
    keeper::Keeper,
    listen::{accept_each, affordable},
    session::Disobeyed,
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
pub(crate) async fn serve(listener: Listener, keeper: Arc<Keeper>) {
    let router = router(keeper);
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

fn router(keeper: Arc<Keeper>) -> Router {
    Router::new()
        .route("/wake", post(wake))
        .route("/healthz", get(StatusCode::OK))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(MAX_WAKE))
        .layer(from_fn(in_time))
        .with_state(keeper)
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn wake(State(keeper): State<Arc<Keeper>>, body: Bytes) -> Response {
    let identity = &keeper.instance.identity;
    let wake = match accept(&keeper, &body) {
        Ok(wake) => wake,
        Err(refusal) => return refuse(&keeper, &refusal),
    };
    let held = wake.lifetimes.held;
    let (linked, session) = match keeper.wake(wake.clone()) {
        Ok(begun) => begun,
        Err(disobeyed) => {
            let secret = &identity.secret;
            let refusal = match disobeyed {
                Disobeyed::Superseded { highest, .. } => {
                    Refusal::superseded(&wake, highest, secret)
                }
                Disobeyed::Led { leader, .. } => Refusal::led(&wake, leader, secret),
            };
            return refuse(&keeper, &refusal);
        }
    };
    keeper.instance.service.counters.wakes.inc();
    debug!(session = %wake.session, proxy = %wake.proxy, held, "woken");
    let answer = Answer {
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
        true => Body::new(Held::new(&answer, session)),
        false => Body::from(answer.to_line()),
    };
    ([(CONTENT_TYPE, JSON)], body).into_response()
}

/// The wake, if it is genuine, for this node, and comes before its end.
fn accept(keeper: &Keeper, body: &[u8]) -> Result<Wake, Refusal> {
    let ours = &keeper.instance.identity.name;
    let wake = Wake::parse(body, &keeper.instance.identity.secret)
        .map_err(|error| Refusal::new(RefusalKind::from(&error), error.to_string()))?;
    if wake.node != *ours {
        let reason = format!("wake for {:?}, but this is {ours:?}", wake.node);
        return Err(Refusal::new(RefusalKind::OtherNode, reason));
    }
    if keeper.instance.departure.announced.is_cancelled() {
        let reason = "this instance is about to go";
        return Err(Refusal::new(RefusalKind::Leaving, reason));
    }
    Ok(wake)
}

fn refuse(keeper: &Keeper, refusal: &Refusal) -> Response {
    keeper.instance.service.counters.refused_wakes.inc();
    warn!(kind = ?refusal.refused, reason = %refusal.reason, "wake refused");
    let status = match refusal.refused {
        RefusalKind::Malformed | RefusalKind::Other => StatusCode::BAD_REQUEST,
        RefusalKind::Version
        | RefusalKind::OtherNode
        | RefusalKind::Superseded
        | RefusalKind::Led => StatusCode::CONFLICT,
        RefusalKind::Forged => StatusCode::UNAUTHORIZED,
        RefusalKind::Leaving => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(CONTENT_TYPE, JSON)], refusal.to_line()).into_response()
}

async fn ready(State(keeper): State<Arc<Keeper>>) -> StatusCode {
    if keeper.instance.departure.announced.is_cancelled() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

async fn metrics(State(keeper): State<Arc<Keeper>>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let report = keeper.instance.service.report(clock::now());
    let text = keeper.instance.service.counters.render(&report);
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

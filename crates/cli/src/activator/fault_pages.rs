//! The pages by which tests harm nodes.
//!
//! ```text
//! POST /faults/node-3   {"start": "fails"}              every process ends at once
//!                       {"start": "hangs"}              no process is ever healthy
//!                       {"start": {"slow_ms": 700}}     none is healthy earlier
//!                       {"wakes": "refused"}            answered with 500
//!                       {"wakes": "garbage"}            answered with 200 and no sense
//!                       {"wakes": "swallowed"}          answered with 200, but no process gets it
//!                       {"wakes": "hanging"}            never answered
//!                       {}                              nothing of this any more
//! POST /replace/node-3                                  a new process beside the one it has
//! POST /replace                                         the same for all nodes at once
//! ```

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};

use super::{faults::Faults, node::NodeHandle, nodes::Activator};

/// The pages by which a node is harmed.
pub(super) fn pages(activator: Arc<Activator>) -> Router {
    Router::new()
        .route("/faults/{node}", post(harm))
        .route("/replace/{node}", post(replace))
        .route("/replace", post(replace_all))
        .with_state(activator)
}

async fn harm(
    State(activator): State<Arc<Activator>>,
    Path(name): Path<String>,
    Json(faults): Json<Faults>,
) -> StatusCode {
    activator
        .nodes
        .get(&name)
        .map_or(StatusCode::NOT_FOUND, |node| {
            node.harm(faults);
            StatusCode::NO_CONTENT
        })
}

async fn replace(State(activator): State<Arc<Activator>>, Path(name): Path<String>) -> StatusCode {
    activator
        .nodes
        .get(&name)
        .map_or(StatusCode::NOT_FOUND, |node| {
            node.replace();
            StatusCode::NO_CONTENT
        })
}

async fn replace_all(State(activator): State<Arc<Activator>>) -> StatusCode {
    activator.nodes.values().for_each(NodeHandle::replace);
    StatusCode::NO_CONTENT
}

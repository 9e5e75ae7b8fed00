//! `GET /`: what the activator knows of its nodes, for people and for tests.
//!
//! ```json
//! {"nodes":[{"name":"node-0","state":"serving","started":2,"processes":[
//!     {"serial":1,"pid":4711,"address":"127.0.0.1:40001","state":"leaving","in_flight":0},
//!     {"serial":2,"pid":4720,"address":"127.0.0.1:40002","state":"serving","in_flight":1}]}]}
//! ```

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    lifecycle::ProcessPhase,
    nodes::Activator,
    status::{NodeStatus, ProcessStatus},
};

/// Answers with the state of all nodes.
pub(super) async fn show(State(activator): State<Arc<Activator>>) -> Json<Value> {
    let nodes = activator
        .nodes
        .iter()
        .map(|(name, node)| node_as_json(name, &node.status()));
    Json(json!({ "nodes": nodes.collect::<Vec<_>>() }))
}

fn node_as_json(name: &str, node: &NodeStatus) -> Value {
    // Only the youngest can be the one that has the requests.
    let state = match node.processes.last().map(|process| process.phase) {
        Some(phase @ (ProcessPhase::Starting { .. } | ProcessPhase::Serving { .. })) => {
            state(phase)
        }
        _ => "asleep",
    };
    let processes: Vec<_> = node.processes.iter().map(process_as_json).collect();
    json!({ "name": name, "state": state, "started": node.started, "processes": processes })
}

fn process_as_json(process: &ProcessStatus) -> Value {
    let in_flight = match process.phase {
        ProcessPhase::Serving { in_flight, .. } => in_flight,
        _ => 0,
    };
    json!({
        "serial": process.serial,
        "pid": process.pid,
        "address": process.address,
        "state": state(process.phase),
        "in_flight": in_flight,
    })
}

fn state(phase: ProcessPhase) -> &'static str {
    match phase {
        ProcessPhase::Starting { .. } => "starting",
        ProcessPhase::Serving { .. } => "serving",
        ProcessPhase::Drained { .. } => "drained",
        ProcessPhase::Leaving { .. } => "leaving",
        ProcessPhase::Killed => "killed",
    }
}

//! The activator: plays that of Knative Serving for the nodes of one machine.
//!
//! A request for `/<node>/<path>` belongs to the node of that name. If no
//! process stands behind the name, the activator starts one and lets the request
//! wait until it answers `GET /healthz`; then it forwards `/<path>` to it and
//! streams the answer back. When no request has been in flight for the idle
//! window, the process gets SIGTERM, and may take its time; a request that
//! comes meanwhile starts a new one beside it. So two processes of one name
//! are normal, as they are on the real platform. A process that got SIGTERM from
//! elsewhere is no different: it says so at `GET /readyz`, which is asked before
//! a request is forwarded.
//!
//! Like there, only requests count: the connection that a node has dialled to
//! its proxy keeps nothing alive.
//!
//! - [`lifecycle`]: what happens to the processes of one name, and when; pure;
//! - [`node`]: a life with real processes and a real clock;
//! - [`process`]: one process, watched from its start to its end;
//! - [`forward`]: requests in, answers out;
//! - `nodes`: all of them by name;
//! - [`status`]: what is known of a node; `status_page`: `GET /`;
//! - [`faults`]: how tests harm nodes; `fault_pages`: when.

mod fault_pages;
pub mod faults;
pub mod forward;
pub mod lifecycle;
pub mod node;
mod nodes;
pub mod process;
pub mod status;
mod status_page;

use std::{collections::BTreeMap, future::Future, io, sync::Arc, time::Duration};

use axum::{Router, routing};
use tokio::{net::TcpListener, task::JoinSet, time};
use tracing::warn;

use crate::launcher::Launcher;
use lifecycle::ProcessTimings;
use node::NodeHandle;
use nodes::Activator;

/// The nodes of an activator, and what holds for each of them.
#[derive(Clone, Debug)]
pub struct ActivatorConfig {
    /// Their names.
    pub names: Vec<String>,
    /// How a process is started. `PORT`, `K_SERVICE`, `K_REVISION` and `HOSTNAME` are added.
    pub launcher: Launcher,
    /// How long everything may take.
    pub timing: ProcessTimings,
    /// Whether the pages of [`faults`] are served.
    pub faults: bool,
}

/// Serves `listener` until `shutdown` completes, then stops all processes.
///
/// `beside` are further pages; a node cannot have the name of one.
///
/// # Cancellation
///
/// All processes are killed.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    config: ActivatorConfig,
    beside: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut lives = JoinSet::new();
    let mut nodes = BTreeMap::new();
    for name in config.names {
        let (node, life) = NodeHandle::new(&name, config.launcher.clone(), config.timing);
        lives.spawn(life);
        nodes.insert(name, node);
    }
    let activator = Arc::new(Activator {
        nodes,
        timing: config.timing,
    });
    let router = Router::new()
        .route("/", routing::get(status_page::show))
        .fallback(forward::forward)
        .with_state(Arc::clone(&activator))
        .merge(beside);
    let router = match config.faults {
        true => router.merge(fault_pages::pages(Arc::clone(&activator))),
        false => router,
    };

    tokio::select! {
        served = axum::serve(listener, router) => served?,
        () = shutdown => {}
    }

    for node in activator.nodes.values() {
        node.stop();
    }
    let ended = async { while lives.join_next().await.is_some() {} };
    // A process that is still there so long after SIGKILL is stuck in the kernel.
    let patience = config.timing.stop_grace + Duration::from_secs(5);
    if time::timeout(patience, ended).await.is_err() {
        warn!("node processes are left behind");
    }
    Ok(())
}

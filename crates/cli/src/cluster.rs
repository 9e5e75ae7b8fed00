//! A cache on one machine: the order in which everything starts and stops.
//!
//! Start: the activator, which starts no node by itself; the proxy, which wakes
//! the nodes that it wants; the greeting, once the proxy says it is ready.
//!
//! Stop: the proxy first, so that the requests in flight still find their
//! nodes; then the nodes, which have no node left to hand their chunks to and
//! get only a moment. A second signal skips both.

mod greeting;
mod plan;
mod proxy;
mod test_options;

pub use plan::{Plan, random_secret};
pub use test_options::TestOptions;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{net::TcpListener, sync::oneshot};
use tracing::warn;

use infinicache_daemon::signals::StopSignals;

use crate::activator;
use proxy::ProxyProcess;

/// How long the proxy may take to be ready: it wakes nodes, on a machine that may be busy.
const READY: Duration = Duration::from_secs(30);

/// How long the proxy may take to finish its requests.
const PROXY_GRACE: Duration = Duration::from_secs(5);

/// Runs a cache until a signal asks to stop.
///
/// # Errors
///
/// If it cannot be started. Nothing is left behind then.
pub async fn run(plan: Plan) -> Result<()> {
    let mut signals = StopSignals::catch()?;
    ensure_free(plan.redis, "--port").await?;
    ensure_free(plan.admin, "--admin-port").await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen for wakes")?;
    let address = listener.local_addr()?;

    let mut proxy = ProxyProcess::new(plan.proxy(address)?);
    let (stop_front, stopped) = oneshot::channel::<()>();
    let activator = tokio::spawn(activator::serve(
        listener,
        plan.activator()?,
        proxy.page(),
        async move {
            let _ = stopped.await;
        },
    ));

    let served = tokio::select! {
        served = serve(&plan, &mut proxy, address) => served,
        () = signals.next() => Ok(()),
    };

    let stop = async {
        proxy.stop(PROXY_GRACE).await;
        drop(stop_front);
        activator.await?.context("the activator failed")
    };
    tokio::select! {
        stopped = stop => stopped?,
        // Returning ends this process, and the leash the others.
        () = signals.next() => warn!("stopping at once"),
    }
    served
}

/// Tells early, and by the name of its flag, that an address is taken.
///
/// Otherwise another cache that answers there would be mistaken for ours.
async fn ensure_free(address: SocketAddr, flag: &str) -> Result<()> {
    TcpListener::bind(address)
        .await
        .map(drop)
        .with_context(|| format!("cannot listen on {address}, choose another with {flag}"))
}

/// Starts the proxy and keeps it running; returns only if that is impossible.
async fn serve(plan: &Plan, proxy: &mut ProxyProcess, activator: SocketAddr) -> Result<()> {
    proxy.start(plan.reachable_admin(), READY).await?;
    greeting::print(plan, activator)?;
    proxy.keep_running().await
}

//! One process of a node, watched from its start to its end.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper::StatusCode;
use infinicache_backoff::Backoff;
use rustix::process::Signal;
use tokio::{process::Child, sync::mpsc, time};

use crate::{http, launcher};

/// How soon a process is asked again whether it is healthy.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(50));

/// How long one such question may take: a stopped process accepts connections and says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is told about a process.
pub(super) enum News {
    /// It answered that it is healthy.
    Healthy,
    /// It ended.
    Exited(String),
}

/// Watches a process until it ends; passes on the signals that come in.
///
/// The one task both reaps and signals, so that no signal can hit another
/// process that got the same id.
pub(super) async fn watch(
    mut child: Child,
    port: Port,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    tell: impl Fn(News),
) {
    let healthy = healthy(port.address());
    tokio::pin!(healthy);
    let mut is_healthy = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            signal = signals.recv() => match signal {
                Some(signal) => launcher::send(&child, signal),
                // No task is left to care for the process: it is killed with its handle.
                None => return,
            },
            () = &mut healthy, if !is_healthy => {
                is_healthy = true;
                tell(News::Healthy);
            }
        }
    };
    // The receiver may give the port to the next one.
    drop(port);
    tell(News::Exited(match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }));
}

/// Waits until `GET /healthz` is answered with 200.
async fn healthy(address: SocketAddr) {
    for failures in 0.. {
        match http::get(address, "/healthz", PATIENCE).await {
            Ok((StatusCode::OK, _)) => return,
            Ok(_) | Err(_) => time::sleep(BACKOFF.wait(failures)).await,
        }
    }
}

/// A free port of the loopback interface, given only once by this process.
///
/// It was free when it was picked. Should a stranger take it before the node
/// does, the node fails to start, and the next wake tries another.
#[derive(Debug)]
pub(crate) struct Port(u16);

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

impl Port {
    pub(crate) fn pick() -> io::Result<Self> {
        // The listeners are held until the end, so that the system does not offer one port twice.
        let mut refused = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            if taken().insert(port) {
                return Ok(Self(port));
            }
            refused.push(listener);
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0).into()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        taken().remove(&self.0);
    }
}

fn taken() -> std::sync::MutexGuard<'static, BTreeSet<u16>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_while_it_is_held() {
        let ports: Vec<_> = (0..200).map(|_| Port::pick().unwrap()).collect();
        let distinct: BTreeSet<_> = ports.iter().map(Port::address).collect();
        assert_eq!(distinct.len(), ports.len());
    }
}

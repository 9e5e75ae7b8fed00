//! A bad network between the nodes and their proxy.
//!
//! ```text
//! node ──── lane, with what the node suffers ────▶ proxy
//!      ◀─── lane, with what the node suffers ─────
//! ```
//!
//! Nodes are told to dial a [`Wire`], which passes everything on to the proxy.
//! What it does besides can be changed at any time, for one node or for all;
//! all that looks random in it follows from the seed of the test.
//!
//! - [`fault`]: what can be suffered;
//! - [`framing`]: where in a frame a stream is;
//! - [`lane`]: one direction of one connection.

mod fault;
mod framing;
mod lane;
mod tests;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub(crate) use self::fault::{Fault, Part};
use self::lane::{End, Lane};
use crate::random::Random;

/// Everything that nodes and proxy say to each other passes here.
pub(crate) struct Wire {
    address: SocketAddr,
    suffering: watch::Sender<Suffering>,
    harmed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// Who suffers what.
#[derive(Clone, Debug, Default)]
struct Suffering {
    all: Fault,
    /// Instead of that, by name.
    nodes: BTreeMap<String, Fault>,
}

/// What a connection has to know of that.
#[derive(Clone)]
struct Suffered {
    suffering: watch::Receiver<Suffering>,
    harmed: Arc<AtomicU64>,
}

impl Wire {
    /// A wire to `target` that does no harm yet.
    pub(crate) async fn start(target: SocketAddr, random: Random) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let suffering = watch::Sender::default();
        let harmed = Arc::default();
        let suffered = Suffered {
            suffering: suffering.subscribe(),
            harmed: Arc::clone(&harmed),
        };
        let task = tokio::spawn(serve(listener, target, suffered, random));
        Self {
            address,
            suffering,
            harmed,
            task,
        }
    }

    /// Where nodes dial.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All nodes suffer this from now on, and nothing else.
    pub(crate) fn harm_all(&self, fault: Fault) {
        let nodes = BTreeMap::new();
        self.suffering.send_replace(Suffering { all: fault, nodes });
    }

    /// A node suffers this from now on.
    pub(crate) fn harm(&self, node: &str, fault: Fault) {
        self.suffering.send_modify(|suffering| {
            suffering.nodes.insert(node.to_owned(), fault);
        });
    }

    /// How often something was not passed on as it came.
    pub(crate) fn harmed(&self) -> u64 {
        self.harmed.load(Relaxed)
    }

    /// Nobody suffers any more.
    pub(crate) fn heal(&self) {
        self.harm_all(Fault::None);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, suffered: Suffered, mut random: Random) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((node, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(carry(node, target, suffered.clone(), random.fork()));
        while connections.try_join_next().is_some() {}
    }
}

/// Joins a node to the proxy until one of them leaves, or the connection has suffered enough.
async fn carry(mut node: TcpStream, target: SocketAddr, suffered: Suffered, mut random: Random) {
    // Without a proxy there is no connection for the node either.
    let Ok(mut proxy) = TcpStream::connect(target).await else {
        return;
    };
    let _ = node.set_nodelay(true);
    let _ = proxy.set_nodelay(true);
    let name = OnceLock::new();
    let end = {
        let (from_node, to_node) = node.split();
        let (from_proxy, to_proxy) = proxy.split();
        let up = Lane::new(&name, suffered.clone(), random.fork());
        let down = Lane::new(&name, suffered, random.fork());
        tokio::select! {
            end = up.carry(from_node, to_proxy) => end,
            end = down.carry(from_proxy, to_node) => end,
        }
    };
    if end == End::Reset {
        let _ = node.set_zero_linger();
        let _ = proxy.set_zero_linger();
    }
}

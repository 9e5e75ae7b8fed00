//! Everything there is: the pool, its processes, and what became of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use infinicache_host::simulation::{Process, range};
use infinicache_wire::InstanceId;
use tokio_util::sync::CancellationToken;

use crate::{
    history::History,
    log::Log,
    scenario::{Faults, Scenario},
};

/// The port of a proxy's Redis clients.
pub(crate) const REDIS: u16 = 6378;
/// The port of its metrics.
pub(crate) const ADMIN: u16 = 6380;
/// The port at which nodes are woken.
pub(crate) const WAKES: u16 = 8080;

/// An instance of a node.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) id: u32,
    pub(crate) name: usize,
    pub(crate) process: Process,
    /// SIGTERM.
    pub(crate) term: CancellationToken,
    /// What it calls itself, once it does.
    pub(crate) identity: Arc<OnceLock<InstanceId>>,
}

/// A run of the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: u32,
    pub(crate) process: Process,
}

impl Run {
    pub(crate) fn redis(&self) -> SocketAddr {
        SocketAddr::new(self.process.address(), REDIS)
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.process.address(), ADMIN)
    }
}

#[derive(Debug, Default)]
pub(crate) struct WorldState {
    /// The instance to which the platform hands the wakes of each name.
    pub(crate) current: Vec<Option<Instance>>,
    /// All instances that run.
    pub(crate) instances: BTreeMap<u32, Instance>,
    pub(crate) runs: BTreeMap<u32, Run>,
    pub(crate) made_instances: u32,
    pub(crate) made_runs: u32,
    /// Which runs are cut off from which names.
    pub(crate) cuts: Vec<(u32, usize)>,
    /// How many instances are frozen or about to go.
    pub(crate) impaired: u64,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) faults: Faults,
    pub(crate) data: usize,
    pub(crate) parity: usize,
    pub(crate) names: usize,
    /// What each node may hold.
    pub(crate) node_memory: u64,
    /// No more faults.
    pub(crate) is_calm: AtomicBool,
    log: Log,
    state: Mutex<WorldState>,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, log: Log) -> Arc<Self> {
        let faults = scenario.faults;
        infinicache_socket::simulation::begin(
            faults == Faults::Often && scenario.seed.is_multiple_of(3),
        );
        let (names, parity) = scenario.shape();
        // So little that values have to go.
        let is_tight = faults != Faults::Within && range(0, 3) == 0;
        let state = WorldState {
            current: vec![None; names],
            ..WorldState::default()
        };
        Arc::new(Self {
            faults,
            data: names - parity,
            parity,
            names,
            node_memory: if is_tight { 1 << 20 } else { 64 << 20 },
            is_calm: AtomicBool::new(false),
            log,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().expect("plain data")
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.log.history()
    }

    /// Whether a run knows of a later one.
    pub(crate) fn is_fenced(&self, run: &Run) -> bool {
        self.log.is_fenced(&run.process)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.history().violations.is_empty()
    }

    pub(crate) fn violation(&self, text: String) {
        self.history().violations.push(text);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Relaxed)
    }

    /// The run that was started last, if it lives.
    pub(crate) fn newest(&self) -> Option<Run> {
        self.state().runs.values().next_back().cloned()
    }
}

pub(crate) fn chance(percent: u64) -> bool {
    range(0, 100) < percent
}

/// One of them, if there are any.
pub(crate) fn pick<T: Clone>(from: &[T]) -> Option<T> {
    match from.len() {
        0 => None,
        len => Some(from[range(0, len as u64) as usize].clone()),
    }
}

/// Where a name is woken.
pub(crate) fn service(name: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 2, 1 + name as u8).into()
}

pub(crate) fn instance_address(id: u32) -> IpAddr {
    Ipv4Addr::new(10, 1, (id >> 8) as u8, id as u8).into()
}

pub(crate) fn run_address(id: u32) -> IpAddr {
    Ipv4Addr::new(10, 2, (id >> 8) as u8, id as u8).into()
}

pub(crate) fn client_address(id: u32) -> IpAddr {
    Ipv4Addr::new(10, 0, 9, 1 + id as u8).into()
}

pub(crate) fn name_of(name: usize) -> String {
    format!("n{name}")
}

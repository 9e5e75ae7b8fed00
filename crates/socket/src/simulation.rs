//! A network of simulated sockets: in order within a connection, in any order between two.
//!
//! What is written arrives after a while that the seed decides. A connection that is severed loses
//! what is under way, and each end learns of it when it does. Between two addresses that are
//! parted nothing gets through, not even that.
//!
//! - `latency`: how long that takes;
//! - `pipe`: one connection, as bytes that are due at each end;
//! - `stream`: its two ends, as sockets.

mod latency;
mod pipe;
mod stream;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use infinicache_host::{clock, simulation::Process};
use tokio::time::sleep;

pub use self::stream::{ReadHalf, SimulatedStream, WriteHalf};
use self::{latency::latency, pipe::Pipe};

/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// How long a system goes on dialling an address from which nothing comes back.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// When systems notice, by their probes, that nothing gets through any more.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The first port that is given to those who ask for none.
const EPHEMERAL: u16 = 32_768;

thread_local! {
    static NETWORK: RefCell<Network> = RefCell::new(Network::default());
}

#[derive(Default)]
struct Network {
    listeners: BTreeMap<SocketAddr, Weak<Queue>>,
    connections: BTreeMap<u64, Weak<Pipe>>,
    made: u64,
    ports: BTreeMap<IpAddr, u16>,
    parted: BTreeSet<(IpAddr, IpAddr)>,
    /// Addresses whose machine was switched off.
    dark: BTreeSet<IpAddr>,
}

impl Network {
    fn port(&mut self, address: IpAddr) -> u16 {
        let port = self.ports.entry(address).or_insert(EPHEMERAL);
        *port += 1;
        *port
    }

    fn reaches(&self, one: IpAddr, other: IpAddr) -> bool {
        let is_dark = self.dark.contains(&one) || self.dark.contains(&other);
        !is_dark && !self.parted.contains(&(one, other)) && !self.parted.contains(&(other, one))
    }

    fn alive(&mut self) -> Vec<Arc<Pipe>> {
        self.connections.retain(|_, it| it.strong_count() > 0);
        self.connections
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

/// Forgets everything, before a simulation begins.
pub fn begin(is_slow: bool) {
    latency::set_slow(is_slow);
    NETWORK.set(Network::default());
}

/// Nothing gets through between two addresses from now on.
pub fn part(one: IpAddr, other: IpAddr) {
    let alive = NETWORK.with_borrow_mut(|network| {
        network.parted.insert((one, other));
        network.alive()
    });
    for pipe in alive {
        let [a, b] = pipe.addresses().map(|it| it.ip());
        if (a, b) == (one, other) || (b, a) == (one, other) {
            pipe.sever(KEEPALIVE, KEEPALIVE);
        }
    }
}

/// Addresses that were parted reach each other again.
pub fn reunite() {
    NETWORK.with_borrow_mut(|network| network.parted.clear());
}

/// So they do, and nothing is late by far any more.
pub fn mend() {
    latency::set_slow(false);
    reunite();
}

/// The machine at an address is switched off: nobody hears from it again.
pub fn switch_off(address: IpAddr) {
    let alive = NETWORK.with_borrow_mut(|network| {
        network.dark.insert(address);
        network.alive()
    });
    for pipe in alive {
        if pipe.addresses().iter().any(|it| it.ip() == address) {
            pipe.sever(KEEPALIVE, KEEPALIVE);
        }
    }
}

/// The ends of all connections that are up, in the order in which they were made.
pub fn connections() -> Vec<(u64, [SocketAddr; 2])> {
    let alive = NETWORK.with_borrow_mut(Network::alive);
    let up = alive.iter().filter(|it| it.is_up());
    up.map(|it| (it.id(), it.addresses())).collect()
}

/// Breaks a connection. What is under way is lost, and each end learns of it after so long.
pub fn sever(id: u64, notices: [Duration; 2]) {
    let pipe = NETWORK.with_borrow(|it| it.connections.get(&id).and_then(Weak::upgrade));
    if let Some(pipe) = pipe {
        pipe.sever(notices[0], notices[1]);
    }
}

/// Those who wait to be accepted.
#[derive(Debug, Default)]
struct Queue(Mutex<(VecDeque<SimulatedStream>, Option<Waker>)>);

impl Queue {
    /// Whether there was room.
    fn push(&self, stream: SimulatedStream) -> bool {
        let mut queue = self.0.lock().expect("plain data");
        if queue.0.len() >= BACKLOG {
            return false;
        }
        queue.0.push_back(stream);
        if let Some(waker) = queue.1.take() {
            waker.wake();
        }
        true
    }
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    queue: Arc<Queue>,
}

impl Listener {
    /// Listens at an address, at any free port if none is given.
    ///
    /// # Errors
    ///
    /// If somebody does.
    pub fn bind(mut address: SocketAddr) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        NETWORK.with_borrow_mut(|network| {
            if address.port() == 0 {
                address.set_port(network.port(address.ip()));
            }
            if network
                .listeners
                .get(&address)
                .is_some_and(|it| it.strong_count() > 0)
            {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            network.listeners.insert(address, Arc::downgrade(&queue));
            Ok(Self { address, queue })
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, and who dialled.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn accept(&self) -> io::Result<(SimulatedStream, SocketAddr)> {
        let stream = poll_fn(|context| {
            let mut queue = self.queue.0.lock().expect("plain data");
            match queue.0.pop_front() {
                Some(stream) => Poll::Ready(stream),
                None => {
                    queue.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        let peer = stream.peer_addr();
        Ok((stream, peer))
    }
}

/// Connects the current process to an address.
///
/// # Errors
///
/// If nobody listens there, or nothing gets there.
///
/// # Panics
///
/// Outside a process.
pub async fn connect(to: SocketAddr) -> io::Result<SimulatedStream> {
    let from = Process::current().expect("a process dials").address();
    sleep(latency()).await;
    let reaches = NETWORK.with_borrow(|it| it.reaches(from, to.ip()));
    if !reaches {
        sleep(CONNECT_TIMEOUT).await;
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (queue, near, far) = NETWORK.with_borrow_mut(|network| {
        let queue = network.listeners.get(&to).and_then(Weak::upgrade);
        let from = SocketAddr::new(from, network.port(from));
        network.made += 1;
        let pipe = Arc::new(Pipe::new(network.made, [from, to]));
        network
            .connections
            .insert(network.made, Arc::downgrade(&pipe));
        let [near, far] = SimulatedStream::pair(pipe);
        (queue, near, far)
    });
    let is_accepted = queue.is_some_and(|queue| queue.push(far));
    let began = clock::now();
    sleep(latency()).await;
    if !is_accepted {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tracing::trace!(%to, took = ?(clock::now() - began), "connected");
    Ok(near)
}

#[cfg(test)]
mod tests;

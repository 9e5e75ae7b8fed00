//! Direct links: units go between client and nodes without the proxy in between.
//!
//! Whoever opens or locates a value is told the ways to its members, with a pass
//! for each. A node is dialled when it is first needed; until it answers, and
//! wherever it cannot be reached, the relay is the way. A pass is shown once over
//! a link, before the first request that it covers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_host::{
    clock,
    hash::{HashMap, HashSet},
    random, task,
};
use infinicache_socket::Keepalive;
use infinicache_wire::{
    Decoder, Frame, MemberId, Reply, Request, WriteId,
    control::Way,
    pass::{Pass, Right},
};
use tokio::{runtime::Handle, time};
use tracing::debug;

use super::{door::Pause, relay::Relayed};
use crate::{Mux, MuxLink, NodeLink};

/// How long dialling may take. Nobody waits for it.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// No pass is taken to be good for longer. Its issuer may say what it likes.
const LONGEST: Duration = Duration::from_secs(3600);

/// A link that ends sooner than this never was one.
const STABLE: Duration = Duration::from_secs(1);

/// Nodes and passes that are remembered. Beyond that there is the relay.
const MOST: usize = 4096;

/// The direct links to the nodes of one pool.
///
/// They are kept by address: members are numbered anew by each run of the proxy.
#[derive(Debug)]
pub(super) struct Direct {
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    passes: Mutex<HashMap<(WriteId, Right), Ways>>,
    runtime: Handle,
}

/// The ways of one write, and for how many operations.
#[derive(Debug)]
struct Ways {
    users: usize,
    ways: Vec<Known>,
}

/// A way, and until when its pass is good by the clock of this process.
#[derive(Debug)]
struct Known {
    way: Way,
    until: Instant,
}

impl Known {
    fn new(way: Way) -> Self {
        let ttl = Duration::from_millis(way.ttl_ms).min(LONGEST);
        let until = clock::now() + ttl;
        Self { way, until }
    }
}

/// One node.
#[derive(Debug)]
struct Peer {
    address: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    linked: Option<Linked>,
    dialling: bool,
    pause: Pause,
}

#[derive(Debug)]
struct Linked {
    link: MuxLink,
    since: Instant,
    shown: HashSet<(WriteId, Right)>,
}

impl Direct {
    /// Must be called within a tokio runtime.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            peers: Mutex::default(),
            passes: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    /// An operation on a write has begun, and may use these ways until [`Direct::forget`].
    pub(super) fn learn(&self, write: WriteId, right: Right, ways: Vec<Way>) {
        let ways = ways.into_iter().map(Known::new).collect();
        let mut passes = lock(&self.passes);
        if let Some(known) = passes.get_mut(&(write, right)) {
            known.users += 1;
            known.ways = ways;
            return;
        }
        if passes.len() >= MOST {
            let now = clock::now();
            passes.retain(|_, known| known.ways.iter().any(|known| now < known.until));
        }
        if passes.len() < MOST {
            passes.insert((write, right), Ways { users: 1, ways });
        }
    }

    /// The same operation may use another way besides.
    pub(super) fn learn_more(&self, write: WriteId, right: Right, way: Way) {
        if let Some(known) = lock(&self.passes).get_mut(&(write, right)) {
            known.ways.push(Known::new(way));
        }
    }

    /// An operation on a write has ended.
    pub(super) fn forget(&self, write: WriteId, right: Right) {
        let mut passes = lock(&self.passes);
        if let Some(known) = passes.get_mut(&(write, right)) {
            known.users -= 1;
            if known.users == 0 {
                passes.remove(&(write, right));
            }
        }
    }

    /// The node that a request to a member is for, and the link to it, if there is one that may be
    /// used for it.
    fn link(self: &Arc<Self>, member: MemberId, request: &Request) -> Option<(Arc<Peer>, MuxLink)> {
        let (write, right) = Right::needed(request)?;
        let (peer, pass, until) = {
            let passes = lock(&self.passes);
            let ways = &passes.get(&(write, right))?.ways;
            let known = ways.iter().rev().find(|known| known.way.member == member)?;
            let way = &known.way;
            let peer = self.peer(&way.address);
            if let Some(link) = peer.shown(write, right) {
                return Some((peer, link));
            }
            let pass = Pass {
                write,
                right,
                until_ms: way.until_ms,
                proof: way.proof.clone(),
            };
            (peer, pass, known.until)
        };
        if until <= clock::now() {
            return None;
        }
        let link = peer.show(&pass, &self.runtime)?;
        Some((peer, link))
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(address) {
            return peer.clone();
        }
        if peers.len() >= MOST {
            peers.clear();
        }
        let peer = Arc::new(Peer {
            address: address.to_owned(),
            state: Mutex::default(),
        });
        peers.insert(address.to_owned(), peer.clone());
        peer
    }
}

impl Peer {
    /// The link, if a pass has been shown over it.
    fn shown(&self, write: WriteId, right: Right) -> Option<MuxLink> {
        let state = lock(&self.state);
        let linked = state.linked.as_ref()?;
        let is_usable = !linked.link.mux().is_closed() && linked.shown.contains(&(write, right));
        is_usable.then(|| linked.link.clone())
    }

    /// Shows a pass over the link; dials, if there is none.
    fn show(self: &Arc<Self>, pass: &Pass, runtime: &Handle) -> Option<MuxLink> {
        let mut state = lock(&self.state);
        state.settle(clock::now());
        let Some(linked) = &mut state.linked else {
            if !state.dialling && state.pause.rest(clock::now()).is_none() {
                state.dialling = true;
                let (peer, first) = (self.clone(), pass.to_frame());
                runtime.spawn(task::scoped(async move { peer.dial(first).await }));
            }
            return None;
        };
        if !linked.link.mux().post(pass.to_frame()) {
            return None;
        }
        if linked.shown.len() >= MOST {
            linked.shown.clear();
        }
        linked.shown.insert((pass.write, pass.right));
        Some(linked.link.clone())
    }

    /// The node does not answer over its link.
    fn doubt(&self) {
        if let Some(linked) = lock(&self.state).linked.take() {
            linked.link.mux().close();
        }
    }

    /// `first` is a pass, which lets the link come about.
    async fn dial(&self, first: Frame) {
        let dialled = time::timeout(
            DIAL_DEADLINE,
            infinicache_socket::connect(&self.address, Keepalive::PROMPT, |_| Ok(())),
        )
        .await;
        let stream = match dialled {
            Ok(dialled) => dialled,
            Err(late) => Err(late.into()),
        };
        let mut state = lock(&self.state);
        state.dialling = false;
        match stream {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                let unsolicited =
                    |frame: Frame| debug!(kind = ?frame.header.kind, "frame that answers nothing");
                let mux = Mux::start(reader, writer, Decoder::new(), unsolicited);
                mux.post(first);
                state.linked = Some(Linked {
                    // The node knows which member it is.
                    link: mux.link(MemberId(0)),
                    since: clock::now(),
                    shown: HashSet::default(),
                });
            }
            Err(error) => {
                debug!(address = self.address, %error, "node not reached directly");
                state.pause.extend(clock::now(), random());
            }
        }
    }
}

impl State {
    /// Lets go of a link that has ended.
    fn settle(&mut self, now: Instant) {
        let ended = self.linked.take_if(|linked| linked.link.mux().is_closed());
        match ended {
            Some(linked) if now.saturating_duration_since(linked.since) < STABLE => {
                self.pause.extend(now, random());
            }
            Some(_) => self.pause = Pause::default(),
            None => {}
        }
    }
}

/// The way to one member: the direct one if there is one, the relay otherwise.
#[derive(Clone, Debug)]
pub(super) struct Routed {
    /// `None` if there is to be nothing but the relay.
    pub(super) direct: Option<Arc<Direct>>,
    pub(super) relayed: Relayed,
}

impl NodeLink for Routed {
    async fn call(&self, request: Request) -> Reply {
        let member = self.relayed.member;
        if let Some(direct) = &self.direct
            && let Some((peer, link)) = direct.link(member, &request)
        {
            match link.call(request.clone()).await {
                // Every request may be repeated.
                Reply::Unreachable => {}
                Reply::Late => {
                    peer.doubt();
                    return Reply::Late;
                }
                reply => return reply,
            }
        }
        self.relayed.call(request).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random() -> u32 {
    random::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use infinicache_wire::ChunkId;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const WRITE: WriteId = WriteId {
        epoch: 1,
        sequence: 7,
    };

    /// A node that believes every pass and answers every request with its name.
    async fn node(name: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut decoder = Decoder::new();
            while let Ok(1..) = stream.read_buf(&mut decoder.buffer()).await {
                while let Some(frame) = decoder.decode().unwrap() {
                    let id = frame.header.id;
                    if Request::from_frame(frame).is_err() {
                        continue;
                    }
                    let bytes = Bytes::from_static(name.as_bytes());
                    let reply = Reply::Done { bytes, checksum: 0 }.into_frame(id);
                    stream.write_all(&reply.header.encode()).await.unwrap();
                    stream.write_all(&reply.payload).await.unwrap();
                }
            }
        });
        address
    }

    /// Who answers a member's requests for the units of the write.
    async fn answers(direct: &Arc<Direct>, member: MemberId) -> Bytes {
        let chunk = ChunkId {
            write: WRITE,
            index: 0,
        };
        let request = Request::Get {
            chunk,
            unit: 0,
            want: 6,
        };
        let asking = async {
            loop {
                if let Some((_, link)) = direct.link(member, &request) {
                    match link.call(request.clone()).await {
                        Reply::Done { bytes, .. } => return bytes,
                        other => panic!("{other:?}"),
                    }
                }
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        time::timeout(Duration::from_secs(30), asking)
            .await
            .expect("the node is reached")
    }

    #[tokio::test]
    async fn members_that_are_numbered_anew_are_found_at_their_new_numbers() {
        let nodes = [node("first").await, node("second").await];
        let numbered = |numbers: [u32; 2]| {
            let way = |(address, number): (&String, u32)| Way {
                member: MemberId(number),
                address: address.clone(),
                // The node's clock is none of the client's business.
                until_ms: 0,
                ttl_ms: 60_000,
                proof: "proof".to_owned(),
            };
            nodes.iter().zip(numbers).map(way).collect::<Vec<_>>()
        };
        let direct = Direct::new();
        direct.learn(WRITE, Right::Get, numbered([1, 2]));
        assert_eq!(answers(&direct, MemberId(1)).await, "first");
        assert_eq!(answers(&direct, MemberId(2)).await, "second");
        direct.forget(WRITE, Right::Get);

        direct.learn(WRITE, Right::Get, numbered([2, 1]));
        assert_eq!(answers(&direct, MemberId(1)).await, "second");
        assert_eq!(answers(&direct, MemberId(2)).await, "first");
    }
}

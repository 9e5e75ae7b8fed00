//! Direct links: units go between client and nodes without the proxy in between.
//!
//! A client that opens or locates a value gets the routes to its members, with a
//! token for each. A node is dialled when it is first needed; until it answers,
//! and wherever it cannot be reached, the relay is the way. A token is shown once
//! over a link, before the first request that it covers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_engine::{Mux, MuxLink, NodeLink};
use infinicache_host::{
    clock,
    hash::{HashMap, HashSet},
    random, task,
};
use infinicache_socket::Keepalive;
use infinicache_wire::{
    Decoder, Frame, MemberId, Reply, Request, WriteId,
    control::Route,
    token::{Permission, Token},
};
use tokio::{runtime::Handle, time};
use tracing::debug;

use crate::{connector::Pause, relay::Relayed};

/// How long dialling may take. No request waits for it.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// No token is taken to be good for longer. Its issuer may say what it likes.
const LONGEST: Duration = Duration::from_secs(3600);

/// A link that ends sooner than this never was one.
const STABLE: Duration = Duration::from_secs(1);

/// Nodes and tokens that are remembered. Beyond that there is the relay.
const MOST: usize = 4096;

/// The direct links to the nodes of one pool.
///
/// They are kept by address: members are numbered anew by each run of the proxy.
#[derive(Debug)]
pub(crate) struct Direct {
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    tokens: Mutex<HashMap<(WriteId, Permission), KnownRoutes>>,
    runtime: Handle,
}

/// The routes of one write, and for how many operations.
#[derive(Debug)]
struct KnownRoutes {
    users: usize,
    routes: Vec<KnownRoute>,
}

/// A route, and until when its token is good by the clock of this process.
#[derive(Debug)]
struct KnownRoute {
    route: Route,
    until: Instant,
}

impl KnownRoute {
    fn new(route: Route) -> Self {
        let ttl = Duration::from_millis(route.ttl_ms).min(LONGEST);
        let until = clock::now() + ttl;
        Self { route, until }
    }
}

/// One node.
#[derive(Debug)]
struct Peer {
    address: String,
    state: Mutex<PeerState>,
}

#[derive(Debug, Default)]
struct PeerState {
    linked: Option<Linked>,
    dialling: bool,
    pause: Pause,
}

#[derive(Debug)]
struct Linked {
    link: MuxLink,
    since: Instant,
    shown: HashSet<(WriteId, Permission)>,
}

impl Direct {
    /// Must be called within a tokio runtime.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            peers: Mutex::default(),
            tokens: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    /// An operation on a write has begun, and may use these routes until [`Direct::forget`].
    pub(crate) fn learn(&self, write: WriteId, right: Permission, routes: Vec<Route>) {
        let routes = routes.into_iter().map(KnownRoute::new).collect();
        let mut tokens = lock(&self.tokens);
        if let Some(known) = tokens.get_mut(&(write, right)) {
            known.users += 1;
            known.routes = routes;
            return;
        }
        if tokens.len() >= MOST {
            let now = clock::now();
            tokens.retain(|_, known| known.routes.iter().any(|known| now < known.until));
        }
        if tokens.len() < MOST {
            tokens.insert((write, right), KnownRoutes { users: 1, routes });
        }
    }

    /// The same operation may use another route besides.
    pub(crate) fn learn_more(&self, write: WriteId, right: Permission, route: Route) {
        if let Some(known) = lock(&self.tokens).get_mut(&(write, right)) {
            known.routes.push(KnownRoute::new(route));
        }
    }

    /// An operation on a write has ended.
    pub(crate) fn forget(&self, write: WriteId, right: Permission) {
        let mut tokens = lock(&self.tokens);
        if let Some(known) = tokens.get_mut(&(write, right)) {
            known.users -= 1;
            if known.users == 0 {
                tokens.remove(&(write, right));
            }
        }
    }

    /// The node that a request to a member is for, and the link to it, if there is one that may be
    /// used for it.
    fn link(self: &Arc<Self>, member: MemberId, request: &Request) -> Option<(Arc<Peer>, MuxLink)> {
        let (write, right) = Permission::needed(request)?;
        let (peer, token, until) = {
            let tokens = lock(&self.tokens);
            let routes = &tokens.get(&(write, right))?.routes;
            let known = routes
                .iter()
                .rev()
                .find(|known| known.route.member == member)?;
            let route = &known.route;
            let peer = self.peer(&route.address);
            if let Some(link) = peer.shown(write, right) {
                return Some((peer, link));
            }
            let token = Token {
                write,
                right,
                until_ms: route.until_ms,
                proof: route.proof.clone(),
            };
            (peer, token, known.until)
        };
        if until <= clock::now() {
            return None;
        }
        let link = peer.show(&token, &self.runtime)?;
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
    /// The link, if a token has been shown over it.
    fn shown(&self, write: WriteId, right: Permission) -> Option<MuxLink> {
        let state = lock(&self.state);
        let linked = state.linked.as_ref()?;
        let is_usable = !linked.link.mux().is_closed() && linked.shown.contains(&(write, right));
        is_usable.then(|| linked.link.clone())
    }

    /// Shows a token over the link; dials, if there is none.
    fn show(self: &Arc<Self>, token: &Token, runtime: &Handle) -> Option<MuxLink> {
        let mut state = lock(&self.state);
        state.drop_ended(clock::now());
        let Some(linked) = &mut state.linked else {
            if !state.dialling && state.pause.rest(clock::now()).is_none() {
                state.dialling = true;
                let (peer, first) = (self.clone(), token.to_frame());
                runtime.spawn(task::scoped(async move { peer.dial(first).await }));
            }
            return None;
        };
        if !linked.link.mux().post(token.to_frame()) {
            return None;
        }
        if linked.shown.len() >= MOST {
            linked.shown.clear();
        }
        linked.shown.insert((token.write, token.right));
        Some(linked.link.clone())
    }

    /// The node does not answer over its link.
    fn doubt(&self) {
        if let Some(linked) = lock(&self.state).linked.take() {
            linked.link.mux().close();
        }
    }

    /// `first` is a token, which lets the link come about.
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

impl PeerState {
    /// Lets go of a link that has ended.
    fn drop_ended(&mut self, now: Instant) {
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

/// The route to one member: the direct one if there is one, the relay otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    /// `None` if there is to be nothing but the relay.
    pub(crate) direct: Option<Arc<Direct>>,
    pub(crate) relayed: Relayed,
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

    /// A node that believes every token and answers every request with its name.
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
            let route = |(address, number): (&String, u32)| Route {
                member: MemberId(number),
                address: address.clone(),
                // The node's clock is none of the client's business.
                until_ms: 0,
                ttl_ms: 60_000,
                proof: "proof".to_owned(),
            };
            nodes.iter().zip(numbers).map(route).collect::<Vec<_>>()
        };
        let direct = Direct::new();
        direct.learn(WRITE, Permission::Get, numbered([1, 2]));
        assert_eq!(answers(&direct, MemberId(1)).await, "first");
        assert_eq!(answers(&direct, MemberId(2)).await, "second");
        direct.forget(WRITE, Permission::Get);

        direct.learn(WRITE, Permission::Get, numbered([2, 1]));
        assert_eq!(answers(&direct, MemberId(1)).await, "second");
        assert_eq!(answers(&direct, MemberId(2)).await, "first");
    }
}

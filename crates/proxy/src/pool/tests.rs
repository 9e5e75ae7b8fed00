//! The pool and a node that is a test, over real sockets.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Uri;
use infinicache_membership::Epoch;
use infinicache_socket::Keepalive;
use infinicache_wire::{
    ByeReason, Decoder, Frame, InstanceId, MemberId, Outbox, PROTOCOL_VERSION, Reply, Request,
    Secret, checksum,
    control::{NodeState, NodeStatus, WakeFailure},
    handshake::{Hello, Welcome},
    wake::{Lifetimes, Wake},
    wake_answer::WakeAnswer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time,
};

use super::{lifecycle::LifecycleTimings, member::Member, *};

pub(crate) const TIMING: LifecycleTimings = LifecycleTimings {
    ping_every: Duration::from_millis(100),
    lost_after: Duration::from_secs(60),
    dead_after: Duration::from_secs(900),
    preflight_freshness: Duration::from_millis(400),
    wake_deadline: Duration::from_secs(5),
    wake_backoff: Duration::from_millis(50),
    keep_awake_every: Duration::from_secs(600),
};

fn secret() -> Secret {
    Secret::new(b"a secret of the tests").unwrap()
}

/// What a node does besides following the protocol.
#[derive(Debug, Default)]
struct Whims {
    /// It accepts wakes, and does nothing.
    stays_away: AtomicBool,
    /// It reads, and does not answer.
    is_silent: AtomicBool,
    wakes: AtomicUsize,
    /// How often it dialled, and was not welcomed.
    refusals: AtomicUsize,
    /// How many processes there have been before the one that is woken.
    before: AtomicU64,
    /// It says that its session is over.
    tires: Notify,
}

impl Whims {
    fn wakes(&self) -> usize {
        self.wakes.load(Relaxed)
    }

    /// The process that is woken.
    fn instance(&self) -> InstanceId {
        InstanceId(self.before.load(Relaxed) + 1)
    }

    /// The pod that it runs in.
    fn pod(&self) -> String {
        match self.before.load(Relaxed) {
            0 => "n-pod".into(),
            before => format!("n-pod-{before}"),
        }
    }
}

pub(crate) struct Pool {
    pub(crate) nodes: Nodes,
    /// Where the one node is woken.
    url: Uri,
    whims: Arc<Whims>,
}

impl Pool {
    /// A pool of one node, which is configured.
    pub(crate) async fn new(timing: LifecycleTimings) -> Self {
        Self::found(timing, true).await
    }

    /// A pool of one node, which is configured or has yet to be observed.
    async fn found(timing: LifecycleTimings, configured: bool) -> Self {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let node_listener = infinicache_socket::listen(local, Keepalive::PROMPT);
        let (node_listener, platform) = (node_listener.await.unwrap(), bind().await);
        let whims = Arc::new(Whims::default());
        let settings = Settings {
            timing,
            secret: secret(),
            advertise: node_listener.local_addr().unwrap().to_string(),
            epoch: Epoch::beginning(1, 0),
            parity: 0,
            lease: Duration::from_secs(5),
            lifetimes: Lifetimes::default(),
            clock: PoolClock::default(),
        };
        let url: Uri = format!("http://{}", platform.local_addr().unwrap())
            .parse()
            .unwrap();
        let (latencies, metrics) = (Arc::default(), Arc::new(Metrics::new()));
        let address = NodeAddress {
            name: "n".into(),
            url: url.clone(),
        };
        let addresses = if configured { vec![address] } else { vec![] };
        let nodes = Nodes::new(settings, addresses, latencies, metrics);
        tokio::spawn(listener::open(node_listener, nodes.admission().clone()));
        tokio::spawn(nodes.clone().live());
        tokio::spawn(run_node(platform, whims.clone()));
        Self { nodes, url, whims }
    }

    async fn ensure(&self, patience: Duration) -> Option<Arc<Member>> {
        self.nodes
            .availability()
            .ensure(0, Instant::now() + patience)
            .await
    }

    pub(crate) async fn awake(&self) -> Arc<Member> {
        let awake = self.ensure(Duration::from_secs(30)).await;
        awake.expect("the node wakes up")
    }

    /// From now on the node reads, and does not answer.
    pub(crate) fn fall_silent(&self) {
        self.whims.is_silent.store(true, Relaxed);
    }

    /// The process of a member ends, and the next wake starts another.
    pub(crate) fn end(&self, member: &Member) {
        self.whims.before.fetch_add(1, Relaxed);
        member.link().unwrap().mux().close();
    }

    /// The member, whose session is over.
    async fn resting(&self) -> Arc<Member> {
        let member = self.awake().await;
        self.whims.tires.notify_one();
        self.until("it rests", |pool| pool.view().resting).await;
        member
    }

    fn view(&self) -> NodeStatus {
        self.nodes.availability().status().remove(0)
    }

    fn counted(&self, what: &str) -> u64 {
        let text = self.nodes.0.records.metrics.render(|_| {});
        let line = text.lines().find(|line| line.starts_with(what));
        let count = line.and_then(|line| line.rsplit(' ').next());
        count.expect("it is shown from the start").parse().unwrap()
    }

    /// Waits for what has to come.
    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = time::timeout(Duration::from_secs(30), waiting).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.view());
    }
}

/// Answers wakes, one request a connection, and dials back.
async fn run_node(platform: TcpListener, whims: Arc<Whims>) {
    let mut last = None;
    loop {
        let (mut stream, _) = platform.accept().await.unwrap();
        let wake = read_wake(&mut stream).await;
        whims.wakes.fetch_add(1, Relaxed);
        let woken = Some((wake.session.clone(), whims.instance()));
        let linked = woken == last;
        let stays_away = whims.stays_away.load(Relaxed);
        if !stays_away {
            last = woken;
        }
        let answer = WakeAnswer {
            version: PROTOCOL_VERSION,
            node: wake.node.clone(),
            instance: whims.instance(),
            session: wake.session.clone(),
            linked,
            held: false,
            proof: String::new(),
        };
        let line = answer.signed(&secret()).to_line();
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            line.len()
        );
        let answer = [head.as_bytes(), &line].concat();
        stream.write_all(&answer).await.unwrap();
        if !linked && !stays_away {
            tokio::spawn(dial(wake, whims.clone()));
        }
    }
}

async fn read_wake(stream: &mut TcpStream) -> Wake {
    let mut request = Vec::new();
    loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let text = String::from_utf8_lossy(&request);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && body.ends_with('}')
        {
            return Wake::parse(body.as_bytes(), &secret()).unwrap();
        }
    }
}

async fn dial(wake: Wake, whims: Arc<Whims>) {
    let mut stream = TcpStream::connect(&wake.proxy).await.unwrap();
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        node: wake.node,
        instance: whims.instance(),
        session: wake.session,
        pod: whims.pod(),
        host: String::new(),
        zone: String::new(),
        capacity: 1 << 30,
        used: 0,
        direct: String::new(),
        epoch: 0,
        proof: String::new(),
    };
    send(&mut stream, hello.signed(&secret()).to_frame()).await;
    let mut decoder = Decoder::new();
    let Some(welcome) = next(&mut stream, &mut decoder).await else {
        whims.refusals.fetch_add(1, Relaxed);
        return;
    };
    Welcome::from_frame(&welcome).unwrap();
    loop {
        tokio::select! {
            () = whims.tires.notified() => {
                send(&mut stream, ByeReason::SessionOver.to_frame()).await;
            }
            frame = next(&mut stream, &mut decoder) => {
                let Some(frame) = frame else { return };
                let id = frame.header.id;
                let request = Request::from_frame(frame).unwrap();
                let reply = match request {
                    Request::Ping { .. } | Request::StoreView(_) => {
                        Reply::Done { bytes: Bytes::from_static(b"{}"), checksum: 0 }
                    }
                    // Of every chunk it has the first unit, and sealed it wrong if it is chunk 1.
                    Request::Get { chunk, unit: 0, want } => {
                        let bytes = Bytes::from(vec![7; want as usize]);
                        let sealed = checksum(chunk, 0, &bytes) + u64::from(chunk.index);
                        Reply::Done { bytes, checksum: sealed }
                    }
                    Request::Get { .. } => Reply::NotFound,
                    Request::Free { .. } => Reply::Done { bytes: Bytes::new(), checksum: 0 },
                    other => panic!("nobody asks for {other:?} here"),
                };
                if !whims.is_silent.load(Relaxed) {
                    send(&mut stream, reply.into_frame(id)).await;
                }
            }
        }
    }
}

async fn send(stream: &mut TcpStream, frame: Frame) {
    let mut outbox = Outbox::new();
    outbox.push(frame);
    // The proxy may have closed it.
    let _ = stream.write_all_buf(&mut outbox).await;
}

async fn next(stream: &mut TcpStream, decoder: &mut Decoder) -> Option<Frame> {
    loop {
        if let Some(frame) = decoder.decode().unwrap() {
            return Some(frame);
        }
        if stream.read_buf(&mut decoder.buffer()).await.ok()? == 0 {
            return None;
        }
    }
}

mod observed;

#[tokio::test]
async fn a_node_is_woken_once_for_all_who_need_it() {
    let pool = Pool::new(TIMING).await;
    let all = (0..50).map(|_| pool.awake());
    let members = futures_util::future::join_all(all).await;
    assert!(members.iter().all(|member| member.id == members[0].id));
    assert_eq!(pool.whims.wakes(), 1);
    assert_eq!(
        pool.counted("infinicache_proxy_wakes_total{result=\"woken\"}"),
        1
    );
}

#[tokio::test]
async fn a_node_that_never_dials_back_holds_nobody_up_and_is_told_of() {
    let hasty = LifecycleTimings {
        wake_deadline: Duration::from_millis(300),
        ..TIMING
    };
    let pool = Pool::new(hasty).await;
    pool.whims.stays_away.store(true, Relaxed);
    assert!(pool.ensure(Duration::from_millis(100)).await.is_none());
    pool.until("the wake counts as failed", |pool| {
        pool.view().wake_failure == Some(WakeFailure::NeverDialled)
    })
    .await;
    let failures = "infinicache_proxy_wake_failures_total{reason=\"never_dialled\"}";
    assert!(pool.counted(failures) >= 1);

    pool.whims.stays_away.store(false, Relaxed);
    pool.until("it can be tried again", |pool| {
        !pool.nodes.availability().usable().is_empty()
    })
    .await;
    pool.awake().await;
    assert_eq!(pool.view().wake_failure, None);
}

#[tokio::test]
async fn a_new_member_counts_only_once_it_answers_for_it_may_hold_something_until_then() {
    let pool = Pool::new(TIMING).await;
    pool.fall_silent();
    assert!(pool.ensure(Duration::from_millis(10)).await.is_none());
    pool.until("it is linked", |pool| {
        !pool.nodes.members().all().is_empty()
    })
    .await;
    assert!(
        !pool
            .nodes
            .membership()
            .may_be_member(pool.nodes.members().all()[0].id)
    );
}

#[tokio::test]
async fn who_waits_for_the_right_to_answer_has_it_once_a_majority_vouches_for_the_run() {
    let pool = Pool::new(TIMING).await;
    pool.nodes.membership().isolate();
    let mut waiting = std::pin::pin!(pool.nodes.membership().until_may_answer());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    tokio::join!(pool.awake(), waiting);
    assert!(pool.nodes.lease().may_answer());
}

#[tokio::test]
async fn an_instance_that_joins_anew_counts_as_the_member_that_it_is_now_alone() {
    let pool = Pool::new(TIMING).await;
    let before = pool.awake().await.id;
    let now = Member::of(MemberId(before.0 + 1));
    pool.nodes.membership().join(&now);
    assert!(
        pool.nodes.membership().may_be_member(now.id)
            && !pool.nodes.membership().may_be_member(before)
    );
}

#[tokio::test]
async fn expelling_who_is_gone_takes_nothing() {
    let pool = Pool::new(TIMING).await;
    let nobody = MemberId(pool.awake().await.id.0 + 1);
    assert!(pool.nodes.membership().remove_silent(&[nobody]).await);
}

#[tokio::test]
async fn a_member_that_answers_pings_needs_no_preflight() {
    let pool = Pool::new(TIMING).await;
    let member = pool.awake().await;
    let until = Instant::now() + TIMING.preflight_freshness * 3;
    while Instant::now() < until {
        time::sleep(Duration::from_millis(20)).await;
    }
    pool.until("it was heard of lately", |pool| !pool.view().slow)
        .await;
    assert_eq!(pool.awake().await.id, member.id);
    assert_eq!(pool.whims.wakes(), 1);
    assert_eq!(
        pool.nodes.availability().usable()[0]
            .member
            .as_ref()
            .unwrap()
            .id,
        member.id
    );
}

#[tokio::test]
async fn a_silent_member_is_pinged_then_woken_and_is_the_member_that_it_was() {
    let pool = Pool::new(TIMING).await;
    let member = pool.awake().await;
    let before = pool.nodes.availability().link(member.id).unwrap();
    pool.fall_silent();
    pool.until("it is ranked behind those that are heard", |pool| {
        pool.view().slow && pool.nodes.availability().usable()[0].member.is_none()
    })
    .await;
    assert!(
        pool.nodes.availability().link(member.id).is_some(),
        "nobody waits"
    );
    pool.until("it is woken", |pool| pool.whims.wakes() == 2)
        .await;
    assert!(pool.counted("infinicache_proxy_preflights_total{result=\"sent\"}") >= 1);
    assert!(pool.counted("infinicache_proxy_preflights_total{result=\"late\"}") >= 1);
    assert!(pool.counted("infinicache_proxy_preflights_total{result=\"rewoken\"}") >= 1);

    pool.whims.is_silent.store(false, Relaxed);
    assert_eq!(pool.awake().await.id, member.id);
    pool.until("the old link gives way to the new one", |_| {
        before.mux().is_closed()
    })
    .await;
    assert_eq!(pool.counted("infinicache_proxy_nodes_lost_total"), 0);
}

#[tokio::test]
async fn a_member_that_answers_its_preflight_is_not_woken() {
    let rarely = LifecycleTimings {
        ping_every: Duration::from_secs(600),
        ..TIMING
    };
    let pool = Pool::new(rarely).await;
    let member = pool.awake().await;
    pool.until("it is silent", |pool| pool.view().slow).await;
    assert_eq!(pool.awake().await.id, member.id);
    assert_eq!(pool.whims.wakes(), 1);
    let answered = "infinicache_proxy_preflights_total{result=\"answered\"}";
    pool.until("it is counted", |pool| pool.counted(answered) == 1)
        .await;
}

#[tokio::test]
async fn a_member_that_rests_is_woken_over_the_link_that_is_there_when_it_is_needed() {
    let pool = Pool::new(TIMING).await;
    let member = pool.resting().await;
    assert_eq!(pool.view().state, NodeState::Active);
    assert_eq!(pool.whims.wakes(), 1, "nobody needs it");

    let link = pool
        .nodes
        .availability()
        .link(member.id)
        .expect("nobody waits");
    pool.until("it is woken", |pool| pool.whims.wakes() == 2)
        .await;
    let resumed = "infinicache_proxy_wakes_total{result=\"resumed\"}";
    pool.until("it is counted", |pool| pool.counted(resumed) == 1)
        .await;
    assert!(!pool.view().resting);
    assert!(!link.mux().is_closed(), "its session is the one it had");
    let goodbyes = "infinicache_proxy_node_byes_total{reason=\"session_over\"}";
    assert_eq!(pool.counted(goodbyes), 1);
}

#[tokio::test]
async fn an_instance_that_answers_in_a_members_place_comes_with_a_session_of_its_own() {
    let pool = Pool::new(TIMING).await;
    let first = pool.resting().await;
    // The platform has put another process in its place, which the next wake reaches.
    pool.whims.before.store(1, Relaxed);
    pool.nodes
        .availability()
        .link(first.id)
        .expect("nobody waits");
    pool.until("it dials with the session that is taken", |pool| {
        pool.whims.refusals.load(Relaxed) == 1
    })
    .await;
    pool.until("it is a member", |pool| {
        pool.nodes.members().all().len() == 2
    })
    .await;
    let second = pool.awake().await;
    assert_ne!(second.instance, first.instance);
    assert_eq!(pool.whims.wakes(), 3);
    let joined = "infinicache_proxy_nodes_joined_total";
    assert_eq!(pool.counted(joined), 2, "over one link each");
}

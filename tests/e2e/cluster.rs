//! A cache on this machine: started for a test, and gone with it.
//!
//! - [`options`]: how it is started;
//! - [`nodes`]: its node processes, and what can happen to them;
//! - [`run`]: the runs of its proxy;
//! - [`stop`]: its end, which leaves nothing behind.

mod nodes;
mod options;
mod run;
mod stop;

use std::{
    collections::BTreeSet,
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use infinicache::http;
use infinicache_client::{ChunkStat, Client, Error, Options as ClientOptions};
use infinicache_wire::control::NodeState;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout},
    time::{self, Instant},
};

use crate::{
    openmetrics::Metrics,
    processes::{DEADLINE, ports},
    random::Random,
    resp::Raw,
    wire::Wire,
};
pub(crate) use nodes::Node;
pub(crate) use options::Options;
pub(crate) use run::SECRET;

/// How long anything may take that is expected to happen: wakes and repairs
/// with retries, on a machine that runs other tests beside.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_mul(2);

/// How often is looked for it.
const LOOK: Duration = Duration::from_millis(25);

/// A cache that is ready.
pub(crate) struct Cluster {
    up: Child,
    /// Kept open: what `up` prints must go somewhere.
    _said: BufReader<ChildStdout>,
    /// What its processes log.
    log: PathBuf,
    redis: SocketAddr,
    admin: SocketAddr,
    front: SocketAddr,
}

impl Cluster {
    /// Starts a cache, with the options that `change` makes of the usual ones.
    pub(crate) async fn start(change: impl FnOnce(Options) -> Options) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Relaxed);
        let name = format!("e2e-{}-{number}.log", std::process::id());
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);

        let [redis, admin] = ports();
        let options = change(Options::new(redis, admin));
        let mut up = options
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(up.stdout.take().unwrap());
        let ready = time::timeout(PATIENCE, front_address(&mut said)).await;
        let Ok(Some(front)) = ready else {
            panic!("no cache: {}", std::fs::read_to_string(&log).unwrap());
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            up,
            _said: said,
            log,
            redis: local(redis),
            admin: local(admin),
            front,
        }
    }

    /// The same with a wire between the nodes and the proxy.
    pub(crate) async fn start_wired(
        random: Random,
        change: impl FnOnce(Options) -> Options,
    ) -> (Self, Wire) {
        let [port] = ports();
        let wire = Wire::start((Ipv4Addr::LOCALHOST, port).into(), random).await;
        let cluster = Self::start(|up| change(up.dial(port, wire.address()))).await;
        (cluster, wire)
    }

    /// Where Redis clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.redis
    }

    /// Where metrics and probes are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A connection of the `redis` crate.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        Self::connect(&self.redis_client()).await.unwrap()
    }

    /// One who can make such connections.
    pub(crate) fn redis_client(&self) -> redis::Client {
        redis::Client::open(format!("redis://{}", self.redis)).unwrap()
    }

    /// Makes one, with the patience that tests have.
    pub(crate) async fn connect(
        client: &redis::Client,
    ) -> redis::RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// A client of ours.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(ClientOptions::default()).await
    }

    pub(crate) async fn client_with(&self, options: ClientOptions) -> Client {
        options.connect([self.redis.to_string()]).await.unwrap()
    }

    /// A connection that does what it is told, byte by byte.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.redis).await
    }

    /// What the proxy counts.
    pub(crate) async fn metrics(&self) -> Metrics {
        let (status, text) = self.page("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// A page of the admin port: its status and its text.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let (status, body) = http::get(self.admin, path, PATIENCE).await.unwrap();
        (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }

    /// Where nodes are woken: each at its name.
    pub(crate) fn front(&self) -> SocketAddr {
        self.front
    }

    /// The process of the proxy.
    pub(crate) async fn proxy(&self) -> u64 {
        self.told("/proxy").await["pid"].as_u64().unwrap()
    }

    /// Tells the activator what a node suffers from now on: a document of its `/faults`.
    pub(crate) async fn harm(&self, node: &str, faults: &Json) {
        self.post(&format!("/faults/{node}"), faults.to_string())
            .await;
    }

    /// Has the activator replace a node, as the platform does.
    pub(crate) async fn replace(&self, node: &str) {
        self.post(&format!("/replace/{node}"), String::new()).await;
    }

    /// Has the activator replace all nodes at once.
    pub(crate) async fn replace_all(&self) {
        self.post("/replace", String::new()).await;
    }

    async fn post(&self, path: &str, body: String) {
        let request = Request::post(path)
            .header("host", self.front.to_string())
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let stream = http::connect(self.front).await.unwrap();
        let sent = time::timeout(PATIENCE, http::exchange(stream, request)).await;
        assert_eq!(sent.unwrap().unwrap().status(), 204, "{path}");
    }

    /// What its processes have logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// A page of the activator.
    async fn told(&self, path: &str) -> Json {
        let (_, body) = http::get(self.front, path, PATIENCE).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until every chunk of the values of these keys is on a node of its own that
    /// takes part, and the proxy knows of no object that lacks one.
    pub(crate) async fn until_whole(&self, keys: impl IntoIterator<Item = &str>) {
        let client = self.client().await;
        for key in keys {
            until("a value is whole", async || {
                let is_held = |chunk: &ChunkStat| chunk.state == Some(NodeState::Active);
                match client.stat(key).await {
                    Ok(stat) if stat.chunks.iter().all(is_held) => {
                        let nodes: BTreeSet<_> = stat.chunks.iter().map(|it| &it.node).collect();
                        let is_spread = nodes.len() == stat.chunks.len();
                        assert!(is_spread, "{key}: two chunks on a node: {stat:?}");
                        Some(())
                    }
                    Ok(_) => None,
                    Err(Error::Miss) => Some(()),
                    Err(error) => panic!("{key}: {error}"),
                }
            })
            .await;
        }
        until("no object is degraded", async || {
            let metrics = self.metrics().await;
            let degraded = metrics.total("infinicache_proxy_objects_degraded");
            (degraded == 0.0).then_some(())
        })
        .await;
    }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up, "not within {PATIENCE:?}: {what}");
        time::sleep(LOOK).await;
    }
}

/// How many keys there are.
pub(crate) async fn dbsize(redis: &mut MultiplexedConnection) -> u64 {
    redis::cmd("DBSIZE").query_async(redis).await.unwrap()
}

/// Reads the address of the activator off what `up` prints when it is ready.
async fn front_address(said: &mut BufReader<ChildStdout>) -> Option<SocketAddr> {
    let mut line = String::new();
    while said.read_line(&mut line).await.ok()? > 0 {
        if let Some(url) = line.strip_prefix("nodes") {
            let url = url.trim().trim_start_matches("http://");
            return url.trim_end_matches('/').parse().ok();
        }
        line.clear();
    }
    None
}

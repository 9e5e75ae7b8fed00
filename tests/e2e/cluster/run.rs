//! Runs of the proxy: the one that `up` keeps going, and one beside it.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
};

use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    time,
};

use super::{Cluster, until};
use crate::{
    openmetrics::Metrics,
    processes::{kill, ports},
};

/// The secret of caches that a test starts another proxy for.
pub(crate) const SECRET: &str = "a secret that is only for tests";

impl Cluster {
    /// Ends the proxy without a word of farewell, and waits until another one answers.
    pub(crate) async fn restart_proxy(&self) {
        let old = self.proxy().await;
        kill(old, Signal::KILL);
        until("the proxy is started again", async || {
            let pid = self.told("/proxy").await["pid"].as_u64();
            pid.filter(|pid| *pid != old)
        })
        .await;
        until("the proxy is ready", async || self.is_ready().await).await;
    }

    /// How often the proxy was started again.
    pub(crate) async fn proxy_restarts(&self) -> u64 {
        self.told("/proxy").await["restarts"].as_u64().unwrap_or(0)
    }

    pub(crate) async fn is_ready(&self) -> Option<()> {
        let page = infinicache::http::get(self.admin, "/readyz", super::PATIENCE).await;
        page.ok().filter(|(status, _)| *status == 200).map(drop)
    }

    /// Starts another proxy of the same nodes, which knows nothing of the first, with `env` besides
    /// the usual, and waits until it answers.
    pub(crate) async fn another_proxy(&self, env: &[(&str, &str)]) -> Rival {
        let rival = self.start_another_proxy(env).await;
        until("the other proxy answers", async || {
            let mut redis = rival.try_redis().await.ok()?;
            let size = redis::cmd("DBSIZE").query_async::<u64>(&mut redis).await;
            size.ok().map(drop)
        })
        .await;
        rival
    }

    /// The same without waiting.
    pub(crate) async fn start_another_proxy(&self, env: &[(&str, &str)]) -> Rival {
        let [redis, admin] = ports();
        let nodes = self.nodes().await;
        let urls: Vec<String> = nodes
            .iter()
            .map(|node| format!("{0}=http://{1}/{0}", node.name, self.front))
            .collect();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let log = self.log.with_extension(format!("rival-{redis}.log"));
        let process = Command::new(env!("CARGO_BIN_EXE_infinicache"))
            .arg("proxy")
            .env("INFINICACHE_LISTEN", local(redis))
            .env("INFINICACHE_ADMIN_LISTEN", local(admin))
            .env("INFINICACHE_NODE_LISTEN", local(0))
            .env("INFINICACHE_NODES", urls.join(","))
            .env("INFINICACHE_SECRET", SECRET)
            .env("INFINICACHE_LEASE", "2s")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Rival {
            process,
            log,
            redis,
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, admin)),
        }
    }
}

/// A proxy that was started beside the one of a cache.
pub(crate) struct Rival {
    process: Child,
    log: PathBuf,
    redis: u16,
    admin: SocketAddr,
}

impl Rival {
    /// A connection of the `redis` crate.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        self.try_redis().await.unwrap()
    }

    /// Waits for its end; whether it went well, and what it said.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let status = time::timeout(super::PATIENCE, self.process.wait()).await;
        let status = status.expect("it ends by itself").unwrap();
        (
            status.success(),
            std::fs::read_to_string(&self.log).unwrap(),
        )
    }

    /// What it counts.
    pub(crate) async fn metrics(&self) -> Metrics {
        let page = infinicache::http::get(self.admin, "/metrics", super::PATIENCE).await;
        let (_, text) = page.unwrap();
        Metrics::parse(std::str::from_utf8(&text).unwrap()).unwrap()
    }

    async fn try_redis(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.redis))?;
        client.get_multiplexed_async_connection().await
    }
}

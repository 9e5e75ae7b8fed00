//! The proxy process: started, waited for, and started again when it dies.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{Json, Router, routing};
use hyper::StatusCode;
use infinicache_backoff::Backoff;
use serde_json::json;
use tokio::{
    process::Child,
    time::{self, Instant},
};
use tracing::{error, warn};

use crate::{
    http,
    launcher::{self, Launcher},
};

/// The pauses before restarts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// A proxy that ran so long has not failed at its start: the pauses begin anew.
const SETTLED: Duration = Duration::from_secs(30);

/// How often a proxy is asked whether it is ready.
const ASKING: Duration = Duration::from_millis(20);

/// How long one such question may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The proxy process of this machine.
pub(super) struct ProxyProcess {
    launcher: Launcher,
    child: Option<Child>,
    /// Whether there has been one.
    started: bool,
    seen: Arc<Seen>,
}

/// What the activator says about it at `GET /proxy`.
#[derive(Default)]
struct Seen {
    /// 0 while there is none.
    pid: AtomicU32,
    restarts: AtomicU64,
}

impl ProxyProcess {
    pub(super) fn new(launcher: Launcher) -> Self {
        Self {
            launcher,
            child: None,
            started: false,
            seen: Arc::default(),
        }
    }

    /// The page that tells its process id, and how often it was restarted.
    pub(super) fn page(&self) -> Router {
        let seen = Arc::clone(&self.seen);
        let show = move || async move {
            let pid = Some(seen.pid.load(Relaxed)).filter(|pid| *pid != 0);
            Json(json!({ "pid": pid, "restarts": seen.restarts.load(Relaxed) }))
        };
        Router::new().route("/proxy", routing::get(show))
    }

    /// Starts it, and waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// If it ends before, or is not ready in time.
    pub(super) async fn start(&mut self, admin: SocketAddr, deadline: Duration) -> Result<()> {
        let child = self.spawn()?;
        tokio::select! {
            // Someone else may answer at that address: then ours ends, and that counts.
            biased;
            status = child.wait() => {
                let status = status.context("cannot wait for the proxy")?;
                bail!("the proxy ended before it was ready: {status}; what it said is above");
            }
            () = ready(admin) => Ok(()),
            () = time::sleep(deadline) => {
                bail!("the proxy was not ready within {deadline:?}, asked at http://{admin}/readyz");
            }
        }
    }

    /// Waits for its end and starts it again, for ever.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    ///
    /// # Cancellation
    ///
    /// The proxy runs on.
    pub(super) async fn keep_running(&mut self) -> Result<()> {
        let mut failures = 0u32;
        loop {
            let since = Instant::now();
            if let Some(child) = &mut self.child {
                let status = child.wait().await.context("cannot wait for the proxy")?;
                self.seen.pid.store(0, Relaxed);
                let restarts = self.seen.restarts.fetch_add(1, Relaxed) + 1;
                error!(%status, restarts, "the proxy ended and is restarted");
            }
            if since.elapsed() >= SETTLED {
                failures = 0;
            }
            // Without randomness there is no jitter, and that is all.
            let random = getrandom::u32().unwrap_or(u32::MAX);
            time::sleep(BACKOFF.jittered(failures, random)).await;
            failures = failures.saturating_add(1);
            if let Err(error) = self.spawn() {
                warn!(%error, "the proxy cannot be started");
                self.child = None;
            }
        }
    }

    /// Asks it to go, and after `grace` makes it.
    pub(super) async fn stop(&mut self, grace: Duration) {
        if let Some(mut child) = self.child.take()
            && let Err(error) = launcher::stop(&mut child, grace).await
        {
            warn!(%error, "the proxy cannot be waited for");
        }
    }

    fn spawn(&mut self) -> Result<&mut Child> {
        // A caller that waits for its end knows that it has ended; before the first there was none.
        let predecessor = match self.started {
            false => "none",
            true => "dead",
        };
        self.started = true;
        let child = self
            .launcher
            .clone()
            .env("INFINICACHE_PREDECESSOR", predecessor)
            .spawn()
            .with_context(|| format!("cannot start {}", self.launcher.program.display()))?;
        self.seen.pid.store(child.id().unwrap_or(0), Relaxed);
        Ok(self.child.insert(child))
    }
}

/// Waits until the admin address says that the proxy is ready.
async fn ready(admin: SocketAddr) {
    while !matches!(
        http::get(admin, "/readyz", PATIENCE).await,
        Ok((StatusCode::OK, _))
    ) {
        time::sleep(ASKING).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A proxy that is a line of shell script.
    fn proxy(script: &str) -> ProxyProcess {
        ProxyProcess::new(Launcher {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            without: Vec::new(),
        })
    }

    /// An address at which no server answers.
    fn nobody() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    async fn start_error(script: &str, deadline: Duration) -> String {
        let mut proxy = proxy(script);
        let started = proxy.start(nobody(), deadline).await;
        proxy.stop(Duration::ZERO).await;
        started.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_proxy_that_ends_before_it_is_ready_is_told_with_its_status() {
        let error = start_error("exit 3", DEADLINE).await;
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_ready_in_time_is_told_with_the_address_that_was_asked() {
        let error = start_error("exec sleep 3600", Duration::from_millis(50)).await;
        assert!(error.contains("http://127.0.0.1:1/readyz"), "{error}");
    }

    #[tokio::test]
    async fn a_proxy_that_ends_is_started_again_and_again() {
        let mut proxy = proxy("exit 3");
        let seen = Arc::clone(&proxy.seen);
        let twice = async {
            while seen.restarts.load(Relaxed) < 2 {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = proxy.keep_running() => panic!("{ended:?}"),
            done = time::timeout(DEADLINE, twice) => done.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_go_is_made_to() {
        let mut proxy = proxy("trap '' TERM; exec sleep 3600");
        proxy.spawn().unwrap();
        proxy.stop(Duration::from_millis(50)).await;
        assert!(proxy.child.is_none());
    }
}

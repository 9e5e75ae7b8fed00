//! A cache on this machine for as long as a command needs one: `infinicache up`, and its end.

use std::{
    net::SocketAddr,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hyper::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Builder;

use crate::{activator::process::Port, http, launcher, leash};

/// How long it may take to be ready, and to stop.
const READY: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_secs(20);

/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(50);

/// A cache that stops when this is dropped, or its thread ends.
#[derive(Debug)]
pub struct TemporaryCache {
    process: Child,
    redis: Port,
    admin: Port,
}

impl TemporaryCache {
    /// Starts a cache of so many nodes, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends, or is not ready in time.
    pub fn start(nodes: u64) -> Result<Self> {
        let (redis, admin) = (Port::pick()?, Port::pick()?);
        let number = |port: &Port| port.address().port().to_string();
        let process = launcher::command(&launcher::this_program()?)
            .arg("up")
            .args(["--nodes", &nodes.to_string()])
            .args(["--port", &number(&redis)])
            .args(["--admin-port", &number(&admin)])
            .envs([leash::parent()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a cache")?;
        let mut cache = Self {
            process,
            redis,
            admin,
        };
        cache.until_ready()?;
        Ok(cache)
    }

    /// Where it serves Redis clients.
    pub fn address(&self) -> SocketAddr {
        self.redis.address()
    }

    fn until_ready(&mut self) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                bail!("the cache ended: {status}");
            }
            let asked = runtime.block_on(http::get(self.admin.address(), "/readyz", READY));
            if let Ok((StatusCode::OK, _)) = asked {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("the cache is not ready after {READY:?}")
    }
}

impl Drop for TemporaryCache {
    fn drop(&mut self) {
        // If it has ended already there is no process to tell.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let until = Instant::now() + STOPPED;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(PAUSE);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

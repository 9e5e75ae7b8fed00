//! The life of the process: a bound port, a session kept, a drain.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use infinicache_daemon::{SecretSource, memory};
use infinicache_host::{clock, random, task};
use infinicache_socket::{Keepalive, Listener};
use infinicache_wire::InstanceId;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    config::{Config, DirectPort},
    direct,
    drain::{DrainTimeouts, Drained, drained},
    http,
    instance::{Identity, Instance},
    service::Service,
    supervisor::Supervisor,
};

/// How often chunks that wait too long are looked for.
const TICK: Duration = Duration::from_secs(1);

/// A node whose port is bound, but which does not serve yet.
#[derive(Debug)]
pub struct Node {
    listener: Listener,
    direct: Option<Listener>,
    supervisor: Arc<Supervisor>,
    secret: SecretSource,
    drain: Duration,
}

/// Runs a node until `shutdown`, and then until it is emptied or its time to drain is over.
///
/// # Errors
///
/// If the configuration is unusable or the port is taken, or see [`Node::run`].
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    memory::decay();
    Node::bind(config).await?.run(shutdown).await
}

impl Node {
    /// Checks the configuration and binds the port.
    ///
    /// # Errors
    ///
    /// If the configuration is unusable or the port is taken.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let secret = config.secret.load()?;
        let bind = async |port| {
            let address = SocketAddr::new(config.listen_address, port);
            infinicache_socket::listen(address, Keepalive::PROMPT)
                .await
                .with_context(|| format!("cannot listen on {address}"))
        };
        let listener = bind(config.port).await?;
        let direct = match config.direct_port {
            DirectPort::Off => None,
            DirectPort::At(port) => Some(bind(port).await?),
        };
        let reached = direct.as_ref().map(Listener::local_addr).transpose();
        let reached = reached.context("the direct port has no address")?;
        let instance = random::u64().context("no source of random numbers")?;
        let service = Service::new(config.limits()?);
        let identity = Identity {
            name: config.name,
            instance: InstanceId(instance),
            pod: config.pod,
            host: config.host,
            zone: config.zone,
            secret,
        };
        Ok(Self {
            listener,
            direct,
            supervisor: Arc::new(Supervisor::new(
                Arc::new(Instance::new(identity, service)),
                reached,
            )),
            secret: config.secret,
            drain: config.drain,
        })
    }

    /// The address of the wake endpoint.
    ///
    /// # Errors
    ///
    /// If the system does not know it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What tells this process from any other of its name.
    pub fn instance(&self) -> InstanceId {
        self.supervisor.instance.identity.instance
    }

    /// Serves until `shutdown`, then drains: says Bye, goes on answering, and
    /// returns once no chunk is held, no proxy is there to take any, or the
    /// time to drain is over.
    ///
    /// # Errors
    ///
    /// If part of the node panicked: what is left of it would be woken in vain.
    ///
    /// # Cancellation
    ///
    /// Dropping the future ends everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            listener,
            direct,
            supervisor,
            secret,
            drain,
        } = self;
        let identity = &supervisor.instance.identity;
        info!(
            name = %identity.name,
            instance = %identity.instance,
            address = %listener.local_addr().context("the bound port has no address")?,
            capacity = supervisor.instance.service.capacity(),
            "node started"
        );

        // Dropped, and their tasks with them, on return.
        let mut helpers = JoinSet::new();
        helpers.spawn(task::scoped(http::serve(listener, Arc::clone(&supervisor))));
        helpers.spawn(task::scoped(tick(Arc::clone(&supervisor))));
        helpers.spawn(task::scoped(secret.follow(identity.secret.clone())));
        if let Some(direct) = direct {
            helpers.spawn(task::scoped(direct::serve(
                direct,
                Arc::clone(&supervisor.instance),
                Arc::clone(&supervisor.transfers),
            )));
        }
        helpers.spawn(task::scoped(Arc::clone(&supervisor).end_sessions()));
        let mut session = JoinSet::new();
        session.spawn(task::scoped(Arc::clone(&supervisor).keep()));

        tokio::select! {
            biased;
            () = shutdown => {}
            Some(ended) = helpers.join_next() => return ended.context("part of the node failed"),
            Some(ended) = session.join_next() => return ended.context("part of the node failed"),
        }

        info!(used = supervisor.instance.service.used(), "node drains");
        supervisor.instance.exit.announced.cancel();
        let until_empty = supervisor.instance.service.until_empty();
        let used = || supervisor.instance.service.used();
        match drained(until_empty, supervisor.links(), DrainTimeouts::of(drain)).await {
            Drained::Emptied => info!("node goes, emptied"),
            Drained::NoProxy => warn!(
                used = used(),
                "node goes with what it holds: there is no proxy that could have it moved away"
            ),
            Drained::TimedOut => warn!(
                used = used(),
                "node goes with what it holds: time to drain is over"
            ),
        }
        supervisor.instance.exit.now.cancel();
        // Ends within the time that a link takes to say goodbye.
        session.join_next().await;
        Ok(())
    }
}

async fn tick(supervisor: Arc<Supervisor>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        supervisor.instance.service.expire(clock::now());
    }
}

//! The proxy: Redis clients and smart clients on one side, nodes on the other.
//!
//! It owns the metadata and decides everything that is to be decided: which nodes
//! are members, where chunks go, what the value of a key is. It holds no value:
//! bytes pass through it a stripe at a time. It knows nothing of Kubernetes
//! beyond a URL to wake each node by; `discovery` alone does.
//!
//! The life of a `GET`:
//!
//! 1. `server` accepts a connection and `resp` reads a command off it;
//! 2. `command` finds the command's file, which asks for the key's value;
//! 3. `cache` finds the object in the `metadata::catalog`;
//! 4. [`infinicache_engine::Reader`] asks k of its holders for the first stripe,
//!    over the links that the `pool` have dialled;
//! 5. what is missing, broken or late is made up for from parity;
//! 6. `resp` writes each stripe to the client while the next is on its way.
//!
//! What it knows outlives it on the nodes: `infinicache_membership` has the rules by which a later
//! run finds it again, `recovery` follows them.
//!
//! Beside it, `relay` and `control` serve smart clients, `upkeep::repair` restores lost chunks,
//! `upkeep::evacuation` moves those that are about to be (both take what is most
//! `upkeep::repair_queue` first), `upkeep::scrub` looks for those that are broken,
//! `upkeep::scale_down` sees to it that no more nodes are awake than needed,
//! `upkeep::pool_deletion` lets go of a pool that was deleted, `upkeep::background` tidies up, and
//! `admin` shows what is going on.
#![forbid(unsafe_code)]

mod admin;
mod cache;
mod capacity;
mod command;
pub mod config;
mod connection_limit;
mod connection_resources;
mod control;
mod gc_queue;
mod hot_cache;
mod info;
mod metadata;
mod metrics;
pub mod password;
mod pool;
mod pool_clock;
mod rate_limiter;
mod recovery;
mod redis_adapter;
mod relay;
mod server;
mod session_options;
mod upkeep;

use std::{future::Future, sync::Arc};

use anyhow::Context;
use infinicache_daemon::{files, memory};
use infinicache_engine::{Budget, LatencyTracker};
use infinicache_erasure::Kernel;
use infinicache_host::{fail_point, random, task};
use infinicache_membership::{Epoch, prepare::PrepareTimeouts};
use infinicache_resp::Timeouts;
use infinicache_socket::Keepalive;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tracing::info;

use crate::{
    cache::Cache,
    command::ServerContext,
    gc_queue::GcQueue,
    metadata::tombstones::Tombstones,
    metrics::Metrics,
    pool::{Nodes, lifecycle::LifecycleTimings},
    pool_clock::PoolClock,
    rate_limiter::RateLimiter,
    redis_adapter::{RedisObserver, ToRelay},
    upkeep::consolidation::Policy,
    upkeep::repair_queue::RepairQueue,
};
pub use crate::{
    config::{Config, Predecessor},
    pool::NodeAddress,
};

/// Repairs that run at once.
const PARALLEL_REPAIRS: u64 = 2;

/// How much longer than a wake placing a write may take.
const PLACING: std::time::Duration = std::time::Duration::from_secs(3);

/// How long a new run that knows some nodes waits for the platform to tell of the others.
const FIRST_LOOK: std::time::Duration = std::time::Duration::from_secs(10);

/// How long members that were replaced may take to dial a new run that is where the last one was.
const STRAGGLING: std::time::Duration = std::time::Duration::from_secs(1);

/// The same where a name leads to the run: that there is none is believed for some seconds by those
/// who give out names, and there may be five seconds between one attempt and the next.
const STRAGGLING_BY_NAME: std::time::Duration = std::time::Duration::from_secs(12);

/// How long a node that is one too many may take to be empty.
const EMPTYING: std::time::Duration = std::time::Duration::from_secs(300);

/// Runs a proxy until `shutdown` completes.
///
/// # Errors
///
/// If the configuration makes no sense or a port cannot be bound; nothing has been started then.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    memory::decay();
    let code = config.code()?;
    let watched = match config.discovery.is_on() {
        true => Some(config.discovery.watched().await?),
        false => None,
    };
    let secret = config.secret.load()?;
    let password = config.password.load()?;
    let max_connections = connection_limit::affordable(&config, files::limit());
    let bind = async |address, keepalive| {
        infinicache_socket::listen(address, keepalive)
            .await
            .with_context(|| format!("cannot listen on {address}"))
    };
    let redis = bind(config.listen, Keepalive::after(config.tcp_keepalive)).await?;
    let node_listener = bind(config.node_listen, Keepalive::PROMPT).await?;
    let admin = bind(config.admin_listen, Keepalive::PROMPT).await?;
    let advertise = match &config.advertise {
        Some(advertise) => advertise.clone(),
        None => node_listener.local_addr()?.to_string(),
    };

    let clock = PoolClock::default();
    let epoch = match fail_point("distinct_epochs") {
        true => Epoch::beginning(1, 0),
        false => Epoch::beginning(clock.unix_ms(), random_bits()?),
    };
    let metrics = Arc::new(Metrics::new());
    let latencies = Arc::new(LatencyTracker::default());
    let settings = pool::Settings {
        timing: timing(&config),
        secret: secret.clone(),
        advertise,
        epoch: epoch.clone(),
        parity: code.parity(),
        lease: config.lease,
        lifetimes: config.sessions.lifetimes()?,
        clock,
    };
    let is_discovering = watched.is_some();
    let nodes = Nodes::new(
        settings,
        config.nodes.clone(),
        latencies.clone(),
        metrics.clone(),
    );
    let settings = cache::Settings {
        code,
        max_object_bytes: config.max_object_bytes.0,
        epoch,
        presumed_capacity: config.node_memory.0,
        place_deadline: config.wake_deadline + PLACING,
        small_value: config.small_value_max.0,
        shelf_bytes: config.small_values_bytes.0,
    };
    let tombstones = Arc::new(Tombstones::default());
    let cache = Cache::new(
        settings,
        nodes.clone(),
        Budget::new(usize::try_from(config.buffer_bytes.0)?),
        latencies,
        metrics,
        Arc::new(GcQueue::new(nodes.clone(), tombstones.clone())),
        tombstones,
    );
    if let Some(patience) = prepare_timeouts(&config) {
        recovery::prepare(&cache, config.nodes.len(), patience);
    }

    let repair_queue = Arc::new(RepairQueue::default());

    let background = |task| AbortOnDropHandle::new(task);
    let limiter = RateLimiter::new(
        cache.metrics().clone(),
        config.repair_bytes_per_second.0,
        PARALLEL_REPAIRS,
    );
    let _doing_chores = background(task::spawn(upkeep::background::run_gc_tasks(
        cache.clone(),
        repair_queue.clone(),
    )));
    let _following = background(task::spawn(upkeep::background::follow_nodes(cache.clone())));
    let _tidying = background(task::spawn(upkeep::background::expire_idle(cache.clone())));
    let _refreshing = background(task::spawn(config.secret.clone().follow(secret)));
    let _living = background(task::spawn(nodes.clone().live()));
    let _admitting = background(task::spawn(pool::listener::open(node_listener, nodes)));
    let _discovering = watched.map(|watched| {
        let (nodes, metrics) = (cache.nodes().clone(), cache.metrics().clone());
        background(task::spawn(watched.run(
            move |reason| metrics.watch_failed(reason),
            move |seen| nodes.observe(seen),
        )))
    });
    let first_look = is_discovering.then_some(match config.nodes.is_empty() {
        // No member can be asked before one is known.
        true => std::time::Duration::MAX,
        false => FIRST_LOOK,
    });
    let _recovering = cache
        .nodes()
        .is_recovering()
        .then(|| background(task::spawn(recovery::run(cache.clone(), first_look))));
    let _repairing: Vec<_> = (0..PARALLEL_REPAIRS)
        .map(|_| {
            background(task::spawn(upkeep::repair::run(
                cache.clone(),
                repair_queue.clone(),
                limiter.clone(),
                config.reencode_after,
            )))
        })
        .collect();
    let limiter = config.evacuation_bytes_per_second.0 / config.evacuations;
    let _evacuating: Vec<_> = (0..config.evacuations)
        .map(|_| {
            background(task::spawn(upkeep::evacuation::run(
                cache.clone(),
                repair_queue.clone(),
                limiter,
            )))
        })
        .collect();

    let _saving = background(task::spawn(upkeep::scale_down::run(
        cache.clone(),
        policy(&config),
    )));
    let _dissolving = background(task::spawn(upkeep::pool_deletion::run(cache.clone())));
    let rate = config.scrub_bytes_per_second.0;
    let _scrubbing = background(task::spawn(upkeep::scrub::run(cache.clone(), rate)));

    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let view = admin::Admin {
        cache: cache.clone(),
        repair_queue,
        repair_bytes_per_second: config.repair_bytes_per_second.0,
    };
    let serving = admin::serve(admin, view, stop.clone().cancelled_owned());
    task::spawn(tracker.track_future(serving));

    let port = redis.local_addr()?.port();
    let (address, nodes, kernel) = (redis.local_addr()?, config.nodes.len(), Kernel::detect());
    info!(%address, nodes, %code, kernel = kernel.name(), "serving");
    let limits = info::ClientLimits {
        max_clients: max_connections as u64,
        idle_timeout: config.idle_timeout,
        keepalive: config.tcp_keepalive,
    };
    let clerk = Arc::new(RedisObserver::new(cache.clone(), port, limits));
    let _renewing = background(task::spawn(
        config.password.clone().follow(password.clone()),
    ));
    let state =
        ServerContext::new(cache.clone(), clerk, config.max_object_bytes.0).guarded_by(password);
    let state = Arc::new(state);
    let timeouts = Timeouts {
        stall: config.stall_timeout,
        idle: (!config.idle_timeout.is_zero()).then_some(config.idle_timeout),
    };
    let limits = server::ServerConfig {
        max_connections,
        timeouts,
        ..server::ServerConfig::default()
    };
    let to_relay = ToRelay {
        cache: cache.clone(),
        timeouts,
    };
    let nodes = cache.nodes().clone();
    let mut over = None;
    let ending = async {
        tokio::select! {
            biased;
            _ = shutdown => {}
            why = nodes.over() => over = Some(why),
        }
    };
    server::serve(redis, state, to_relay, limits, ending).await;
    if let Some(over) = over {
        return Err(over.into());
    }

    stop.cancel();
    tracker.close();
    tracker.wait().await;
    info!("stopped");
    Ok(())
}

fn random_bits() -> anyhow::Result<u16> {
    let bits = random::u32().context("no source of random numbers")?;
    Ok(bits as u16)
}

/// How long a run before this one is to be reckoned with; `None` if there was none.
fn prepare_timeouts(config: &Config) -> Option<PrepareTimeouts> {
    let (lease, straggler_grace) = match config.predecessor {
        Predecessor::None => return None,
        Predecessor::Dead => (std::time::Duration::ZERO, STRAGGLING),
        Predecessor::Unknown => (config.lease, STRAGGLING_BY_NAME),
    };
    let is_waited_out = !fail_point("lease_waited_out");
    Some(PrepareTimeouts {
        lease: if is_waited_out {
            lease
        } else {
            std::time::Duration::ZERO
        },
        straggler_grace: config.straggler_deadline.unwrap_or(straggler_grace),
        deadline: config.recovery_deadline,
        dead_after: config.node_dead_after.max(config.recovery_deadline),
        leader_lease: config.lease,
    })
}

/// When the pool has more nodes awake than it needs.
fn policy(config: &Config) -> Policy {
    Policy {
        low_percent: config.consolidate_below.into(),
        calm: config.consolidate_after,
        drain_timeout: EMPTYING,
    }
}

/// How the pool deals with its nodes, from what the platform does with them.
fn timing(config: &Config) -> LifecycleTimings {
    let lost_after = config.node_lost_after;
    LifecycleTimings {
        ping_every: std::time::Duration::from_secs(1),
        lost_after,
        dead_after: config.node_dead_after.max(lost_after),
        // There has to be time to ask a silent node before it is lost.
        preflight_freshness: config.preflight_freshness.min(lost_after / 2),
        wake_deadline: config.wake_deadline,
        wake_backoff: std::time::Duration::from_millis(500),
        // Three tries before the platform's window ends.
        keep_awake_every: config.node_idle_window / 3,
    }
}

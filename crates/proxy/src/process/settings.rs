//! What the parts of the process are set to, by its configuration.

use std::time::Duration;

use infinicache_erasure::Code;
use infinicache_host::{fail_point, random};
use infinicache_membership::{Epoch, prepare::PrepareTimeouts};
use infinicache_resp::Timeouts;
use infinicache_wire::Secret;

use anyhow::Context;

use crate::{
    cache,
    config::{Config, Predecessor},
    info::ClientLimits,
    pool::{self, lifecycle::LifecycleTimings},
    pool_clock::PoolClock,
    server::ServerConfig,
    upkeep::consolidation::Policy,
};

/// How much longer than a wake placing a write may take.
const PLACING: Duration = Duration::from_secs(3);

/// How long a new run that knows some nodes waits for the platform to tell of the others.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// How long members that were replaced may take to dial a new run that is where the last one was.
const STRAGGLING: Duration = Duration::from_secs(1);

/// The same where a name leads to the run: that there is none is believed for some seconds by those
/// who give out names, and there may be five seconds between one attempt and the next.
const STRAGGLING_BY_NAME: Duration = Duration::from_secs(12);

/// How long a node that is one too many may take to be empty.
const EMPTYING: Duration = Duration::from_secs(300);

/// The epoch of this run, above those of all before it as far as clocks tell.
pub(super) fn epoch(clock: &PoolClock) -> anyhow::Result<Epoch> {
    if fail_point("distinct_epochs") {
        return Ok(Epoch::beginning(1, 0));
    }
    let bits = random::u32().context("no source of random numbers")?;
    Ok(Epoch::beginning(clock.unix_ms(), bits as u16))
}

/// How the pool deals with its nodes, which dial `advertise`.
pub(super) fn pool(
    config: &Config,
    code: Code,
    secret: &Secret,
    advertise: String,
) -> anyhow::Result<pool::Settings> {
    let clock = PoolClock::default();
    Ok(pool::Settings {
        timing: timing(config),
        secret: secret.clone(),
        advertise,
        epoch: epoch(&clock)?,
        parity: code.parity(),
        lease: config.lease,
        lifetimes: config.sessions.lifetimes()?,
        clock,
    })
}

/// How the pool deals with its nodes, from what the platform does with them.
fn timing(config: &Config) -> LifecycleTimings {
    let lost_after = config.node_lost_after;
    LifecycleTimings {
        ping_every: Duration::from_secs(1),
        lost_after,
        dead_after: config.node_dead_after.max(lost_after),
        // There has to be time to ask a silent node before it is lost.
        preflight_freshness: config.preflight_freshness.min(lost_after / 2),
        wake_deadline: config.wake_deadline,
        wake_backoff: Duration::from_millis(500),
        // Three tries before the platform's window ends.
        keep_awake_every: config.node_idle_window / 3,
    }
}

/// How the cache is set up.
pub(super) fn cache(config: &Config, code: Code, epoch: Epoch) -> cache::Settings {
    cache::Settings {
        code,
        max_object_bytes: config.max_object_bytes.0,
        epoch,
        presumed_capacity: config.node_memory.0,
        place_deadline: config.wake_deadline + PLACING,
        small_value: config.small_value_max.0,
        shelf_bytes: config.small_values_bytes.0,
    }
}

/// How long a run before this one is to be reckoned with; `None` if there was none.
pub(super) fn prepare_timeouts(config: &Config) -> Option<PrepareTimeouts> {
    let (lease, straggler_grace) = match config.predecessor {
        Predecessor::None => return None,
        Predecessor::Dead => (Duration::ZERO, STRAGGLING),
        Predecessor::Unknown => (config.lease, STRAGGLING_BY_NAME),
    };
    let is_waited_out = !fail_point("lease_waited_out");
    Some(PrepareTimeouts {
        lease: if is_waited_out { lease } else { Duration::ZERO },
        straggler_grace: config.straggler_deadline.unwrap_or(straggler_grace),
        deadline: config.recovery_deadline,
        dead_after: config.node_dead_after.max(config.recovery_deadline),
        leader_lease: config.lease,
    })
}

/// For how long the platform is asked first which nodes there are, if it is.
pub(super) fn first_look(config: &Config) -> Option<Duration> {
    // No member can be asked before one is known.
    let known = !config.nodes.is_empty();
    let first_look = if known { FIRST_LOOK } else { Duration::MAX };
    config.discovery.is_on().then_some(first_look)
}

/// When the pool has more nodes awake than it needs.
pub(super) fn scale_down(config: &Config) -> Policy {
    Policy {
        low_percent: config.consolidate_below.into(),
        calm: config.consolidate_after,
        drain_timeout: EMPTYING,
    }
}

/// How long clients may take.
pub(super) fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        stall: config.stall_timeout,
        idle: (!config.idle_timeout.is_zero()).then_some(config.idle_timeout),
    }
}

/// What the Redis port allows to so many clients.
pub(super) fn server(config: &Config, max_connections: usize) -> ServerConfig {
    ServerConfig {
        max_connections,
        timeouts: timeouts(config),
        ..ServerConfig::default()
    }
}

/// The same, as `INFO` and `CONFIG` tell of it.
pub(super) fn client_limits(config: &Config, max_connections: usize) -> ClientLimits {
    ClientLimits {
        max_object_bytes: config.max_object_bytes.0,
        max_clients: max_connections as u64,
        idle_timeout: config.idle_timeout,
        keepalive: config.tcp_keepalive,
    }
}

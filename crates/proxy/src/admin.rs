//! What operators see: probes and metrics over HTTP.

mod bounded;

use std::{fmt::Write, future::Future, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use infinicache_daemon::memory::resident_bytes;
use infinicache_engine::Pool;
use infinicache_socket::Listener;
use infinicache_wire::control::NodeState;

use self::bounded::Bounded;
use crate::{
    cache::{Cache, Closed},
    upkeep::repair_queue::RepairQueue,
};

/// What the handlers look at.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) cache: Cache,
    pub(crate) repair_queue: Arc<RepairQueue>,
    /// The fastest pace of repair.
    pub(crate) repair_bytes_per_second: u64,
}

/// Serves until `shutdown` completes.
///
/// # Errors
///
/// If the listener fails for good.
pub(crate) async fn serve(
    listener: Listener,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(Bounded::new(listener), routes)
        .with_graceful_shutdown(shutdown)
        .await
}

/// Ready to serve clients: nodes need not be awake for that, only not all failing.
async fn ready(State(admin): State<Admin>) -> Response {
    let refusal = match admin.cache.is_open() {
        Err(Closed::Loading) => "asking nodes what they hold\n",
        Err(Closed::OutOfTouch) => "too few members answer\n",
        Ok(()) if admin.cache.nodes().availability().usable().is_empty() => "no node can be used\n",
        Ok(()) => return "ready\n".into_response(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, refusal).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.refresh();
    let text = admin.cache.metrics().render(|text| admin.nodes(text));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

impl Admin {
    /// Reads the gauges off what they measure.
    fn refresh(&self) {
        let (cache, budget) = (&self.cache, self.cache.budget());
        let figures = cache.metrics().figures();
        figures.objects.set(cache.metadata().catalog.len() as i64);
        figures.object_bytes.set(cache.metadata().catalog.bytes());
        figures.degraded.set(self.repair_queue.len() as i64);
        figures.open_writes.set(cache.writes().open().len() as i64);
        figures.small_values.set(cache.hot_cache().bytes());
        figures.buffer_used.set(budget.used() as i64);
        figures.buffer_capacity.set(budget.capacity() as i64);
        figures.resident.set(resident_bytes() as i64);
        let upkeep = cache.metrics().upkeep();
        upkeep.to_repair(self.repair_queue.bytes(), self.repair_bytes_per_second);
        let (members, forced) = cache.nodes().membership().view();
        let (is_leader, tombstone) = (cache.is_open().is_ok(), cache.metadata().tombstones.len());
        let counters = cache.metrics().membership();
        counters.refresh(members, forced, is_leader, tombstone);
    }

    /// The nodes' own figures, as they last told them.
    fn nodes(&self, text: &mut String) {
        const STATES: [NodeState; 5] = [
            NodeState::Asleep,
            NodeState::Waking,
            NodeState::Active,
            NodeState::Draining,
            NodeState::Lost,
        ];
        let states = self.cache.nodes().list().states();
        let name = "infinicache_proxy_nodes";
        describe(text, name, "gauge", "Nodes of the pool by state");
        for state in STATES {
            let count = states.iter().filter(|of_node| **of_node == state).count();
            line(
                text,
                format_args!("{name}{{state=\"{}\"}} {count}", state.as_str()),
            );
        }

        let nodes = self.cache.nodes();
        let members: Vec<_> = nodes
            .members()
            .all()
            .into_iter()
            .map(|member| (nodes.list().name(member.node), member))
            .collect();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(usize) -> u64| {
            let family = name.strip_suffix("_total").unwrap_or(name);
            describe(text, family, kind, help);
            for (index, (node, member)) in members.iter().enumerate() {
                let labels = format!("node=\"{node}\",instance=\"{}\"", member.instance);
                line(text, format_args!("{name}{{{labels}}} {}", value(index)));
            }
        };
        let report = |index: usize| members[index].1.report();
        family(
            "infinicache_node_placed_bytes",
            "gauge",
            "Bytes that the proxy placed",
            &|index| members[index].1.memory.used(),
        );
        family(
            "infinicache_node_capacity_bytes",
            "gauge",
            "Bytes it may hold",
            &|index| report(index).capacity_bytes,
        );
        family(
            "infinicache_node_used_bytes",
            "gauge",
            "Bytes it holds",
            &|index| report(index).used_bytes,
        );
        family(
            "infinicache_node_pending_bytes",
            "gauge",
            "Bytes being written",
            &|index| report(index).pending_bytes,
        );
        family(
            "infinicache_node_dead_bytes",
            "gauge",
            "Bytes deleted, not freed",
            &|index| report(index).dead_bytes,
        );
        family(
            "infinicache_node_chunks",
            "gauge",
            "Complete chunks",
            &|index| report(index).chunks,
        );
        family(
            "infinicache_node_resident_bytes",
            "gauge",
            "Resident memory",
            &|index| report(index).resident_bytes,
        );
        family(
            "infinicache_node_puts_total",
            "counter",
            "Units stored",
            &|index| report(index).puts,
        );
        family(
            "infinicache_node_gets_total",
            "counter",
            "Units given back",
            &|index| report(index).gets,
        );
        family(
            "infinicache_node_not_found_total",
            "counter",
            "Units not held",
            &|index| report(index).not_found,
        );
        family(
            "infinicache_node_full_total",
            "counter",
            "Units refused for room",
            &|index| report(index).full,
        );
        family(
            "infinicache_node_received_bytes_total",
            "counter",
            "Bytes received",
            &|index| report(index).bytes_in,
        );
        family(
            "infinicache_node_sent_bytes_total",
            "counter",
            "Bytes given back",
            &|index| report(index).bytes_out,
        );
    }
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    line(
        text,
        format_args!("# HELP {name} {help}.\n# TYPE {name} {kind}"),
    );
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

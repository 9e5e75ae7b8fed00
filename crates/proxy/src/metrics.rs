//! What the proxy counts, in the Prometheus text format.
//!
//! Everything that a user can see go wrong has a counter here. The nodes' own
//! figures come with their pongs and are exported too, so that Prometheus need not
//! scrape, and thereby wake, a node. README.md has the table of all metrics.

mod labels;
mod membership;
mod requests;
mod upkeep;

use self::labels::{ByReason, ByResult, seconds};
pub(crate) use self::membership::Recovered;

use std::{
    fmt::Write,
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use infinicache_engine::Incident;
use infinicache_wire::{ByeReason, control::WakeFailure};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// The counters of the proxy.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    incidents: Family<ByReason, Counter>,
    removals: Family<ByReason, Counter>,
    losses: Counter,
    writes_aborted: Counter,
    wakes: Family<ByResult, Counter>,
    wake_failures: Family<ByReason, Counter>,
    wake_duration: Histogram,
    preflights: Family<ByResult, Counter>,
    byes: Family<ByReason, Counter>,
    watch_failures: Family<ByReason, Counter>,
    joined: Counter,
    suspected: Counter,
    left: Counter,
    lost: Counter,
    pub(crate) connections: Gauge,
    pub(crate) links: Gauge,
    closed: Family<ByReason, Counter>,
    figures: Figures,
    served: requests::RequestMetrics,
    membership: membership::MembershipMetrics,
    upkeep: upkeep::UpkeepMetrics,
}

/// Gauges that are read when metrics are scraped.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) objects: Gauge,
    pub(crate) object_bytes: Gauge<u64, AtomicU64>,
    pub(crate) degraded: Gauge,
    pub(crate) open_writes: Gauge,
    pub(crate) buffer_used: Gauge<i64, AtomicI64>,
    pub(crate) small_values: Gauge<u64, AtomicU64>,
    pub(crate) buffer_capacity: Gauge<i64, AtomicI64>,
    pub(crate) resident: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("infinicache_proxy");
        let mut metrics = Self {
            registry: Registry::default(),
            incidents: Family::default(),
            removals: Family::default(),
            losses: Counter::default(),
            writes_aborted: Counter::default(),
            wakes: Family::default(),
            wake_failures: Family::default(),
            wake_duration: seconds(),
            preflights: Family::default(),
            byes: Family::default(),
            watch_failures: Family::default(),
            joined: Counter::default(),
            suspected: Counter::default(),
            left: Counter::default(),
            lost: Counter::default(),
            connections: Gauge::default(),
            links: Gauge::default(),
            closed: Family::default(),
            figures: Figures::default(),
            served: requests::RequestMetrics::default(),
            membership: membership::MembershipMetrics::default(),
            upkeep: upkeep::UpkeepMetrics::default(),
        };
        let it = &metrics;
        it.served.register(&mut registry);
        it.membership.register(&mut registry);
        it.upkeep.register(&mut registry);
        let help = "What went wrong in reads and was made up for";
        registry.register("read_incidents", help, it.incidents.clone());
        registry.register(
            "objects_removed",
            "Objects removed, by reason",
            it.removals.clone(),
        );
        let help = "Objects lost because too many of their chunks were";
        registry.register("objects_lost", help, it.losses.clone());
        let help = "Writes given up before their commit";
        registry.register("writes_aborted", help, it.writes_aborted.clone());
        registry.register("wakes", "Wakes sent, by outcome", it.wakes.clone());
        let help = "Wakes that failed, by what went wrong";
        registry.register("wake_failures", help, it.wake_failures.clone());
        let help = "Time until a wake was answered";
        registry.register_with_unit(
            "wake_duration",
            help,
            Unit::Seconds,
            it.wake_duration.clone(),
        );
        let help = "Pings sent to nodes before they were relied on, and what became of them";
        registry.register("preflights", help, it.preflights.clone());
        let help = "Goodbyes of nodes, by reason";
        registry.register("node_byes", help, it.byes.clone());
        let help = "Watches of the platform that broke or could not begin";
        registry.register("watch_failures", help, it.watch_failures.clone());
        registry.register(
            "nodes_joined",
            "Instances that joined the pool",
            it.joined.clone(),
        );
        let help = "Times that an instance was silent for so long that it may be lost";
        registry.register("nodes_suspected", help, it.suspected.clone());
        let help = "Instances that left, holding nothing";
        registry.register("nodes_left", help, it.left.clone());
        registry.register("nodes_lost", "Instances that were lost", it.lost.clone());
        registry.register("connections", "Client connections", it.connections.clone());
        registry.register(
            "relay_links",
            "Relayed links of smart clients",
            it.links.clone(),
        );
        let help = "Client connections closed by the proxy, by reason";
        registry.register("connections_closed", help, it.closed.clone());

        let figures = &it.figures;
        registry.register("objects", "Objects", figures.objects.clone());
        let help = "Bytes of their values";
        registry.register_with_unit("objects", help, Unit::Bytes, figures.object_bytes.clone());
        registry.register(
            "objects_degraded",
            "Objects that lack chunks",
            figures.degraded.clone(),
        );
        registry.register(
            "open_writes",
            "Writes under way",
            figures.open_writes.clone(),
        );
        let help = "Small values in the proxy's memory";
        registry.register_with_unit(
            "small_values",
            help,
            Unit::Bytes,
            figures.small_values.clone(),
        );
        let help = "Buffer memory in use";
        registry.register_with_unit(
            "buffer_used",
            help,
            Unit::Bytes,
            figures.buffer_used.clone(),
        );
        let help = "Buffer memory that may be used";
        registry.register_with_unit(
            "buffer_capacity",
            help,
            Unit::Bytes,
            figures.buffer_capacity.clone(),
        );
        let help = "Resident memory of the process";
        registry.register_with_unit("resident", help, Unit::Bytes, figures.resident.clone());
        metrics.registry = registry;
        metrics.show_zeroes();
        metrics
    }

    /// Makes what is counted by reason appear before it happens: a rate is taken
    /// between two samples, and the first time is often the one that matters.
    fn show_zeroes(&self) {
        let begin = |family: &Family<ByReason, Counter>, reasons: &[&'static str]| {
            reasons
                .iter()
                .for_each(|reason| drop(family.get_or_create(&ByReason { reason })));
        };
        begin(
            &self.incidents,
            &["degraded", "hedged", "missing", "corrupt"],
        );
        let removals = [
            "deleted", "replaced", "expired", "evicted", "flushed", "lost",
        ];
        begin(&self.removals, &removals);
        for result in ["woken", "kept_awake", "resumed", "failed"] {
            drop(self.wakes.get_or_create(&ByResult { result }));
        }
        begin(
            &self.wake_failures,
            &WakeFailure::ALL.map(WakeFailure::as_str),
        );
        for result in ["sent", "answered", "late", "rewoken"] {
            drop(self.preflights.get_or_create(&ByResult { result }));
        }
        begin(&self.byes, &["session_over", "terminated", "other"]);
        let reasons = ["forbidden", "gone", "refused", "unreachable", "malformed"];
        begin(&self.watch_failures, &reasons);
        let reasons = [
            "stalled",
            "idle",
            "vanished",
            "no_memory",
            "aborted_reply",
            "too_many",
        ];
        begin(&self.closed, &reasons);
    }

    /// Something went wrong in a read and was made up for.
    pub(crate) fn incident(&self, incident: Incident) {
        let reason = match incident {
            Incident::Degraded => "degraded",
            Incident::Hedged => "hedged",
            Incident::Missing(_) => "missing",
            Incident::Corrupt(_) => "corrupt",
        };
        self.incidents.get_or_create(&ByReason { reason }).inc();
    }

    /// An object was removed: `deleted`, `replaced`, `expired`, `evicted`, `flushed` or `lost`.
    pub(crate) fn removed(&self, reason: &'static str) {
        self.removals.get_or_create(&ByReason { reason }).inc();
        if reason == "lost" {
            self.losses.inc();
        }
    }

    pub(crate) fn write_aborted(&self) {
        self.writes_aborted.inc();
    }

    /// A wake was answered, or failed.
    pub(crate) fn wake_answered(&self, elapsed: Duration) {
        self.wake_duration.observe(elapsed.as_secs_f64());
    }

    /// A wake was accepted: `woken`, `kept_awake` or `resumed`.
    pub(crate) fn wake(&self, result: &'static str) {
        self.wakes.get_or_create(&ByResult { result }).inc();
    }

    pub(crate) fn wake_failed(&self, failure: WakeFailure) {
        self.wake("failed");
        let reason = failure.as_str();
        self.wake_failures.get_or_create(&ByReason { reason }).inc();
    }

    /// The platform could not be watched.
    pub(crate) fn watch_failed(&self, reason: &'static str) {
        self.watch_failures
            .get_or_create(&ByReason { reason })
            .inc();
    }

    /// A preflight was `sent`, `answered` or `late`, or its node `rewoken`.
    pub(crate) fn preflight(&self, result: &'static str) {
        self.preflights.get_or_create(&ByResult { result }).inc();
    }

    pub(crate) fn goodbye(&self, reason: &ByeReason) {
        let reason = match reason {
            ByeReason::SessionOver => "session_over",
            ByeReason::Terminated => "terminated",
            // Nodes do not choose the labels.
            ByeReason::Other(_) => "other",
        };
        self.byes.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn node_joined(&self) {
        self.joined.inc();
    }

    /// An instance is silent.
    pub(crate) fn node_suspected(&self) {
        self.suspected.inc();
    }

    /// An instance is gone, as it was meant to be or not.
    pub(crate) fn node_gone(&self, is_planned: bool) {
        if is_planned {
            self.left.inc();
        } else {
            self.lost.inc();
        }
    }

    /// Metrics of requests: what clients ask for and get.
    pub(crate) fn served(&self) -> &requests::RequestMetrics {
        &self.served
    }

    /// Metrics of membership.
    pub(crate) fn membership(&self) -> &membership::MembershipMetrics {
        &self.membership
    }

    /// Metrics of the work that keeps objects whole.
    pub(crate) fn upkeep(&self) -> &upkeep::UpkeepMetrics {
        &self.upkeep
    }

    /// The proxy closed a connection: `stalled`, `aborted_reply`, `protocol`, ...
    pub(crate) fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&ByReason { reason }).inc();
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Evictions, for INFO.
    pub(crate) fn removals(&self, reason: &'static str) -> u64 {
        self.removals.get_or_create(&ByReason { reason }).get()
    }

    /// All of it as text, followed by `rest`.
    pub(crate) fn render(&self, rest: impl FnOnce(&mut String)) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes everything");
        // What follows belongs before the end mark of OpenMetrics.
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        rest(&mut text);
        text.write_str("# EOF\n")
            .expect("a string takes everything");
        text
    }
}

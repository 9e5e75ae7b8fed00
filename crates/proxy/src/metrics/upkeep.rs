//! Metrics of the work that keeps objects whole and the pool small.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: &'static str,
}

/// Repair, evacuation, scrubbing and consolidation.
#[derive(Debug, Default)]
pub(crate) struct UpkeepMetrics {
    repaired: Counter,
    repaired_bytes: Counter,
    repair_failures: Counter,
    to_repair: Gauge<u64, AtomicU64>,
    repair_eta: Gauge<f64, AtomicU64>,
    reencoded: Counter,
    evacuated: Family<ByRoute, Counter>,
    evacuated_bytes: Counter,
    evacuation_failures: Counter,
    scrubbed_bytes: Counter,
    scrub_faults: Counter,
    scaled_down: Counter,
    node_seconds: Counter<f64, AtomicU64>,
    always_on_seconds: Counter<f64, AtomicU64>,
}

impl UpkeepMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("repaired_chunks", "Chunks rebuilt", self.repaired.clone());
        let help = "Bytes of chunks rebuilt";
        registry.register_with_unit("repaired", help, Unit::Bytes, self.repaired_bytes.clone());
        let help = "Repairs to be tried again";
        registry.register("repair_failures", help, self.repair_failures.clone());
        let help = "Bytes of chunks that objects lack";
        registry.register_with_unit("repair_backlog", help, Unit::Bytes, self.to_repair.clone());
        let help = "How long repair takes for them at its fastest pace";
        registry.register_with_unit("repair_eta", help, Unit::Seconds, self.repair_eta.clone());
        let help = "Objects written anew with a narrower code";
        registry.register("reencoded_objects", help, self.reencoded.clone());
        let help = "Chunks moved off members that were about to go";
        registry.register("evacuated_chunks", help, self.evacuated.clone());
        let help = "Bytes of chunks moved off members that were about to go";
        registry.register_with_unit("evacuated", help, Unit::Bytes, self.evacuated_bytes.clone());
        let help = "Evacuations to be tried again";
        registry.register(
            "evacuation_failures",
            help,
            self.evacuation_failures.clone(),
        );
        let help = "Bytes of chunks read and verified in the background";
        registry.register_with_unit("scrubbed", help, Unit::Bytes, self.scrubbed_bytes.clone());
        let help = "Chunks found missing or corrupt by that";
        registry.register("scrub_faults", help, self.scrub_faults.clone());
        let help = "Members emptied because the pool needs fewer";
        registry.register("members_scaled_down", help, self.scaled_down.clone());
        let help = "Time that nodes were awake, all together";
        registry.register_with_unit("node", help, Unit::Seconds, self.node_seconds.clone());
        let help = "The same if every node always were";
        let always_on = self.always_on_seconds.clone();
        registry.register_with_unit("node_always_on", help, Unit::Seconds, always_on);
        for route in ["direct", "relayed"] {
            drop(self.evacuated.get_or_create(&ByRoute { route }));
        }
    }

    pub(crate) fn repaired(&self, bytes: u64) {
        self.repaired.inc();
        self.repaired_bytes.inc_by(bytes);
    }

    pub(crate) fn repair_failed(&self) {
        self.repair_failures.inc();
    }

    /// So many bytes are to be repaired, by at most so many a second.
    pub(crate) fn to_repair(&self, bytes: u64, bytes_per_second: u64) {
        self.to_repair.set(bytes);
        let eta = bytes as f64 / bytes_per_second.max(1) as f64;
        self.repair_eta.set(eta);
    }

    pub(crate) fn reencoded(&self) {
        self.reencoded.inc();
    }

    /// A chunk was moved: `direct`, or `relayed` through the proxy.
    pub(crate) fn evacuated(&self, route: &'static str, bytes: u64) {
        self.evacuated.get_or_create(&ByRoute { route }).inc();
        self.evacuated_bytes.inc_by(bytes);
    }

    pub(crate) fn evacuation_failed(&self) {
        self.evacuation_failures.inc();
    }

    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrubbed_bytes.inc_by(bytes);
    }

    pub(crate) fn scrub_fault(&self) {
        self.scrub_faults.inc();
    }

    pub(crate) fn scaled_down(&self) {
        self.scaled_down.inc();
    }

    /// For so long so many of all nodes were awake.
    pub(crate) fn awake(&self, seconds: f64, awake: usize, all: usize) {
        self.node_seconds.inc_by(seconds * awake as f64);
        self.always_on_seconds.inc_by(seconds * all as f64);
    }
}

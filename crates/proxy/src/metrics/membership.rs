//! Metrics of membership: which instances are members, which run leads, what it recovered.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

/// What a run found when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Objects that can be read.
    pub(crate) objects: usize,
    /// Of those, how many lack chunks.
    pub(crate) degraded: usize,
    /// Keys of which something was found, but not enough of any value.
    pub(crate) lost: usize,
}

/// The counters of membership.
#[derive(Debug, Default)]
pub(crate) struct MembershipMetrics {
    removed: Counter,
    fenced: Counter,
    pub(super) members: Gauge,
    pub(super) forced: Gauge,
    pub(super) is_leader: Gauge,
    pub(super) tombstone: Gauge,
    recovery: Gauge<f64, AtomicU64>,
    recovered: Gauge,
    lost: Gauge,
    without_quorum: Gauge,
}

impl MembershipMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Members removed because they did not answer";
        registry.register("members_removed", help, self.removed.clone());
        let help = "Nodes refused because they follow a later run of the proxy";
        registry.register("nodes_fenced", help, self.fenced.clone());
        let help = "Members whose chunks count";
        registry.register("view_members", help, self.members.clone());
        let help = "Changes of the view that fewer than a quorum stored, as no more were left";
        registry.register("unsafe_view_changes", help, self.forced.clone());
        let help = "Whether the proxy knows what there is and may answer";
        registry.register("leader", help, self.is_leader.clone());
        let help = "Removed objects that are not gone from enough members yet";
        registry.register("tombstones", help, self.tombstone.clone());
        let help = "Time from the start of this run until it could answer";
        registry.register_with_unit(
            "recovery_duration",
            help,
            Unit::Seconds,
            self.recovery.clone(),
        );
        let help = "Objects that this run found on its nodes";
        registry.register("recovered_objects", help, self.recovered.clone());
        let help = "Keys of which this run found too few chunks";
        registry.register("unrecoverable_objects", help, self.lost.clone());
        let help = "Whether this run heard too few members to believe anything";
        registry.register("recovery_without_quorum", help, self.without_quorum.clone());
    }

    pub(crate) fn removed(&self) {
        self.removed.inc();
    }

    pub(crate) fn fenced(&self) {
        self.fenced.inc();
    }

    pub(crate) fn without_quorum(&self) {
        self.without_quorum.set(1);
    }

    pub(crate) fn recovered(&self, recovered: Recovered, elapsed: Duration) {
        self.recovery.set(elapsed.as_secs_f64());
        self.recovered.set(recovered.objects as i64);
        self.lost.set(recovered.lost as i64);
    }

    /// Gauges that are read when metrics are scraped.
    pub(crate) fn refresh(&self, members: usize, forced: u64, is_leader: bool, tombstone: usize) {
        self.members.set(members as i64);
        self.forced.set(forced as i64);
        self.is_leader.set(i64::from(is_leader));
        self.tombstone.set(tombstone as i64);
    }
}

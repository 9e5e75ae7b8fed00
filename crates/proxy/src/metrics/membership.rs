//! What is counted of whose chunks count, who is in charge, and what a run found.

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
pub(crate) struct Membership {
    expelled: Counter,
    superseded: Counter,
    pub(super) members: Gauge,
    pub(super) forced: Gauge,
    pub(super) in_charge: Gauge,
    pub(super) parting: Gauge,
    recovery: Gauge<f64, AtomicU64>,
    recovered: Gauge,
    lost: Gauge,
    undecidable: Gauge,
}

impl Membership {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Members expelled because they did not answer";
        registry.register("members_expelled", help, self.expelled.clone());
        let help = "Nodes refused because they obey a later run of the proxy";
        registry.register("superseded", help, self.superseded.clone());
        let help = "Members whose chunks count";
        registry.register("roster_members", help, self.members.clone());
        let help = "Changes of the roster that fewer than a quorum stored, as no more were left";
        registry.register("rosters_forced", help, self.forced.clone());
        let help = "Whether the proxy knows what there is and may answer";
        registry.register("in_charge", help, self.in_charge.clone());
        let help = "Removed objects that are not gone from enough members yet";
        registry.register("partings", help, self.parting.clone());
        let help = "Time from the start of this run until it could answer";
        registry.register_with_unit("recovery", help, Unit::Seconds, self.recovery.clone());
        let help = "Objects that this run found on its nodes";
        registry.register("recovered_objects", help, self.recovered.clone());
        let help = "Keys of which this run found too few chunks";
        registry.register("unrecovered_objects", help, self.lost.clone());
        let help = "Whether this run heard too few members to believe anything";
        registry.register("undecidable", help, self.undecidable.clone());
    }

    pub(crate) fn expelled(&self) {
        self.expelled.inc();
    }

    pub(crate) fn superseded(&self) {
        self.superseded.inc();
    }

    pub(crate) fn undecidable(&self) {
        self.undecidable.set(1);
    }

    pub(crate) fn recovered(&self, recovered: Recovered, elapsed: Duration) {
        self.recovery.set(elapsed.as_secs_f64());
        self.recovered.set(recovered.objects as i64);
        self.lost.set(recovered.lost as i64);
    }

    /// Gauges that are read when somebody looks.
    pub(crate) fn refresh(&self, members: usize, forced: u64, in_charge: bool, parting: usize) {
        self.members.set(members as i64);
        self.forced.set(forced as i64);
        self.in_charge.set(i64::from(in_charge));
        self.parting.set(parting as i64);
    }
}

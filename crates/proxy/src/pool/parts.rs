//! The parts of the pool, each made of those that it needs.

use std::sync::Arc;

use infinicache_engine::LatencyTracker;

use super::{
    actions::Actions,
    admit::Admission,
    availability::Availability,
    departures::Departures,
    events::PoolEvents,
    lease::AnswerLease,
    members::Members,
    membership::Membership,
    node_list::NodeList,
    observe::PlatformObserver,
    observed_state::ObservedPlatform,
    ping::Pings,
    predecessors::Predecessors,
    prepare_phase::PreparePhase,
    routes::Routes,
    settings::{NodeAddress, Settings},
    shortage::Shortage,
    step_down::Termination,
    suspicion::Suspicion,
    ticks::Ticker,
    wake_attempt::Wakes,
};
use crate::metrics::Metrics;

/// What is known of nodes and members, and kept: most of the other parts need most of it.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) settings: Settings,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) lease: Arc<AnswerLease>,
    pub(super) membership: Arc<Membership>,
    pub(super) prepare: Arc<PreparePhase>,
    pub(super) platform: Arc<ObservedPlatform>,
    pub(super) shortage: Arc<Shortage>,
    pub(super) events: Arc<PoolEvents>,
    pub(super) latencies: Arc<LatencyTracker>,
    pub(super) metrics: Arc<Metrics>,
}

impl Records {
    /// All nodes are asleep, as far as is known.
    pub(super) fn new(
        settings: Settings,
        addresses: Vec<NodeAddress>,
        latencies: Arc<LatencyTracker>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shortage = Arc::new(Shortage::new(addresses.len()));
        let names = addresses.iter().map(|address| address.name.clone());
        let platform = Arc::new(ObservedPlatform::new(names));
        let nodes = Arc::new(NodeList::new(settings.timing, settings.epoch.clone()));
        for address in addresses {
            nodes.add(address);
        }
        let (members, events) = (Arc::new(Members::new()), Arc::<PoolEvents>::default());
        let lease = Arc::new(AnswerLease::new(settings.lease));
        let membership = Membership::new(&settings, &lease, &nodes, &members, &events, &metrics);
        let membership = Arc::new(membership);
        let prepare = PreparePhase::new(settings.epoch.clone(), &lease, &members, &membership);
        Self {
            settings,
            nodes,
            members,
            lease,
            membership,
            prepare: Arc::new(prepare),
            platform,
            shortage,
            events,
            latencies,
            metrics,
        }
    }

    fn wakes(&self) -> Arc<Wakes> {
        let (nodes, prepare) = (&self.nodes, &self.prepare);
        Arc::new(Wakes::new(&self.settings, nodes, prepare, &self.metrics))
    }

    fn pings(&self, wakes: &Arc<Wakes>) -> Arc<Pings> {
        Arc::new(Pings {
            timeout: Pings::no_timeouts_yet(),
            clock: self.settings.clock.clone(),
            lease: self.lease.clone(),
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            prepare: self.prepare.clone(),
            wakes: wakes.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn departures(&self) -> Arc<Departures> {
        Arc::new(Departures {
            silence: 2 * self.settings.timing.lost_after,
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            events: self.events.clone(),
            latencies: self.latencies.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn suspicion(&self, departures: &Arc<Departures>) -> Arc<Suspicion> {
        Arc::new(Suspicion {
            timing: self.settings.timing,
            lease: self.lease.clone(),
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            platform: self.platform.clone(),
            departures: departures.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
        })
    }

    pub(super) fn actions(&self) -> Arc<Actions> {
        let (wakes, departures) = (self.wakes(), self.departures());
        Arc::new(Actions {
            pings: self.pings(&wakes),
            suspicion: self.suspicion(&departures),
            wakes,
            departures,
        })
    }

    pub(super) fn observer(&self, actions: &Actions) -> Arc<PlatformObserver> {
        Arc::new(PlatformObserver {
            platform: self.platform.clone(),
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            departures: actions.departures.clone(),
            prepare: self.prepare.clone(),
            shortage: self.shortage.clone(),
        })
    }

    pub(super) fn admission(
        &self,
        actions: &Arc<Actions>,
        observer: &Arc<PlatformObserver>,
    ) -> Arc<Admission> {
        Arc::new(Admission {
            secret: self.settings.secret.clone(),
            epoch: self.settings.epoch.clone(),
            clock: self.settings.clock.clone(),
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            prepare: self.prepare.clone(),
            actions: actions.clone(),
            observer: observer.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn predecessors(&self, actions: &Actions) -> Predecessors {
        Predecessors {
            timing: self.settings.timing,
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            prepare: self.prepare.clone(),
            pings: actions.pings.clone(),
            suspicion: actions.suspicion.clone(),
            departures: actions.departures.clone(),
        }
    }

    pub(super) fn ticker(&self, actions: &Arc<Actions>, termination: &Arc<Termination>) -> Ticker {
        Ticker {
            timing: self.settings.timing,
            lease: self.lease.clone(),
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            predecessors: self.predecessors(actions),
            actions: actions.clone(),
            termination: termination.clone(),
        }
    }

    pub(super) fn availability(&self, actions: &Arc<Actions>) -> Availability {
        Availability {
            nodes: self.nodes.clone(),
            members: self.members.clone(),
            membership: self.membership.clone(),
            actions: actions.clone(),
            latencies: self.latencies.clone(),
        }
    }

    pub(super) fn routes(&self) -> Routes {
        Routes {
            secret: self.settings.secret.clone(),
            clock: self.settings.clock.clone(),
            members: self.members.clone(),
        }
    }
}

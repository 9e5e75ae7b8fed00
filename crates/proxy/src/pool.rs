//! The pool of nodes: which are awake, which are members, and how to reach them.
//!
//! A `Lifecycle` decides, one for each node; the parts of this module carry its
//! decisions out. Each has its own state, and is given the parts that it needs (`parts`): none
//! knows the whole, which is [`Nodes`]. From those that need nobody down:
//!
//! - `settings`, `lifecycle` (the pure state machine), `member` and `member_memory` (one instance
//!   while its chunks count), `events` (what happens to members, for the rest of the proxy),
//!   `step_down` (the end of this run), `lease` (whether it may answer);
//! - `node_list`: a lifecycle for each name; `members`: by number, and how they are asked;
//! - `observed_state`: what the platform showed last; `shortage`: for how long there have been too
//!   few nodes;
//! - `membership`: whose chunks count; `prepare_phase`: what is known of the run before;
//! - `wake`: the POST; `wake_attempt`: what becomes of the life that wanted it; `ping`: signs of
//!   life, asked for, and how long they are waited for;
//! - `departures`: members go; `suspicion`: who is silent, and can be done without; `predecessors`:
//!   who was replaced, and is still there;
//! - `actions`: what a lifecycle decided is done; `ticks`: time passes for all;
//! - `listener`: the listener and the handshake; `admit`: who may come in; `wake_sessions`: with
//!   what; `observe`: the pool follows its platform;
//! - `availability`: which nodes can be used; `routes`: how smart clients reach them.

mod actions;
mod admit;
mod availability;
mod departures;
mod events;
mod lease;
pub(crate) mod lifecycle;
pub(crate) mod listener;
pub(crate) mod member;
mod member_memory;
mod members;
mod membership;
mod node_list;
mod observe;
mod observed_state;
mod parts;
mod ping;
mod predecessors;
mod prepare_phase;
mod routes;
mod settings;
mod shortage;
mod step_down;
mod suspicion;
#[cfg(test)]
pub(crate) mod tests;
mod ticks;
mod wake;
mod wake_attempt;
pub(crate) mod wake_sessions;

use std::sync::Arc;

use infinicache_engine::LatencyTracker;

pub use self::settings::NodeAddress;
use self::{
    actions::Actions, admit::Admission, availability::Availability, departures::Departures,
    events::PoolEvents, lease::AnswerLease, node_list::NodeList, observe::PlatformObserver,
    observed_state::ObservedPlatform, parts::Records, prepare_phase::PreparePhase, routes::Routes,
    shortage::Shortage, step_down::Termination, suspicion::Suspicion, ticks::Ticker,
    wake_attempt::Wakes,
};
pub(crate) use self::{
    availability::Usable, events::PoolEvent, members::Members, membership::Membership,
    observed_state::Observed, settings::Settings, step_down::StepDown, ticks::HELD_UP,
};
use crate::{metrics::Metrics, pool_clock::PoolClock};

/// The nodes of the pool, by their parts. Clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(Arc<PoolParts>);

#[derive(Debug)]
struct PoolParts {
    records: Records,
    actions: Arc<Actions>,
    observer: Arc<PlatformObserver>,
    admission: Arc<Admission>,
    ticker: Ticker,
    availability: Availability,
    routes: Routes,
    termination: Arc<Termination>,
}

impl Nodes {
    /// The nodes at `addresses`, all asleep as far as is known.
    pub(crate) fn new(
        settings: Settings,
        addresses: Vec<NodeAddress>,
        latencies: Arc<LatencyTracker>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let records = Records::new(settings, addresses, latencies, metrics);
        let actions = records.actions();
        let observer = records.observer(&actions);
        let termination = Arc::<Termination>::default();
        Self(Arc::new(PoolParts {
            admission: records.admission(&actions, &observer),
            ticker: records.ticker(&actions, &termination),
            availability: records.availability(&actions),
            routes: records.routes(),
            records,
            actions,
            observer,
            termination,
        }))
    }

    /// Tells the time to all of it, until this run has to end.
    pub(crate) async fn live(self) {
        self.0.ticker.run().await;
    }

    /// The pool's clock.
    pub(crate) fn clock(&self) -> &PoolClock {
        &self.0.records.settings.clock
    }

    /// The names, and what is behind them.
    pub(crate) fn list(&self) -> &NodeList {
        &self.0.records.nodes
    }

    /// The members by number, and how they are asked.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.0.records.members
    }

    /// Whose chunks count.
    pub(crate) fn membership(&self) -> &Arc<Membership> {
        &self.0.records.membership
    }

    /// Whether this run may answer.
    pub(crate) fn lease(&self) -> &AnswerLease {
        &self.0.records.lease
    }

    /// What is known of the run before, while this one finds out what there is.
    pub(crate) fn prepare_phase(&self) -> &PreparePhase {
        &self.0.records.prepare
    }

    /// What the platform showed last.
    pub(crate) fn platform(&self) -> &ObservedPlatform {
        &self.0.records.platform
    }

    /// What takes in what the platform shows.
    pub(crate) fn observer(&self) -> &PlatformObserver {
        &self.0.observer
    }

    /// For how long there have been too few nodes.
    pub(crate) fn shortage(&self) -> &Shortage {
        &self.0.records.shortage
    }

    /// What happens to members.
    pub(crate) fn events(&self) -> &PoolEvents {
        &self.0.records.events
    }

    /// Which nodes can be used.
    pub(crate) fn availability(&self) -> &Availability {
        &self.0.availability
    }

    /// How smart clients reach members.
    pub(crate) fn routes(&self) -> &Routes {
        &self.0.routes
    }

    /// What wakes nodes.
    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.0.actions.wakes
    }

    /// Who is silent.
    pub(crate) fn suspicion(&self) -> &Suspicion {
        &self.0.actions.suspicion
    }

    /// What lets members go.
    pub(crate) fn departures(&self) -> &Departures {
        &self.0.actions.departures
    }

    /// Who may come in.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.0.admission
    }

    /// Whether this run has to end.
    pub(crate) fn termination(&self) -> &Termination {
        &self.0.termination
    }
}

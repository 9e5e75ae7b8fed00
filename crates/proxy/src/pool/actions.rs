//! The actions that a lifecycle decided on are done.

use std::sync::Arc;

use super::{
    departures::Departures, lifecycle::LifecycleAction, ping::Pings, suspicion::Suspicion,
    wake_attempt::Wakes,
};

/// Who does which.
#[derive(Debug)]
pub(crate) struct Actions {
    pub(super) wakes: Arc<Wakes>,
    pub(super) pings: Arc<Pings>,
    pub(super) suspicion: Arc<Suspicion>,
    pub(super) departures: Arc<Departures>,
}

impl Actions {
    /// Does what the lifecycle of a node decided on.
    pub(super) fn act(&self, index: usize, action: LifecycleAction) {
        match action {
            LifecycleAction::Wake
            | LifecycleAction::KeepAwake
            | LifecycleAction::Resume
            | LifecycleAction::NeverDialled => self.wakes.follow(index, action),
            LifecycleAction::Ping(member) => self.pings.ping(index, member),
            LifecycleAction::Preflight(member, sent) => self.pings.preflight(index, member, sent),
            LifecycleAction::Suspect(member) => self.suspicion.suspect(member),
            LifecycleAction::Lost(member) => self.departures.lose(member),
            LifecycleAction::Evacuate(member) => self.departures.evacuate(member),
        }
    }
}

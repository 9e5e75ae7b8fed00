//! What the pool is given: the nodes that are configured, and how to deal with nodes.

use std::time::Duration;

use hyper::Uri;
use infinicache_membership::Epoch;
use infinicache_wire::{Secret, wake::Lifetimes};

use super::lifecycle::LifecycleTimings;
use crate::pool_clock::PoolClock;

/// A node as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Where to POST its wakes.
    pub url: Uri,
}

/// How the pool deals with its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timing: LifecycleTimings,
    pub(crate) secret: Secret,
    /// `host:port` that nodes dial.
    pub(crate) advertise: String,
    pub(crate) epoch: Epoch,
    /// How many members may be lost at once.
    pub(crate) parity: usize,
    /// How long the proxy may rely on a member that answered.
    pub(crate) lease: Duration,
    /// Of the sessions that wakes begin.
    pub(crate) lifetimes: Lifetimes,
    pub(crate) clock: PoolClock,
}

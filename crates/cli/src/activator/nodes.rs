//! The nodes of an activator by name.

use std::collections::BTreeMap;

use super::{lifecycle::ProcessTimings, node::NodeHandle};

/// The nodes by name.
pub(super) struct Activator {
    pub(super) nodes: BTreeMap<String, NodeHandle>,
    pub(super) timing: ProcessTimings,
}

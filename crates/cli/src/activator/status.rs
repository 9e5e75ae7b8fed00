//! What is known of a node and its processes.

use std::net::SocketAddr;

use super::lifecycle::{ProcessPhase, Serial};

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// How many processes have been started for it.
    pub started: u64,
    /// Those that have not exited, oldest first.
    pub processes: Vec<ProcessStatus>,
}

/// What is known of a process.
#[derive(Clone, Debug)]
pub struct ProcessStatus {
    /// Which one of its name.
    pub serial: Serial,
    /// Its process id; none if it could not be started.
    pub pid: Option<u32>,
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Where it is in its life.
    pub phase: ProcessPhase,
}

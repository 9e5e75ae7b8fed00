//! What tests change about the platform; users are not shown it.

use std::time::Duration;

use clap::Args;
use infinicache_daemon::parse_duration;

use crate::activator::lifecycle::ProcessTimings;

/// How the activator imitates the platform, and what may be put between the processes.
#[derive(Args, Clone, Debug)]
pub struct TestOptions {
    /// From the end of the idle window to SIGTERM; Knative takes 30s
    #[arg(
        long,
        env = "INFINICACHE_TERM_DELAY",
        default_value = "0s",
        value_parser = parse_duration,
        hide = true
    )]
    pub term_delay: Duration,

    /// From SIGTERM to SIGKILL
    #[arg(
        long,
        env = "INFINICACHE_GRACE",
        default_value = "30s",
        value_parser = parse_duration,
        hide = true
    )]
    pub grace: Duration,

    /// From the start of a node's process to its first healthy answer
    #[arg(
        long,
        env = "INFINICACHE_START_TIMEOUT",
        default_value = "10s",
        value_parser = parse_duration,
        hide = true
    )]
    pub start_timeout: Duration,

    /// Port where the proxy takes its nodes' links; any free one if 0
    #[arg(long, env = "INFINICACHE_NODE_PORT", default_value_t = 0, hide = true)]
    pub node_port: u16,

    /// HOST:PORT that nodes dial, instead of that port
    #[arg(long, env = "INFINICACHE_ADVERTISE", hide = true)]
    pub advertise: Option<String>,

    /// Lets the activator be told to harm its nodes: POST /faults/NODE and /replace/NODE
    #[arg(long, env = "INFINICACHE_FAULTS", hide = true)]
    pub faults: bool,
}

impl Default for TestOptions {
    fn default() -> Self {
        let ProcessTimings {
            start,
            term_delay,
            grace,
            ..
        } = ProcessTimings::default();
        Self {
            term_delay,
            grace,
            start_timeout: start,
            node_port: 0,
            advertise: None,
            faults: false,
        }
    }
}

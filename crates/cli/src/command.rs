//! The command tree. Each subcommand is one file: its arguments, and `run`.

mod bench;
mod del;
#[cfg(feature = "kubernetes")]
mod doctor;
mod get;
mod manifests;
#[cfg(not(feature = "kubernetes"))]
mod no_doctor;
mod node;
mod pool;
mod proxy;
mod put;
mod replay;
mod stat;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};

use infinicache_daemon::telemetry;

#[cfg(not(feature = "kubernetes"))]
use self::no_doctor as doctor;

/// What goes wrong. What a node finds wrong, the proxy tells in terms of objects, and what goes wrong with the API of a cluster, whoever asked.
const DEFAULT_LOG: &str = "warn,infinicache_node=error,kube_client=off";

/// An in-memory cache for large objects, erasure-coded over nodes that sleep when they hold nothing.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to log to standard error: a level, or levels by module
    #[arg(
        long,
        global = true,
        env = "INFINICACHE_LOG",
        default_value = DEFAULT_LOG,
        value_name = "FILTER"
    )]
    pub log: String,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a whole cache on this machine
    ///
    /// Starts a proxy that speaks Redis, and the nodes behind it: real
    /// processes that are started when they are needed and stopped when they
    /// hold nothing. Ctrl-C stops everything.
    Up(up::Up),

    /// Make a file the value of a key
    ///
    /// The value is coded here and sent to the nodes while it is read. Until it
    /// is whole, others read the value before; Ctrl-C leaves that one in place,
    /// and so does a file that changes as it is read.
    Put(put::Put),

    /// Write the value of a key to a file or standard output
    Get(get::Get),

    /// Delete values
    Del(del::Del),

    /// Show what is known of a value, and which nodes hold its chunks
    Stat(stat::Stat),

    /// Show the nodes, and how full they are
    Pool(pool::Pool),

    /// Measure how fast a cache is, alone or against another
    ///
    /// Keys of its own are set, asked for, and deleted; stopped early, it leaves
    /// them behind. Requests that fail are counted, and make the command fail.
    Bench(Box<bench::Bench>),

    /// Ask a cache for what a trace says, as one that stands before something slower
    ///
    /// A GET that misses is followed by a SET of what was missed. Tells how many
    /// were hits, how long they took, and what the nodes cost meanwhile.
    Replay(Box<replay::Replay>),

    /// Write the Knative Services of a pool's nodes, as YAML
    Manifests(manifests::Manifests),

    /// Find out what is wrong with a cache on a Kubernetes cluster
    Doctor(doctor::Doctor),

    /// Run a node; `up` starts its nodes with this
    #[command(hide = true)]
    Node(node::Node),

    /// Run a proxy; `up` starts its proxy with this
    #[command(hide = true)]
    Proxy(Box<proxy::Proxy>),
}

impl Cli {
    /// Runs the subcommand to its end.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from doing what was asked.
    pub fn run(self) -> Result<()> {
        telemetry::init(&self.log)?;
        match self.command {
            Command::Up(up) => up.run(self.log),
            Command::Put(put) => put.run(),
            Command::Get(get) => get.run(),
            Command::Del(del) => del.run(),
            Command::Stat(stat) => stat.run(),
            Command::Pool(pool) => pool.run(),
            Command::Bench(bench) => bench.run(),
            Command::Replay(replay) => replay.run(),
            Command::Manifests(manifests) => manifests.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Node(node) => node.run(),
            Command::Proxy(proxy) => proxy.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}

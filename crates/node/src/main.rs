//! The node's process: logs, configuration, signals.

use clap::Parser;
use infinicache_daemon::{files, signals, telemetry};
use infinicache_node::Config;

/// What is large is a run of pages of its own, which goes back to the system whatever lies beside it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// One thread: a node is one link, and a second one would only add hops.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::init_from_env()?;
    files::raise_limit();
    infinicache_node::run(config, signals::stop()?).await
}

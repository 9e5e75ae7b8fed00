//! The node's process: logs, configuration, signals.

use clap::Parser;
use infinicache_daemon::{files, signals, telemetry};
use infinicache_node::Config;

/// Chunks are allocated and freed in rows of equal size, which it recycles without page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread: a node is one link, and a second one would only add hops.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::init_from_env()?;
    files::raise_limit();
    infinicache_node::run(config, signals::stop()?).await
}

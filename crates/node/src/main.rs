//! The node's process: logs, configuration, signals.

use clap::Parser;
use infinicache_node::{Config, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Chunks are allocated and freed in rows of equal size, which it recycles without page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread: a node is one link, and a second one would only add hops.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::init()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    infinicache_node::run(config, shutdown).await
}

//! The proxy's process: logs, configuration, signals.

use clap::Parser;
use infinicache_proxy::Config;
use tokio::signal::unix::{SignalKind, signal};

/// Buffers of a unit come and go all the time: it recycles them without page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The proxy of an infinicache pool: serves Redis clients from nodes that it wakes.
#[derive(Parser)]
#[command(name = "infinicache-proxy", version)]
struct Command {
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Command { config } = Command::parse();
    infinicache_proxy::telemetry::init()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    infinicache_proxy::run(config, shutdown).await
}

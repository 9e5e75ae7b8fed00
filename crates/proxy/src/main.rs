//! The proxy's process: logs, configuration, signals.

use clap::Parser;
use infinicache_daemon::{files, signals, telemetry};
use infinicache_proxy::Config;

/// Buffers of a unit come and go all the time: it recycles them without page faults, and gives back
/// those that are wanted no longer.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The proxy of an infinicache pool: serves Redis clients from nodes that it wakes.
#[derive(Parser)]
#[command(name = "infinicache-proxy", version)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { config } = Arguments::parse();
    telemetry::init_from_env()?;
    files::raise_limit();
    infinicache_proxy::run(config, signals::stop()?).await
}

//! `infinicache replay`: how a cache does with requests that were once made.

use std::{
    fs::File,
    io::BufReader,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use infinicache_bench::{
    replay::{
        cost::{Cost, NodeTime},
        outcome::ReplayOutcome,
        play::Replay as Plan,
        trace::{Trace, TraceLimits},
    },
    target::Target,
};
use infinicache_daemon::ByteSize;
use tokio::runtime::Builder;

use super::bench::write;
use crate::{connect::time_span, exit, http, human};

const EXAMPLES: &str = "  \
  infinicache replay crates/cli/data/ibm-docker-registry-dal09.csv --speed 20 --largest 64MiB
  infinicache replay trace.csv redis://127.0.0.1:6379 --speed max --connections 8
  infinicache replay trace.csv infinicache://127.0.0.1:6378 --metrics 127.0.0.1:6380 --json out.json";

/// How long the proxy may take to tell its metrics.
const METRICS: Duration = Duration::from_secs(10);

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Replay {
    /// The trace: lines of timestamp_ms,op,key,bytes below a line that says so
    trace: PathBuf,

    /// Whom to ask: redis://HOST:PORT, or infinicache://HOST:PORT for our own protocol
    #[arg(default_value = "redis://127.0.0.1:6378", value_name = "TARGET")]
    target: Target,

    /// How many times as fast as it was recorded: a number, or max
    #[arg(long, default_value = "1", value_parser = speed)]
    speed: Speed,

    /// Requests that can be under way at once
    #[arg(long, short, default_value_t = 16)]
    connections: u64,

    /// Replay no more than the first so many requests
    #[arg(long, default_value_t = 1_000_000, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    limit: u32,

    /// Replay larger values as values of this size
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = largest)]
    largest: ByteSize,

    /// Where the proxy tells its metrics, for what the nodes cost
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,

    /// The part of the values got of which every byte is checked, from 0 to 1
    #[arg(long, default_value_t = 0.05, value_name = "PART")]
    verify: f64,

    /// How long a request may take
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = time_span)]
    timeout: Duration,

    /// Threads that ask; one for RESP and one a core for our own protocol, if not told
    #[arg(long)]
    threads: Option<usize>,

    /// What all that looks random follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// What the names of keys begin with
    #[arg(long, default_value = "replay:")]
    prefix: String,

    /// Leave the values where they are; otherwise they are deleted
    #[arg(long)]
    keep: bool,

    /// Write all that came of it to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How many times as fast as a trace was recorded; `None` is as fast as possible.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed(Option<f64>);

impl Replay {
    pub fn run(self) -> Result<()> {
        let limits = TraceLimits {
            requests: self.limit as usize,
            largest: self.largest.0,
        };
        let read = || format!("cannot read {}", self.trace.display());
        let file = File::open(&self.trace).with_context(read)?;
        let trace = Trace::read(BufReader::new(file), limits).with_context(read)?;

        let before = self.node_time()?;
        let played = self
            .plan()
            .run(trace.clone())
            .with_context(|| format!("cannot replay to {}", self.target))?;
        let passed = match (before, self.node_time()?) {
            (Some(before), Some(after)) => after.since(before),
            _ => None,
        };
        let (held, most) = (played.byte_seconds, played.most_held);
        let cost = Cost::new(passed, held, most, played.took.as_secs_f64());
        let outcome = ReplayOutcome::new(self.target.to_string(), &trace, &played, cost);
        if let Some(file) = &self.json {
            write(
                file,
                &format!("{}\n", serde_json::to_string_pretty(&outcome)?),
            )?;
        }
        exit::print(&outcome.text(human::bytes))?;
        let failures = outcome.failures();
        ensure!(failures == 0, "{failures} requests failed");
        Ok(())
    }

    fn plan(&self) -> Plan {
        Plan {
            target: self.target.clone(),
            speed: self.speed.0,
            connections: self.connections,
            timeout: self.timeout,
            verified: self.verify,
            threads: self.threads,
            prefix: self.prefix.clone(),
            keep: self.keep,
            seed: self.seed,
        }
    }

    /// What the proxy tells of its nodes, if it is told where.
    fn node_time(&self) -> Result<Option<NodeTime>> {
        let Some(address) = &self.metrics else {
            return Ok(None);
        };
        let failed = || format!("cannot read the metrics at {address}");
        let page = page(address).with_context(failed)?;
        let time = NodeTime::read(&page).context("no node-seconds among them");
        time.map(Some).with_context(failed)
    }
}

/// Gets the page of metrics.
fn page(address: &str) -> Result<String> {
    let first: Option<SocketAddr> = address.to_socket_addrs()?.next();
    let address = first.context("no such host")?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(http::get(address, "/metrics", METRICS))?;
    if !status.is_success() {
        bail!("{status}");
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn speed(text: &str) -> Result<Speed, String> {
    match (text, text.parse()) {
        ("max", _) => Ok(Speed(None)),
        (_, Ok(factor)) if (1e-6..=1e9).contains(&factor) => Ok(Speed(Some(factor))),
        _ => Err("a number above 0, or max, is expected".into()),
    }
}

/// Reads a size that a value may have; it is kept in memory.
fn largest(text: &str) -> Result<ByteSize, String> {
    use infinicache_bench::workload::LARGEST;
    match text.parse::<ByteSize>() {
        Ok(size) if size.0 <= LARGEST => Ok(size),
        Ok(_) => Err(format!("at most {} can be replayed", ByteSize(LARGEST))),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The traces that come with the program.
    const TRACES: [&str; 2] = [
        include_str!("../../data/ibm-docker-registry-dal09.csv"),
        include_str!("../../data/ibm-object-store-sample.csv"),
    ];

    #[test]
    fn the_traces_that_come_with_it_can_be_replayed() {
        let limits = TraceLimits {
            requests: 10_000,
            largest: 256 << 20,
        };
        let read = |text: &str| Trace::read(text.as_bytes(), limits).unwrap();
        let [registry, store] = TRACES.map(read);
        assert_eq!((registry.entries.len(), registry.keys), (999, 554));
        assert_eq!(
            store.entries.len() as u64 + store.others.values().sum::<u64>(),
            2000
        );
    }

    #[test]
    fn a_speed_has_an_end() {
        assert_eq!(speed("max"), Ok(Speed(None)));
        assert_eq!(speed("0.5"), Ok(Speed(Some(0.5))));
        for text in ["", "0", "-1", "NaN", "inf", "fast", "1e300"] {
            assert!(speed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn values_fit_into_memory() {
        assert_eq!(largest("4GiB"), Ok(ByteSize(4 << 30)));
        assert!(largest("5GiB").is_err());
    }
}

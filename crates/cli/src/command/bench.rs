//! `infinicache bench`: how fast a cache is, alone or against another.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use infinicache_bench::{
    plan::{Measured, Plan},
    popularity::Popularity,
    report::{document::Document, page, text},
    request::Operation,
    target::Target,
    weights::Weights,
    workload::Workload,
};
use infinicache_daemon::{ByteSize, parse_duration};

use crate::{connect::time_span, exit, temporary::TemporaryCache};

const EXAMPLES: &str = "  \
  infinicache bench --size 10MiB --mix get
  infinicache bench --size 1KiB --size 1MiB --connections 1,50 --versus redis://127.0.0.1:6379
  infinicache bench infinicache://127.0.0.1:6378 --size 100MiB --mix get --mix set --html report.html
  infinicache bench --nodes 3,14,50 --size 1MiB --size 10MiB --mix get --html scaling.html
  infinicache bench --size 1KiB --rate 20000 --connections 50 --keys 100000 --popularity zipf";

/// Workloads are made of all sizes with all mixes, keys, connections and pipelines.
#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Bench {
    /// Whom to measure: redis://HOST:PORT, or infinicache://HOST:PORT for our own protocol
    #[arg(default_value = "redis://127.0.0.1:6378", value_name = "TARGET")]
    target: Target,

    /// Measure this one in turn with it, and print how they compare
    #[arg(long, value_name = "TARGET")]
    versus: Option<Target>,

    /// How large values are: a size, or sizes with weights (1KiB=90,10MiB=10); may be repeated
    #[arg(long, value_name = "SIZES", default_value = "10MiB")]
    size: Vec<Weights<ByteSize>>,

    /// What is asked: get, set, or both with weights; may be repeated
    #[arg(long, value_name = "MIX", default_value = "get=80,set=20")]
    mix: Vec<Weights<Operation>>,

    /// Connections, or users of the client; may be a list
    #[arg(long, short, value_delimiter = ',', default_value = "1")]
    connections: Vec<u64>,

    /// Requests sent on a connection before their answers are awaited; may be a list
    #[arg(long, short = 'P', value_delimiter = ',', default_value = "1")]
    pipeline: Vec<u64>,

    /// How many keys; as many as 256 MiB hold, if not told, and at most 10000; may be a list
    #[arg(long, value_delimiter = ',')]
    keys: Vec<u64>,

    /// Start a cache of so many nodes on this machine and ask that, not TARGET, by TARGET's protocol; may be a list
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<u64>,

    /// How often each key is asked for: uniform, zipf or zipf:EXPONENT
    #[arg(long, default_value = "uniform")]
    popularity: Popularity,

    /// Requests a second, sent whether others were answered or not; otherwise as many as are answered
    ///
    /// How long each takes is counted from when it was due.
    #[arg(long)]
    rate: Option<f64>,

    /// How long a round lasts
    #[arg(long, short, default_value = "5s", value_name = "TIME", value_parser = time_span)]
    duration: Duration,

    /// After how many requests a round ends before that
    #[arg(long, short = 'n')]
    requests: Option<u64>,

    /// How often each workload is measured; 5 times if two are compared, otherwise once
    #[arg(long)]
    rounds: Option<u64>,

    /// For how long each workload is asked before it is measured
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_duration)]
    warm_up: Duration,

    /// The part of the values got of which every byte is checked, from 0 to 1
    #[arg(long, default_value_t = 0.05, value_name = "PART")]
    verify: f64,

    /// How long a request, or a pipeline of them, may take
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = time_span)]
    timeout: Duration,

    /// Threads that ask; one for RESP and one a core for our own protocol, if not told
    #[arg(long)]
    threads: Option<usize>,

    /// What all that looks random follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// What the names of keys begin with
    #[arg(long, default_value = "bench:")]
    prefix: String,

    /// Leave the values where they are; otherwise they are deleted
    #[arg(long)]
    keep: bool,

    /// Write all that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a report with plots to this file, as a page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let mut measured = Vec::new();
        for nodes in each(&self.nodes) {
            let cache = nodes.map(TemporaryCache::start).transpose()?;
            let target = match &cache {
                Some(cache) => self.target.at(cache.address()),
                None => self.target.clone(),
            };
            let plan = self.plan(target, nodes);
            let told = |step| {
                if !self.quiet {
                    exit::say(step);
                }
            };
            let failed = || format!("cannot measure {}", plan.targets[0]);
            measured.extend(plan.run(told).with_context(failed)?);
        }
        let document = Document::new(self.names(), &measured);
        if let Some(file) = &self.json {
            write(
                file,
                &format!("{}\n", serde_json::to_string_pretty(&document)?),
            )?;
        }
        if let Some(file) = &self.html {
            write(file, &page::page(&document))?;
        }
        exit::print(&text::text(&document))?;
        let failures: u64 = measured.iter().map(Measured::failures).sum();
        ensure!(failures == 0, "{failures} requests failed");
        Ok(())
    }

    /// What the targets are called.
    fn names(&self) -> Vec<String> {
        let own = match self.nodes.is_empty() {
            true => self.target.to_string(),
            false => format!("{}:// to a cache on this machine", self.target.scheme()),
        };
        let other = self.versus.as_ref().map(ToString::to_string);
        [Some(own), other].into_iter().flatten().collect()
    }

    fn plan(&self, target: Target, nodes: Option<u64>) -> Plan {
        let mut workloads = Vec::new();
        for sizes in &self.size {
            for mix in &self.mix {
                for keys in each(&self.keys) {
                    for connections in &self.connections {
                        for pipeline in &self.pipeline {
                            workloads.push(Workload {
                                sizes: sizes.clone(),
                                nodes,
                                mix: mix.clone(),
                                keys,
                                popularity: self.popularity,
                                connections: *connections,
                                pipeline: *pipeline,
                                rate: self.rate,
                                duration: self.duration,
                                requests: self.requests,
                                verified: self.verify,
                                timeout: self.timeout,
                                seed: self.seed,
                            });
                        }
                    }
                }
            }
        }
        let alone = if self.versus.is_some() { 5 } else { 1 };
        Plan {
            targets: [Some(target), self.versus.clone()]
                .into_iter()
                .flatten()
                .collect(),
            workloads,
            rounds: self.rounds.unwrap_or(alone),
            warm_up: self.warm_up,
            threads: self.threads,
            prefix: self.prefix.clone(),
            keep: self.keep,
        }
    }
}

/// Each of some numbers, or once none.
fn each(numbers: &[u64]) -> Vec<Option<u64>> {
    match numbers {
        [] => vec![None],
        _ => numbers.iter().copied().map(Some).collect(),
    }
}

/// Writes a report to its file.
pub(super) fn write(file: &PathBuf, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn plan(args: &[&str]) -> Plan {
        let line = ["bench"].iter().chain(args);
        let bench = Line::try_parse_from(line).unwrap().bench;
        bench.plan(bench.target.clone(), bench.nodes.first().copied())
    }

    #[test]
    fn workloads_are_all_sizes_with_all_mixes_keys_connections_and_pipelines() {
        let line =
            "--size 1KiB --size 1MiB=9,2MiB=1 --mix get --mix set -c 1,8 -P 1,16 --keys 5,10";
        let plan = plan(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(plan.workloads.len(), 32);
        let last = plan.workloads.last().unwrap().describe();
        assert_eq!(
            last,
            "1MiB 90%, 2MiB 10% · set · 8 connections · pipeline 16 · 10 keys"
        );
        assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn a_comparison_is_made_of_five_alternations() {
        assert_eq!((plan(&[]).targets.len(), plan(&[]).rounds), (1, 1));
        let versus = plan(&["--versus", "redis://127.0.0.1:6379"]);
        assert_eq!((versus.targets.len(), versus.rounds), (2, 5));
    }

    #[test]
    fn whoever_asks_nobody_else_asks_this_machine() {
        assert_eq!(plan(&[]).targets[0].to_string(), "redis://127.0.0.1:6378");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for args in [
            &["--rate", "0"][..],
            &["--rate", "inf"],
            &["--rate", "NaN"],
            &["--requests", "18446744073709551615"],
            &["--connections", "0"],
            &["--rounds", "0"],
            &["--duration", "400h"],
        ] {
            assert!(plan(args).check().is_err(), "{args:?}");
        }
        assert!(Line::try_parse_from(["bench", "--duration", "0s"]).is_err());
    }
}

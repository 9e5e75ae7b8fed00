//! What was measured, as a document. Times are in microseconds.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    compare::{Ratio, Round},
    memory::Memory,
    plan::Measured,
    tally::{Answered, Tally},
    workload::Axis,
};

/// A whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// What measured.
    pub generator: String,
    /// When, in seconds since 1970.
    pub made_at: u64,
    /// Cores of the machine that measured.
    pub cores: usize,
    /// Who was measured.
    pub targets: Vec<String>,
    /// What was asked, and what came of it.
    pub workloads: Vec<WorkloadDocument>,
}

/// A workload.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadDocument {
    /// What it is, in a line.
    pub name: String,
    /// Where it is among workloads that differ in one thing.
    pub along: Vec<Along>,
    /// Bytes that its values have together.
    pub bytes: u64,
    /// `closed` or `open`.
    pub r#loop: &'static str,
    /// The rate of an open loop.
    pub rate: Option<f64>,
    /// Seconds that a round was to last.
    pub duration: f64,
    /// The part of the values got that is verified.
    pub verified_part: f64,
    /// What all that looks random followed from.
    pub seed: u64,
    /// Each round of each target, in order.
    pub rounds: Vec<RoundDocument>,
    /// All rounds of each target together.
    pub totals: Vec<RoundDocument>,
    /// Failures while keys were set before and deleted after, by target.
    pub failed_around: Vec<BTreeMap<String, u64>>,
    /// Memory of each target once the keys were set.
    pub memory: Vec<Memory>,
    /// How the first target compares with the second.
    pub ratios: Vec<Ratio>,
}

/// The place of a workload on a curve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Along {
    /// In what the workloads of the curve differ.
    pub axis: Axis,
    /// Where on it.
    pub place: u64,
    /// What is the same for all, in a line.
    pub besides: String,
}

/// What a target did.
#[derive(Clone, Debug, Serialize)]
pub struct RoundDocument {
    /// Which target, counted from 0.
    pub target: usize,
    /// How long it took.
    pub seconds: f64,
    /// Requests that succeeded, a second.
    pub requests_per_second: f64,
    /// Bytes of values, a second.
    pub bytes_per_second: f64,
    /// What succeeded, by kind: get, miss, set, delete.
    pub answered: BTreeMap<&'static str, AnsweredDocument>,
    /// What failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Values of which every byte was checked.
    pub verified: u64,
    /// Requests that were due, and for which no time was left.
    pub unstarted: u64,
}

/// The requests of one kind that succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct AnsweredDocument {
    /// How many.
    pub count: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How long they took.
    pub latency: Latency,
}

/// How long requests took, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The part of them that took no longer than so many microseconds.
    pub curve: Vec<(f64, f64)>,
}

impl Document {
    /// The report on what was measured of these targets.
    pub fn new(targets: Vec<String>, measured: &[Measured]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let workload = |measured| workload(measured, targets.len());
        Self {
            generator: format!("infinicache {}", env!("CARGO_PKG_VERSION")),
            made_at: now.unwrap_or_default().as_secs(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            workloads: measured.iter().map(workload).collect(),
            targets,
        }
    }
}

fn workload(measured: &Measured, targets: usize) -> WorkloadDocument {
    let workload = &measured.workload;
    let along = |axis| {
        let place = workload.place(axis)?;
        let besides = workload.besides(axis);
        Some(Along {
            axis,
            place,
            besides,
        })
    };
    WorkloadDocument {
        name: workload.describe(),
        along: Axis::ALL.into_iter().filter_map(along).collect(),
        bytes: workload.bytes(),
        r#loop: if workload.rate.is_some() {
            "open"
        } else {
            "closed"
        },
        rate: workload.rate,
        duration: workload.duration.as_secs_f64(),
        verified_part: workload.verified,
        seed: workload.seed,
        rounds: measured.rounds.iter().map(round).collect(),
        totals: (0..targets)
            .map(|target| round(&measured.total(target)))
            .collect(),
        failed_around: measured
            .around
            .iter()
            .map(|tally| tally.failed.clone())
            .collect(),
        memory: measured.memory.clone(),
        ratios: measured.ratios.clone(),
    }
}

fn round(round: &Round) -> RoundDocument {
    let Tally {
        answered,
        failed,
        verified,
        unstarted,
    } = &round.tally;
    let seconds = round.took.as_secs_f64();
    let rate = |amount: u64| {
        if seconds > 0.0 {
            amount as f64 / seconds
        } else {
            0.0
        }
    };
    let kinds = answered
        .iter()
        .map(|(kind, answered)| (kind.name(), kind_document(answered)));
    RoundDocument {
        target: round.target,
        seconds,
        requests_per_second: rate(round.tally.succeeded()),
        bytes_per_second: rate(round.tally.bytes()),
        answered: kinds.collect(),
        failed: failed.clone(),
        verified: *verified,
        unstarted: *unstarted,
    }
}

fn kind_document(answered: &Answered) -> AnsweredDocument {
    AnsweredDocument {
        count: answered.latency.len(),
        bytes: answered.bytes,
        latency: latency(&answered.latency),
    }
}

/// What is told of a histogram of nanoseconds.
pub(crate) fn latency(histogram: &Histogram<u64>) -> Latency {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let at = |part: f64| micros(histogram.value_at_quantile(part));
    // Each step covers a tenth of the rest that the one before it left, or less.
    let steps = (0..60).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 12.0));
    let resolved = |part: &f64| (1.0 - part) * histogram.len() as f64 >= 1.0;
    let curve = steps.take_while(resolved).chain([1.0]);
    Latency {
        min: micros(histogram.min()),
        mean: histogram.mean() / 1e3,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: micros(histogram.max()),
        curve: curve.map(|part| (part, at(part))).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        compare::{compare, tests::round},
        request::Failure,
        workload::{Workload, tests::small},
    };

    /// A report on two sizes at two targets, one of which is twice as fast, and fails once.
    pub(crate) fn report() -> Document {
        let targets = ["redis://127.0.0.1:1", "infinicache://127.0.0.1:2"].map(String::from);
        let measured = |size: &str| {
            let mut rounds = vec![
                round(0, 2000, 10),
                round(1, 1000, 20),
                round(1, 1100, 20),
                round(0, 2100, 10),
            ];
            rounds[1].tally.fail(&Failure::Refused("OOM".into()), 1);
            Measured {
                workload: Workload {
                    sizes: size.parse().unwrap(),
                    ..small()
                },
                ratios: compare(&rounds),
                rounds,
                around: vec![Tally::default(), Tally::default()],
                memory: vec![
                    Memory {
                        used: Some(1 << 20),
                        resident: Some(2 << 20),
                    },
                    Memory::default(),
                ],
            }
        };
        Document::new(targets.to_vec(), &[measured("1KiB"), measured("1MiB")])
    }

    #[test]
    fn everything_that_was_measured_is_in_the_document() {
        let json = serde_json::to_value(report()).unwrap();
        let workload = &json["workloads"][1];
        assert_eq!(workload["along"][0]["axis"], "size");
        assert_eq!(workload["along"][0]["place"], 1 << 20);
        assert_eq!(workload["loop"], "closed");
        assert_eq!(
            workload["along"][0]["besides"],
            "get 80%, set 20% · 2 connections · 100 keys"
        );
        assert_eq!(workload["bytes"], 100 << 20);
        assert_eq!(workload["memory"][0]["resident"], 2 << 20);
        assert_eq!(workload["rounds"][1]["failed"]["refused: OOM"], 1);
        assert_eq!(workload["totals"][0]["answered"]["get"]["count"], 4100);
        assert_eq!(workload["totals"][1]["failed"]["refused: OOM"], 1);
        assert_eq!(workload["totals"][1]["seconds"], 2.0);
        let p50 = workload["totals"][0]["answered"]["get"]["latency"]["p50"]
            .as_f64()
            .unwrap();
        assert!((p50 - 10.0).abs() < 0.01, "{p50}");
        assert_eq!(workload["ratios"][0]["measure"], "requests/s");
    }

    #[test]
    fn a_latency_curve_tells_no_more_than_was_measured() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1000).for_each(|n| histogram.record(n * 1000).unwrap());
        let latency = latency(&histogram);
        let told = [latency.min, latency.p50, latency.p90, latency.max];
        for (time, expected) in told.into_iter().zip([1.0, 500.0, 900.0, 1000.0]) {
            assert!((time / expected - 1.0).abs() < 0.001, "{told:?}");
        }
        assert_eq!(latency.curve[0].0, 0.0);
        assert_eq!(latency.curve.last().unwrap().0, 1.0);
        assert_eq!(latency.curve.len(), 38);
        assert!(latency.curve.is_sorted());
    }
}

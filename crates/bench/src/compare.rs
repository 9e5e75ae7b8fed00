//! How two targets compare that were asked for the same in turn.
//!
//! What else runs on a machine comes and goes. So each alternation asks both,
//! shortly after one another, and its ratio has meaning by itself; how far the
//! ratios of alternations are apart tells how much the ratio of the medians is
//! worth.

use std::time::Duration;

use serde::Serialize;

use crate::tally::{Kind, Tally};

/// What one target did in one round.
#[derive(Clone, Debug)]
pub struct Round {
    /// Which target.
    pub target: usize,
    /// How long it took.
    pub took: Duration,
    /// What happened.
    pub tally: Tally,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Requests that succeeded, a second.
    Requests,
    /// Bytes of values, a second.
    Bytes,
    /// The time below which this part of the requests of a kind stayed, in thousandths.
    Latency(Kind, u16),
}

impl Measure {
    /// All that is compared.
    pub fn all() -> Vec<Self> {
        let latencies = [Kind::Get, Kind::Set]
            .into_iter()
            .flat_map(|kind| [500, 990, 999].map(|part| Self::Latency(kind, part)));
        [Self::Requests, Self::Bytes]
            .into_iter()
            .chain(latencies)
            .collect()
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::Requests => "requests/s".into(),
            Self::Bytes => "bytes/s".into(),
            Self::Latency(kind, part) => {
                let percent = f64::from(part) / 10.0;
                format!("{} p{percent} µs", kind.name())
            }
        }
    }

    /// What it was in a round, if there was anything to measure.
    pub fn of(self, round: &Round) -> Option<f64> {
        let seconds = round.took.as_secs_f64();
        let value = match self {
            Self::Requests => round.tally.succeeded() as f64 / seconds,
            Self::Bytes => round.tally.bytes() as f64 / seconds,
            Self::Latency(kind, part) => {
                let latency = &round.tally.answered.get(&kind)?.latency;
                latency.value_at_quantile(f64::from(part) / 1000.0) as f64 / 1e3
            }
        };
        (value.is_finite() && value > 0.0).then_some(value)
    }

    /// How many times as good `ours` is as `other`.
    fn advantage(self, ours: f64, other: f64) -> f64 {
        match self {
            Self::Requests | Self::Bytes => ours / other,
            Self::Latency(..) => other / ours,
        }
    }
}

/// How the first target compares with the second by one measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The measure.
    pub measure: String,
    /// The median of the first target.
    pub first: f64,
    /// The median of the second.
    pub second: f64,
    /// How many times as good the first median is: above 1 the first is better.
    pub ratio: f64,
    /// The least ratio of an alternation.
    pub least: f64,
    /// The greatest.
    pub most: f64,
    /// Alternations in which both could be measured.
    pub alternations: usize,
}

/// Compares the targets 0 and 1 by everything that both were measured by. The
/// n-th round of one and the n-th of the other are an alternation.
pub fn compare(rounds: &[Round]) -> Vec<Ratio> {
    let of = |target: usize| rounds.iter().filter(move |round| round.target == target);
    let compare = |measure: Measure| {
        let pairs: Vec<_> = of(0)
            .zip(of(1))
            .filter_map(|(first, second)| Some((measure.of(first)?, measure.of(second)?)))
            .collect();
        let first = median(pairs.iter().map(|(first, _)| *first))?;
        let second = median(pairs.iter().map(|(_, second)| *second))?;
        let ratios = pairs
            .iter()
            .map(|(first, second)| measure.advantage(*first, *second));
        Some(Ratio {
            measure: measure.name(),
            first,
            second,
            ratio: measure.advantage(first, second),
            least: ratios.clone().fold(f64::INFINITY, f64::min),
            most: ratios.fold(0.0, f64::max),
            alternations: pairs.len(),
        })
    };
    Measure::all().into_iter().filter_map(compare).collect()
}

/// The median; of an even number the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::request::RequestOutcome;

    /// A round of a second with `count` GETs of 1 KiB that took `micros` each.
    pub(crate) fn round(target: usize, count: u64, micros: u64) -> Round {
        let mut tally = Tally::default();
        (0..count).for_each(|_| tally.answer(RequestOutcome::Hit(1024), micros * 1000));
        Round {
            target,
            took: Duration::from_secs(1),
            tally,
        }
    }

    fn ratio(ratios: &[Ratio], measure: &str) -> Ratio {
        ratios
            .iter()
            .find(|ratio| ratio.measure == measure)
            .unwrap()
            .clone()
    }

    #[test]
    fn ratios_are_of_medians_and_their_spread_is_that_of_alternations() {
        let rounds = [
            round(0, 100, 10),
            round(1, 50, 20),
            round(1, 100, 40),
            round(0, 300, 20),
            round(0, 200, 30),
            round(1, 400, 30),
        ];
        let ratios = compare(&rounds);
        let requests = ratio(&ratios, "requests/s");
        assert_eq!((requests.first, requests.second), (200.0, 100.0));
        assert_eq!(
            (requests.ratio, requests.least, requests.most),
            (2.0, 0.5, 3.0)
        );
        assert_eq!(requests.alternations, 3);
        let latency = ratio(&ratios, "get p50 µs");
        assert!((latency.ratio - 1.5).abs() < 0.01, "{latency:?}");
        assert!((latency.least - 1.0).abs() < 0.01 && (latency.most - 2.0).abs() < 0.01);
        assert!(ratios.iter().all(|ratio| !ratio.measure.starts_with("set")));
    }

    #[test]
    fn a_round_without_answers_compares_with_nothing() {
        let rounds = [
            round(0, 0, 1),
            round(1, 10, 1),
            round(0, 10, 1),
            round(1, 10, 1),
        ];
        assert_eq!(ratio(&compare(&rounds), "requests/s").alternations, 1);
        assert_eq!(compare(&rounds[..2]), []);
        assert_eq!(compare(&[]), []);
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}

//! What happened, counted: every request ends up in exactly one place.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::request::{Failure, RequestOutcome};

/// The longest time that is told from longer ones, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Digits of a time that are kept.
const DIGITS: u8 = 3;

/// Kinds of failures that are told from each other.
const FAILURES: usize = 32;

/// What requests can turn out to be, as far as their times are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A GET with a value.
    Get,
    /// A GET without.
    Miss,
    /// A SET.
    Set,
    /// A DEL.
    Delete,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Get, Self::Miss, Self::Set, Self::Delete];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Miss => "miss",
            Self::Set => "set",
            Self::Delete => "delete",
        }
    }
}

/// The requests of one kind that succeeded.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Bytes of their values.
    pub bytes: u64,
    /// How long each took, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Default for Answered {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Self {
            bytes: 0,
            latency: latency.expect("bounds that are in order"),
        }
    }
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What succeeded.
    pub answered: BTreeMap<Kind, Answered>,
    /// What failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Values of which every byte was checked, whether right or wrong.
    pub verified: u64,
    /// Requests that were due, and for which no time was left.
    pub unstarted: u64,
}

impl Tally {
    /// Counts an answer that took so many nanoseconds.
    pub fn answer(&mut self, outcome: RequestOutcome, nanos: u64) {
        let (kind, bytes) = match outcome {
            RequestOutcome::Hit(bytes) => (Kind::Get, bytes),
            RequestOutcome::Miss => (Kind::Miss, 0),
            RequestOutcome::Stored(bytes) => (Kind::Set, bytes),
            RequestOutcome::Deleted => (Kind::Delete, 0),
        };
        let answered = self.answered.entry(kind).or_default();
        answered.bytes += bytes;
        answered.latency.saturating_record(nanos.max(1));
    }

    /// Counts `count` failures.
    pub fn fail(&mut self, failure: &Failure, count: u64) {
        self.fail_as(failure.to_string(), count);
    }

    fn fail_as(&mut self, reason: String, count: u64) {
        let is_known = self.failed.contains_key(&reason);
        let reason = match is_known || self.failed.len() < FAILURES {
            true => reason,
            false => "other".into(),
        };
        *self.failed.entry(reason).or_default() += count;
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (kind, more) in &other.answered {
            let answered = self.answered.entry(*kind).or_default();
            answered.bytes += more.bytes;
            let added = answered.latency.add(&more.latency);
            added.expect("histograms of the same bounds");
        }
        for (reason, count) in &other.failed {
            self.fail_as(reason.clone(), *count);
        }
        self.verified += other.verified;
        self.unstarted += other.unstarted;
    }

    /// Requests of a kind that succeeded.
    pub fn count(&self, kind: Kind) -> u64 {
        self.answered
            .get(&kind)
            .map_or(0, |answered| answered.latency.len())
    }

    /// All requests that succeeded.
    pub fn succeeded(&self) -> u64 {
        Kind::ALL.into_iter().map(|kind| self.count(kind)).sum()
    }

    /// Bytes of all values that came and went.
    pub fn bytes(&self) -> u64 {
        self.answered.values().map(|answered| answered.bytes).sum()
    }

    /// All requests that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(number: u8, bytes: u64) -> RequestOutcome {
        match number % 4 {
            0 => RequestOutcome::Hit(bytes),
            1 => RequestOutcome::Miss,
            2 => RequestOutcome::Stored(bytes),
            _ => RequestOutcome::Deleted,
        }
    }

    proptest! {
        #[test]
        fn tallies_of_parts_make_the_tally_of_the_whole(
            events in prop::collection::vec((any::<u8>(), 0..1_u64 << 40, 0..1_u64 << 50), 0..50),
            split: prop::sample::Index,
        ) {
            let tally = |events: &[(u8, u64, u64)]| {
                let mut tally = Tally::default();
                for (number, bytes, nanos) in events {
                    match number % 5 {
                        4 => tally.fail(&Failure::Refused(format!("{}", number % 3)), 2),
                        _ => tally.answer(outcome(*number, *bytes), *nanos),
                    }
                }
                tally.verified = events.len() as u64;
                tally
            };
            let at = split.index(events.len() + 1);
            let mut merged = tally(&events[..at]);
            merged.merge(&tally(&events[at..]));
            let whole = tally(&events);
            prop_assert_eq!(&merged.failed, &whole.failed);
            prop_assert_eq!(merged.verified, whole.verified);
            prop_assert_eq!(merged.bytes(), whole.bytes());
            prop_assert_eq!(merged.succeeded() * 2 + merged.failures(), events.len() as u64 * 2);
            for kind in Kind::ALL {
                let latency = |tally: &Tally| tally.answered.get(&kind).map(|answered| answered.latency.clone());
                prop_assert_eq!(latency(&merged), latency(&whole));
            }
        }
    }

    #[test]
    fn however_many_ways_there_are_to_fail_each_failure_is_counted() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.fail(&Failure::Refused(number.to_string()), 3);
        }
        assert_eq!(tally.failures(), 300);
        assert!(tally.failed.len() <= FAILURES + 1);
    }

    #[test]
    fn times_beyond_the_longest_are_counted_as_that() {
        let mut tally = Tally::default();
        tally.answer(RequestOutcome::Miss, u64::MAX);
        tally.answer(RequestOutcome::Miss, 0);
        assert_eq!(tally.count(Kind::Miss), 2);
        assert!(tally.answered[&Kind::Miss].latency.max() >= LONGEST);
    }
}

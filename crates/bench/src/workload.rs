//! What is asked, how often and for how long. Nothing of it is without an end.

use std::{fmt::Display, time::Duration};

use infinicache_daemon::ByteSize;
use serde::Serialize;

use crate::{popularity::Popularity, random::mix, request::Operation, weights::Weights};

/// What is asked of a target.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How large values are. The size of a key is always the same.
    pub sizes: Weights<ByteSize>,
    /// How many nodes the cache that is asked has, if that is told.
    pub nodes: Option<u64>,
    /// What is asked.
    pub mix: Weights<Operation>,
    /// How many keys there are; if not told, as many as [`FILL`] bytes hold.
    pub keys: Option<u64>,
    /// How often each is asked for.
    pub popularity: Popularity,
    /// Connections, or for our own protocol, users of the client.
    pub connections: u64,
    /// Requests that are sent on a connection before the answers to them are awaited.
    pub pipeline: u64,
    /// Requests a second, all together; `None` for as many as are answered.
    pub rate: Option<f64>,
    /// How long it goes on.
    pub duration: Duration,
    /// After how many requests it ends before that.
    pub requests: Option<u64>,
    /// The part of the values got of which every byte is checked: 0 to 1.
    pub verified: f64,
    /// How long a request may take.
    pub timeout: Duration,
    /// What all that looks random follows from.
    pub seed: u64,
}

/// In what workloads may differ whose results make a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Bytes of a value.
    Size,
    /// Nodes of the cache.
    Nodes,
    /// Keys that have values.
    Keys,
    /// Connections.
    Connections,
    /// Requests that are sent at once.
    Pipeline,
}

impl Axis {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Size,
        Self::Nodes,
        Self::Keys,
        Self::Connections,
        Self::Pipeline,
    ];
}

/// Bytes that the keys hold together, if it is not told how many there are.
pub const FILL: u64 = 256 << 20;

/// Most keys, if it is not told how many there are.
const FILL_KEYS: u64 = 10_000;

/// The largest value: it is kept in memory to be sent.
pub const LARGEST: u64 = 4 << 30;

/// A limit that is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {least} to {most}")]
pub struct OutOfBounds {
    what: &'static str,
    least: String,
    most: String,
}

/// Checks that something is within limits; what cannot be compared is not.
pub(crate) fn within<T: PartialOrd + Display>(
    what: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), OutOfBounds> {
    match least <= value && value <= most {
        true => Ok(()),
        false => Err(OutOfBounds {
            what,
            least: least.to_string(),
            most: most.to_string(),
        }),
    }
}

impl Workload {
    /// Checks that it ends, and takes a bounded amount of memory and time.
    ///
    /// # Errors
    ///
    /// The first limit that it does not keep.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        within("the size of a value", self.largest(), 0, LARGEST)?;
        within("the number of keys", self.key_count(), 1, 100_000_000)?;
        within("the number of connections", self.connections, 1, 10_000)?;
        within("the pipeline", self.pipeline, 1, 1_000)?;
        within("the rate", self.rate.unwrap_or(1.0), 0.001, 10_000_000.0)?;
        let requests = self.requests.unwrap_or(1);
        within("the number of requests", requests, 1, 10_000_000_000)?;
        let seconds = self.duration.as_secs_f64();
        within("the duration in seconds", seconds, 0.001, 86_400.0)?;
        within("the verified part", self.verified, 0.0, 1.0)?;
        within(
            "the timeout in seconds",
            self.timeout.as_secs_f64(),
            0.001,
            3_600.0,
        )
    }

    /// The size of the largest value.
    pub fn largest(&self) -> u64 {
        let sizes = self.sizes.choices().map(|ByteSize(size)| size);
        sizes.max().unwrap_or(0)
    }

    /// The size of a key's values.
    pub fn size_of(&self, key: u64) -> u64 {
        // Scattered, so that sizes and popularity have nothing to do with each other.
        self.sizes.choose(mix(!key)).0
    }

    /// How many keys there are.
    pub fn key_count(&self) -> u64 {
        let fit = FILL / self.largest().max(1);
        self.keys.unwrap_or(fit.clamp(1, FILL_KEYS))
    }

    /// How many requests are due, if they are sent at a rate.
    pub fn due(&self) -> Option<u64> {
        let due = (self.rate? * self.duration.as_secs_f64()).ceil() as u64;
        Some(due.min(self.requests.unwrap_or(u64::MAX)))
    }

    /// How many bytes all its values have together.
    pub fn bytes(&self) -> u64 {
        (0..self.key_count()).map(|key| self.size_of(key)).sum()
    }

    /// What it is, in a line.
    pub fn describe(&self) -> String {
        let parts = self.parts().into_iter();
        parts.map(|(_, part)| part).collect::<Vec<_>>().join(" · ")
    }

    /// Where it is along an axis; `None` if it is nowhere.
    pub fn place(&self, axis: Axis) -> Option<u64> {
        match axis {
            Axis::Size => {
                let mut sizes = self.sizes.choices();
                let size = sizes.next().filter(|_| sizes.next().is_none());
                size.map(|ByteSize(size)| size)
            }
            Axis::Nodes => self.nodes,
            Axis::Keys => Some(self.key_count()),
            Axis::Connections => Some(self.connections),
            Axis::Pipeline => Some(self.pipeline),
        }
    }

    /// What it is, but for where it is along an axis.
    pub fn besides(&self, axis: Axis) -> String {
        // How many keys there are follows from the size, if it is not told.
        let follows = |part| part == Axis::Keys && axis == Axis::Size && self.keys.is_none();
        let stays = |part: &Option<Axis>| !part.is_some_and(|it| it == axis || follows(it));
        let parts = self.parts().into_iter().filter(|(part, _)| stays(part));
        parts.map(|(_, part)| part).collect::<Vec<_>>().join(" · ")
    }

    fn parts(&self) -> Vec<(Option<Axis>, String)> {
        let plural = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let size = self.sizes.describe(|size| size.to_string());
        let mix = self.mix.describe(|operation| operation.name().into());
        let mut parts = vec![
            (Some(Axis::Size), size),
            (None, mix),
            (
                Some(Axis::Connections),
                plural(self.connections, "connection"),
            ),
        ];
        if self.pipeline > 1 {
            let pipeline = format!("pipeline {}", self.pipeline);
            parts.push((Some(Axis::Pipeline), pipeline));
        }
        parts.push((Some(Axis::Keys), plural(self.key_count(), "key")));
        if self.popularity != Popularity::Uniform {
            parts.push((None, self.popularity.to_string()));
        }
        if let Some(rate) = self.rate {
            parts.push((None, format!("{rate} requests/s")));
        }
        if let Some(nodes) = self.nodes {
            parts.push((Some(Axis::Nodes), plural(nodes, "node")));
        }
        parts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Half a second of something small.
    pub(crate) fn small() -> Workload {
        Workload {
            sizes: "1KiB".parse().unwrap(),
            nodes: None,
            mix: "get=80,set=20".parse().unwrap(),
            keys: Some(100),
            popularity: Popularity::Uniform,
            connections: 2,
            pipeline: 1,
            rate: None,
            duration: Duration::from_millis(500),
            requests: None,
            verified: 1.0,
            timeout: Duration::from_secs(10),
            seed: 1,
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        assert_eq!(small().check(), Ok(()));
        let refused = |change: fn(&mut Workload)| {
            let mut workload = small();
            change(&mut workload);
            workload.check().unwrap_err().to_string()
        };
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            let workload = Workload {
                rate: Some(rate),
                ..small()
            };
            assert!(workload.check().is_err(), "{rate}");
        }
        assert!(refused(|w| w.connections = 0).contains("connections"));
        assert!(refused(|w| w.connections = 10_001).contains("connections"));
        assert!(refused(|w| w.pipeline = 0).contains("pipeline"));
        assert!(refused(|w| w.keys = Some(0)).contains("keys"));
        assert!(refused(|w| w.requests = Some(u64::MAX)).contains("requests"));
        assert!(refused(|w| w.requests = Some(0)).contains("requests"));
        assert!(refused(|w| w.duration = Duration::MAX).contains("duration"));
        assert!(refused(|w| w.duration = Duration::ZERO).contains("duration"));
        assert!(refused(|w| w.verified = f64::NAN).contains("verified"));
        assert!(refused(|w| w.sizes = "1TiB".parse().unwrap()).contains("size"));
    }

    #[test]
    fn the_sizes_of_keys_are_spread_as_they_weigh() {
        let workload = Workload {
            sizes: "1KiB=90,10MiB=10".parse().unwrap(),
            ..small()
        };
        let large = (0..10_000)
            .filter(|key| workload.size_of(*key) > 1024)
            .count();
        assert!((800..1200).contains(&large), "{large}");
        assert_eq!(workload.largest(), 10 << 20);
    }

    #[test]
    fn keys_are_few_where_values_are_large() {
        let keys = |size: &str| {
            let sizes = size.parse().unwrap();
            Workload {
                sizes,
                keys: None,
                ..small()
            }
            .key_count()
        };
        assert_eq!(keys("1"), 10_000);
        assert_eq!(keys("10MiB"), 25);
        assert_eq!(keys("1GiB"), 1);
    }

    #[test]
    fn a_rate_and_a_duration_make_a_number_of_requests() {
        let workload = |requests| Workload {
            rate: Some(100.0),
            requests,
            ..small()
        };
        assert_eq!(workload(None).due(), Some(50));
        assert_eq!(workload(Some(7)).due(), Some(7));
        assert_eq!(small().due(), None);
    }

    #[test]
    fn it_is_told_in_a_line() {
        assert_eq!(
            small().describe(),
            "1KiB · get 80%, set 20% · 2 connections · 100 keys"
        );
    }
}

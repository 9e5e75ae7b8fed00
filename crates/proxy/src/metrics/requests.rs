//! Metrics of requests: what clients ask for and get.
//!
//! A small value is given out hundreds of thousands of times a second, so what is counted for
//! each of them is at hand, or is counted for many at once.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::labels::{ByResult, seconds};
use crate::{
    command::{CommandRecord, CommandResult},
    hot_cache::Lookups,
};

/// By command and by the magnitude of the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCommand {
    command: &'static str,
    size: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCommandResult {
    command: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDirection {
    direction: &'static str,
}

/// The counters of what is served.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    commands: Family<ByCommandResult, Counter>,
    seconds: Family<ByCommand, Histogram>,
    bytes: Family<ByDirection, Counter>,
    taken_in: Counter,
    given_out: Counter,
    relayed: Counter,
    reads: Family<ByResult, Counter>,
    hits: Counter,
    misses: Counter,
    lost: Counter,
    small_reads: Family<ByResult, Counter>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let bytes = Family::<ByDirection, Counter>::default();
        let moved = |direction| bytes.get_or_create_owned(&ByDirection { direction });
        let reads = Family::<ByResult, Counter>::default();
        let read = |result| reads.get_or_create_owned(&ByResult { result });
        Self {
            commands: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            taken_in: moved("in"),
            given_out: moved("out"),
            bytes,
            relayed: Counter::default(),
            hits: read("hit"),
            misses: read("miss"),
            lost: read("lost"),
            reads,
            small_reads: Family::default(),
        }
    }
}

impl RequestMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Commands by name and outcome";
        registry.register("commands", help, self.commands.clone());
        let help = "Time from a command's first byte to its reply's last, by size of the value";
        registry.register_with_unit(
            "command_duration",
            help,
            Unit::Seconds,
            self.seconds.clone(),
        );
        let help = "Bytes of values taken in and given out";
        registry.register_with_unit("value", help, Unit::Bytes, self.bytes.clone());
        let help = "Bytes of units relayed for smart clients, both ways";
        registry.register_with_unit("relayed", help, Unit::Bytes, self.relayed.clone());
        let help = "Reads that were a hit, a miss or a loss";
        registry.register("reads", help, self.reads.clone());
        let help = "Reads of small values that found them in the proxy's memory, or did not";
        registry.register("small_reads", help, self.small_reads.clone());
    }

    /// Commands were answered.
    pub(crate) fn commands(&self, answered: &[CommandRecord]) {
        let kind = |it: &CommandRecord| (it.name, it.result, magnitude(it.bytes));
        for alike in answered.chunk_by(|one, other| kind(one) == kind(other)) {
            let (command, result, size) = kind(&alike[0]);
            let result = match result {
                CommandResult::Ok => "ok",
                CommandResult::Error => "error",
            };
            let counter = self
                .commands
                .get_or_create(&ByCommandResult { command, result });
            counter.inc_by(alike.len() as u64);
            let seconds = self.seconds.get_or_create(&ByCommand { command, size });
            for it in alike {
                seconds.observe(it.elapsed.as_secs_f64());
            }
        }
        let reads = |hit| answered.iter().filter(|it| it.hit == Some(hit)).count() as u64;
        self.hits.inc_by(reads(true));
        self.misses.inc_by(reads(false));
    }

    /// Bytes of values came in.
    pub(crate) fn taken_in(&self, bytes: u64) {
        self.taken_in.inc_by(bytes);
    }

    /// Bytes of values went out.
    pub(crate) fn given_out(&self, bytes: u64) {
        self.given_out.inc_by(bytes);
    }

    /// Bytes of units were relayed, either way.
    pub(crate) fn relayed(&self, bytes: u64) {
        self.relayed.inc_by(bytes);
    }

    /// A read found its value, or did not.
    pub(crate) fn read(&self, hit: bool) {
        match hit {
            true => self.hits.inc(),
            false => self.misses.inc(),
        };
    }

    /// A read found its value lost.
    pub(crate) fn read_lost(&self) {
        self.lost.inc();
    }

    /// Where reads of small values are counted.
    pub(crate) fn hot_cache_lookups(&self) -> Lookups {
        let of = |result| self.small_reads.get_or_create_owned(&ByResult { result });
        Lookups {
            hits: of("hit"),
            misses: of("miss"),
        }
    }

    /// Reads that were a hit, and that were a miss.
    pub(crate) fn reads(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }

    /// Bytes of values in and out.
    pub(crate) fn value_bytes(&self) -> (u64, u64) {
        (self.taken_in.get(), self.given_out.get())
    }

    /// Bytes that have been moved for clients.
    pub(crate) fn bytes(&self) -> u64 {
        self.taken_in.get() + self.given_out.get() + self.relayed.get()
    }
}

/// The magnitude of a value.
fn magnitude(bytes: u64) -> &'static str {
    match bytes {
        0..=1_024 => "1KiB",
        1_025..=32_768 => "32KiB",
        32_769..=1_048_576 => "1MiB",
        1_048_577..=16_777_216 => "16MiB",
        16_777_217..=268_435_456 => "256MiB",
        _ => "more",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn commands_that_are_told_together_count_like_those_told_one_by_one() {
        let answered = |name, result, bytes| CommandRecord {
            name,
            result,
            hit: (name == "get").then_some(bytes > 0),
            bytes,
            elapsed: Duration::from_millis(1),
        };
        let all = [
            answered("get", CommandResult::Ok, 10),
            answered("get", CommandResult::Ok, 1_024),
            answered("get", CommandResult::Ok, 1_025),
            answered("set", CommandResult::Ok, 0),
            answered("get", CommandResult::Ok, 0),
            answered("get", CommandResult::Error, 0),
        ];
        let rendered = |served: &RequestMetrics| {
            let mut registry = Registry::default();
            served.register(&mut registry);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let mut lines: Vec<String> = text.lines().map(String::from).collect();
            // The order within a family is not told.
            lines.sort();
            lines
        };
        let (together, apart) = (RequestMetrics::default(), RequestMetrics::default());
        together.commands(&all);
        all.chunks(1).for_each(|one| apart.commands(one));
        assert_eq!(rendered(&together), rendered(&apart));
        let expected = "commands_total{command=\"get\",result=\"ok\"} 4";
        assert!(rendered(&together).contains(&expected.to_owned()));
        assert_eq!(together.reads(), (3, 2));
    }
}

//! What came of a replay, as a document and as text. Times are in microseconds.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

use super::{cost::Cost, play::Played, trace::Trace};
use crate::{
    report::{
        document::{Latency, latency},
        text::figure,
    },
    tally::{Kind, Tally},
};

/// What came of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayOutcome {
    /// Who was asked.
    pub target: String,
    /// Requests of the trace that were made again.
    pub requests: usize,
    /// Those that were left out, by operation.
    pub left_out: BTreeMap<String, u64>,
    /// Values that were larger than is replayed.
    pub cut: u64,
    /// Seconds that the trace spans, and that it took.
    pub span_seconds: f64,
    /// Seconds that the replay took.
    pub seconds: f64,
    /// GETs with a value.
    pub hits: u64,
    /// GETs without.
    pub misses: u64,
    /// The part of the GETs that were hits.
    pub hit_ratio: Option<f64>,
    /// The part of the bytes asked for that were there.
    pub byte_hit_ratio: Option<f64>,
    /// Bytes that were got.
    pub bytes_out: u64,
    /// Bytes that were set.
    pub bytes_in: u64,
    /// The most bytes that were held at once.
    pub most_held_bytes: u64,
    /// Requests that no user was free for when they were due.
    pub late: u64,
    /// Seconds by which the latest of them was late.
    pub latest_seconds: f64,
    /// Values of which every byte was checked.
    pub verified: u64,
    /// What failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// What failed when keys were deleted afterwards.
    pub failed_after: BTreeMap<String, u64>,
    /// How long requests took, by size.
    pub classes: Vec<Class>,
    /// What the memory cost, in GiB times seconds.
    pub cost: Cost,
}

/// Values of about the same size.
#[derive(Clone, Debug, Serialize)]
pub struct Class {
    /// Up to how many bytes; `None` for the largest.
    pub up_to: Option<u64>,
    /// How many requests of each kind, and how long they took.
    pub kinds: BTreeMap<&'static str, (u64, Latency)>,
}

impl ReplayOutcome {
    /// What came of a replay of `trace`.
    pub fn new(target: String, trace: &Trace, played: &Played, cost: Cost) -> Self {
        let mut all = Tally::default();
        played.by_size.values().for_each(|tally| all.merge(tally));
        let bytes = |kind: Kind| all.answered.get(&kind).map_or(0, |answered| answered.bytes);
        let (hits, misses) = (all.count(Kind::Get), all.count(Kind::Miss));
        let part =
            |part: u64, rest: u64| (part + rest > 0).then(|| part as f64 / (part + rest) as f64);
        Self {
            target,
            requests: trace.entries.len(),
            left_out: trace.others.clone(),
            cut: trace.cut,
            span_seconds: trace.span().as_secs_f64(),
            seconds: played.took.as_secs_f64(),
            hits,
            misses,
            hit_ratio: part(hits, misses),
            byte_hit_ratio: part(bytes(Kind::Get), played.missed_bytes),
            bytes_out: bytes(Kind::Get),
            bytes_in: bytes(Kind::Set),
            most_held_bytes: played.most_held,
            late: played.late,
            latest_seconds: played.latest.as_secs_f64(),
            verified: all.verified,
            failed: all.failed,
            failed_after: played.around.failed.clone(),
            classes: played
                .by_size
                .iter()
                .map(|(up_to, tally)| class(*up_to, tally))
                .collect(),
            cost,
        }
    }

    /// Requests that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().chain(self.failed_after.values()).sum()
    }

    /// It as text; `bytes` writes a number of bytes.
    pub fn text(&self, bytes: impl Fn(u64) -> String) -> String {
        let mut text = String::new();
        self.write(&mut text, bytes).expect("memory to write to");
        text
    }

    fn write(&self, text: &mut String, bytes: impl Fn(u64) -> String) -> std::fmt::Result {
        let percent =
            |part: Option<f64>| part.map_or("-".into(), |part| format!("{:.1}%", part * 100.0));
        let (requests, seconds, span) = (self.requests, self.seconds, self.span_seconds);
        writeln!(
            text,
            "{requests} requests to {} in {seconds:.1} s, recorded in {span:.1} s",
            self.target
        )?;
        for (operation, count) in &self.left_out {
            writeln!(text, "  {count} left out: {operation}")?;
        }
        if self.cut > 0 {
            writeln!(text, "  {} had larger values than is replayed", self.cut)?;
        }
        if self.late > 0 {
            writeln!(
                text,
                "  {} late, by up to {:.3} s, as all connections were busy",
                self.late, self.latest_seconds
            )?;
        }
        for (reason, count) in self.failed.iter().chain(&self.failed_after) {
            writeln!(text, "  {count} failed: {reason}")?;
        }
        let (hits, misses) = (self.hits, self.misses);
        let (ratio, byte_ratio) = (percent(self.hit_ratio), percent(self.byte_hit_ratio));
        writeln!(
            text,
            "hits       {ratio} ({hits} of {}), {byte_ratio} of bytes",
            hits + misses
        )?;
        let (got, set) = (bytes(self.bytes_out), bytes(self.bytes_in));
        writeln!(
            text,
            "bytes      {got} got, {set} set, {} held at most",
            bytes(self.most_held_bytes)
        )?;
        writeln!(text, "verified   {} values", self.verified)?;
        self.cost.write(text)?;
        writeln!(text, "latency, µs")?;
        for class in &self.classes {
            let size = class
                .up_to
                .map_or("larger".into(), |size| format!("up to {}", bytes(size)));
            for (kind, (count, latency)) in &class.kinds {
                let (p50, p99, max) = (
                    figure(latency.p50),
                    figure(latency.p99),
                    figure(latency.max),
                );
                writeln!(
                    text,
                    "  {size:<16} {kind:<6} {count:>8}  p50 {p50:>6}  p99 {p99:>6}  max {max:>6}"
                )?;
            }
        }
        Ok(())
    }
}

impl Cost {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        match (self.node_seconds, self.always_on_node_seconds) {
            (Some(awake), Some(always)) => {
                writeln!(
                    text,
                    "nodes      {awake:.1} s awake, of {always:.1} s if all always were"
                )?;
            }
            _ => writeln!(text, "nodes      unknown without the proxy's metrics")?,
        }
        let nodes = self.nodes.map_or("unknown".into(), figure);
        let (held, redis) = (figure(self.held), figure(self.redis_with_replica));
        writeln!(
            text,
            "memory     {nodes} GiB s on nodes, {redis} GiB s as Redis with a replica, {held} GiB s held"
        )
    }
}

fn class(up_to: u64, tally: &Tally) -> Class {
    let kinds = tally.answered.iter().map(|(kind, answered)| {
        let times = (answered.latency.len(), latency(&answered.latency));
        (kind.name(), times)
    });
    Class {
        up_to: (up_to < u64::MAX).then_some(up_to),
        kinds: kinds.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        replay::{play::class_of, trace::TraceLimits},
        request::{Failure, RequestOutcome as Answer},
    };

    fn outcome() -> ReplayOutcome {
        let text = "timestamp_ms,op,key,bytes\n0,GET,a,100\n1,HEAD,a,1\n2000,GET,a,900\n";
        let trace = Trace::read(
            text.as_bytes(),
            TraceLimits {
                requests: 10,
                largest: 500,
            },
        )
        .unwrap();
        let mut played = Played {
            took: Duration::from_secs(1),
            missed_bytes: 100,
            most_held: 100,
            ..Played::default()
        };
        let small = played.by_size.entry(class_of(100)).or_default();
        small.answer(Answer::Miss, 1_000);
        small.answer(Answer::Stored(100), 2_000);
        small.answer(Answer::Hit(100), 3_000);
        let large = played.by_size.entry(u64::MAX).or_default();
        large.answer(Answer::Hit(200), 4_000);
        large.fail(&Failure::TimedOut, 2);
        let cost = Cost::new(None, 0.0, 100, 1.0);
        ReplayOutcome::new("redis://127.0.0.1:1".into(), &trace, &played, cost)
    }

    #[test]
    fn hits_are_counted_by_requests_and_by_bytes() {
        let outcome = outcome();
        assert_eq!(
            (outcome.hits, outcome.misses, outcome.failures()),
            (2, 1, 2)
        );
        assert_eq!(outcome.hit_ratio, Some(2.0 / 3.0));
        assert_eq!(outcome.byte_hit_ratio, Some(0.75));
        assert_eq!((outcome.bytes_out, outcome.bytes_in), (300, 100));
        assert_eq!(
            outcome
                .classes
                .iter()
                .map(|class| class.up_to)
                .collect::<Vec<_>>(),
            [Some(1024), None]
        );
    }

    #[test]
    fn the_text_hides_nothing() {
        let text = outcome().text(|bytes| format!("{bytes} B"));
        for part in [
            "2 requests to redis://127.0.0.1:1 in 1.0 s, recorded in 2.0 s",
            "1 left out: HEAD",
            "1 had larger values than is replayed",
            "2 failed: timed out",
            "hits       66.7% (2 of 3), 75.0% of bytes",
            "bytes      300 B got, 100 B set, 100 B held at most",
            "nodes      unknown",
            "up to 1024 B     set           1  p50   2.00",
            "larger           get           1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

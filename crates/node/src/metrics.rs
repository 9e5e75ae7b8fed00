//! What the node counts, once: for its answers to pings and for `GET /metrics`.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use infinicache_daemon::memory::resident_bytes;
use infinicache_wire::message::NodeReport;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

/// Everything that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) puts: Counter,
    pub(crate) gets: Counter,
    pub(crate) not_found: Counter,
    pub(crate) full: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) wakes: Counter,
    pub(crate) refused_wakes: Counter,
    pub(crate) ended_sessions: Counter,
    pub(crate) links: Counter,
    pub(crate) lost_links: Counter,
    pub(crate) redials: Counter,
    pub(crate) refused_peers: Counter,
}

impl Counters {
    /// Everything as Prometheus reads it, with the sizes in `report`.
    pub(crate) fn render(&self, report: &NodeReport) -> String {
        let mut registry = Registry::with_prefix("infinicache_node");
        for (name, help, bytes) in [
            (
                "capacity",
                "Bytes that the node may hold",
                report.capacity_bytes,
            ),
            ("used", "Bytes of all chunks", report.used_bytes),
            (
                "pending",
                "Bytes of chunks being written",
                report.pending_bytes,
            ),
            (
                "dead",
                "Bytes of chunks deleted but not freed",
                report.dead_bytes,
            ),
            (
                "resident",
                "Resident memory of the process",
                report.resident_bytes,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, gauge(bytes));
        }
        registry.register("chunks", "Complete chunks", gauge(report.chunks));
        for (name, help, counter) in [
            ("puts", "Units stored", &self.puts),
            ("gets", "Units given back", &self.gets),
            (
                "not_found",
                "Units asked for that the node did not hold",
                &self.not_found,
            ),
            ("full", "Units refused for want of room", &self.full),
            (
                "abandoned_chunks",
                "Pending chunks that no proxy went on writing",
                &self.abandoned,
            ),
            ("received_bytes", "Bytes received in units", &self.bytes_in),
            ("sent_bytes", "Bytes given back in units", &self.bytes_out),
            ("accepted_wakes", "Wakes accepted", &self.wakes),
            ("refused_wakes", "Wakes refused", &self.refused_wakes),
            (
                "ended_sessions",
                "Sessions that were over",
                &self.ended_sessions,
            ),
            (
                "established_links",
                "Links to a proxy established",
                &self.links,
            ),
            (
                "lost_links",
                "Links lost other than by replacement",
                &self.lost_links,
            ),
            (
                "redial_attempts",
                "Attempts to reach a proxy again after a failure",
                &self.redials,
            ),
            ("refused_peers", "Direct links refused", &self.refused_peers),
        ] {
            registry.register(name, help, counter.clone());
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        text
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The resident memory of this process, as it was within the last second.
#[derive(Debug, Default)]
pub(crate) struct Resident(Mutex<Option<(Instant, u64)>>);

impl Resident {
    pub(crate) fn bytes(&self, now: Instant) -> u64 {
        const FRESH: Duration = Duration::from_secs(1);
        let mut last = self.0.lock().expect("it does not panic while it is read");
        match *last {
            Some((at, bytes)) if now.saturating_duration_since(at) < FRESH => bytes,
            _ => last.insert((now, resident_bytes())).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_after_their_noun_and_unit() {
        let counters = Counters::default();
        counters.puts.inc();
        let report = NodeReport {
            used_bytes: 7,
            ..NodeReport::default()
        };
        let text = counters.render(&report);
        assert!(text.contains("infinicache_node_puts_total 1\n"), "{text}");
        assert!(text.contains("infinicache_node_used_bytes 7\n"), "{text}");
        assert!(text.contains("infinicache_node_chunks 0\n"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_resident_and_read_once_a_second() {
        let resident = Resident::default();
        let now = Instant::now();
        let bytes = resident.bytes(now);
        assert!(bytes > 0);
        let _more = vec![1u8; 8 << 20];
        assert_eq!(resident.bytes(now), bytes);
    }
}

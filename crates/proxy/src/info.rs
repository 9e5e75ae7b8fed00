//! What `INFO` tells.

use std::{fmt::Write, time::Duration};

/// The version of Redis whose commands and texts the proxy follows; clients
/// decide by it what they may send.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// The figures of `INFO`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) uptime: Duration,
    /// The Redis port.
    pub(crate) port: u16,
    pub(crate) clients: u64,
    pub(crate) limits: ClientLimits,
    pub(crate) connections_total: u64,
    pub(crate) connections_refused_total: u64,
    pub(crate) commands_total: u64,
    pub(crate) errors_total: u64,
    /// Bytes of values that came in, and that went out.
    pub(crate) input_bytes_total: u64,
    pub(crate) output_bytes_total: u64,
    pub(crate) hits_total: u64,
    pub(crate) misses_total: u64,
    pub(crate) lost_total: u64,
    pub(crate) expired_total: u64,
    pub(crate) evicted_total: u64,
    pub(crate) keys: u64,
    pub(crate) expiring_keys: u64,
    /// Bytes that values and their parity take on the nodes, and that they may take.
    pub(crate) used_bytes: u64,
    pub(crate) capacity_bytes: u64,
    /// Bytes of this process that are in memory.
    pub(crate) resident_bytes: u64,
    /// Nodes by state, in the words of the pool.
    pub(crate) nodes: Vec<(&'static str, u64)>,
    /// Whether the proxy is still finding out what the nodes hold.
    pub(crate) loading: bool,
}

/// What clients may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClientLimits {
    /// How many may be connected.
    pub(crate) max_clients: u64,
    /// How long they may ask for nothing; zero is for ever.
    pub(crate) idle_timeout: Duration,
    /// After how long a silence the system asks whether they are still there; zero is never.
    pub(crate) keepalive: Duration,
    /// The longest value, in bytes.
    pub(crate) max_object_bytes: u64,
}

/// A section's name, and what writes its lines.
type Section = (&'static str, fn(&Figures, &mut Lines));

/// The sections, in their order.
const SECTIONS: [Section; 9] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("Cluster", cluster),
    ("Nodes", nodes),
    ("Keyspace", keyspace),
];

/// Renders the sections of these upper-case names; all of them if none is named.
pub(crate) fn render(wanted: &[String], figures: &Figures) -> String {
    let is_wanted = |section: &str| {
        let all = |name: &String| matches!(name.as_str(), "DEFAULT" | "ALL" | "EVERYTHING");
        wanted.is_empty()
            || wanted.iter().any(all)
            || wanted.contains(&section.to_ascii_uppercase())
    };
    let mut lines = Lines(String::new());
    for (name, render) in SECTIONS.iter().filter(|(name, _)| is_wanted(name)) {
        lines.section(name);
        render(figures, &mut lines);
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn section(&mut self, name: &str) {
        let before = if self.0.is_empty() { "" } else { "\r\n" };
        let _ = write!(self.0, "{before}# {name}\r\n");
    }

    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn server(figures: &Figures, lines: &mut Lines) {
    lines.put("redis_version", REDIS_VERSION);
    lines.put("redis_mode", "standalone");
    lines.put("infinicache_version", env!("CARGO_PKG_VERSION"));
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("process_id", std::process::id());
    lines.put("tcp_port", figures.port);
    lines.put("uptime_in_seconds", figures.uptime.as_secs());
    lines.put("uptime_in_days", figures.uptime.as_secs() / (24 * 60 * 60));
}

fn clients(figures: &Figures, lines: &mut Lines) {
    lines.put("connected_clients", figures.clients);
    lines.put("maxclients", figures.limits.max_clients);
    lines.put("blocked_clients", 0);
}

fn memory(figures: &Figures, lines: &mut Lines) {
    lines.put("used_memory", figures.used_bytes);
    lines.put("used_memory_rss", figures.resident_bytes);
    lines.put("maxmemory", figures.capacity_bytes);
    lines.put("maxmemory_policy", "allkeys-lru");
}

fn persistence(figures: &Figures, lines: &mut Lines) {
    lines.put("loading", u8::from(figures.loading));
    lines.put("aof_enabled", 0);
}

fn stats(figures: &Figures, lines: &mut Lines) {
    lines.put("total_connections_received", figures.connections_total);
    lines.put("total_commands_processed", figures.commands_total);
    lines.put("total_net_input_bytes", figures.input_bytes_total);
    lines.put("total_net_output_bytes", figures.output_bytes_total);
    lines.put("rejected_connections", figures.connections_refused_total);
    lines.put("expired_keys", figures.expired_total);
    lines.put("evicted_keys", figures.evicted_total);
    lines.put("lost_keys", figures.lost_total);
    lines.put("keyspace_hits", figures.hits_total);
    lines.put("keyspace_misses", figures.misses_total);
    lines.put("total_error_replies", figures.errors_total);
}

fn replication(_: &Figures, lines: &mut Lines) {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
}

fn cluster(_: &Figures, lines: &mut Lines) {
    lines.put("cluster_enabled", 0);
}

fn nodes(figures: &Figures, lines: &mut Lines) {
    for (state, count) in &figures.nodes {
        lines.put(&format!("nodes_{state}"), count);
    }
}

fn keyspace(figures: &Figures, lines: &mut Lines) {
    if figures.keys > 0 {
        let Figures {
            keys,
            expiring_keys,
            ..
        } = figures;
        lines.put(
            "db0",
            format_args!("keys={keys},expires={expiring_keys},avg_ttl=0"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sections_that_are_named_are_told() {
        let figures = Figures {
            keys: 3,
            expiring_keys: 1,
            ..Figures::default()
        };
        let text = render(&["KEYSPACE".into(), "REPLICATION".into()], &figures);
        let expected = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\
            \r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\n";
        assert_eq!(text, expected);
        assert_eq!(render(&["NOSUCH".into()], &figures), "");
    }

    #[test]
    fn clients_that_wait_for_the_server_see_that_it_is_ready() {
        assert!(render(&[], &Figures::default()).contains("\r\nloading:0\r\n"));
    }
}

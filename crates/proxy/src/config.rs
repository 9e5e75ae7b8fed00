//! How a proxy is configured: each flag is an environment variable too.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use clap::{Args, ValueEnum, builder::TypedValueParser};
use hyper::Uri;
use infinicache_daemon::{ByteSize, SecretSource, parse_duration};
use infinicache_erasure::Code;

pub use crate::session_options::SessionOptions;
use infinicache_discovery::Discovery;

use crate::{password::PasswordSource, pool::NodeAddress};

/// The configuration of a proxy.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Where Redis clients connect
    #[arg(long, env = "INFINICACHE_LISTEN", default_value = "127.0.0.1:6378")]
    pub listen: SocketAddr,

    /// Where nodes dial in
    #[arg(
        long,
        env = "INFINICACHE_NODE_LISTEN",
        default_value = "127.0.0.1:6379"
    )]
    pub node_listen: SocketAddr,

    /// HOST:PORT that nodes dial; the address of --node-listen, if not given
    #[arg(long, env = "INFINICACHE_ADVERTISE")]
    pub advertise: Option<String>,

    /// Where metrics and probes are served over HTTP
    #[arg(
        long,
        env = "INFINICACHE_ADMIN_LISTEN",
        default_value = "127.0.0.1:6380"
    )]
    pub admin_listen: SocketAddr,

    /// The nodes: NAME=URL,NAME=URL,...
    #[arg(long, env = "INFINICACHE_NODES", value_delimiter = ',')]
    pub nodes: Vec<NodeAddress>,

    /// Where other nodes are found.
    #[command(flatten)]
    pub discovery: Discovery,

    /// Data chunks of a large object
    #[arg(
        long,
        env = "INFINICACHE_DATA",
        default_value = "10",
        value_parser = clap::value_parser!(u8).range(1..).map(usize::from)
    )]
    pub data: usize,

    /// Parity chunks of an object: how many of its nodes may be lost at once
    #[arg(
        long,
        env = "INFINICACHE_PARITY",
        default_value = "2",
        value_parser = clap::value_parser!(u8).range(..255).map(usize::from)
    )]
    pub parity: usize,

    /// Largest value
    #[arg(long, env = "INFINICACHE_MAX_OBJECT_BYTES", default_value = "16GiB")]
    pub max_object_bytes: ByteSize,

    /// Memory for values that pass through
    #[arg(long, env = "INFINICACHE_BUFFER_BYTES", default_value = "512MiB")]
    pub buffer_bytes: ByteSize,

    /// Values up to this length are stored in one exchange with their nodes, and kept in the proxy's memory too
    #[arg(long, env = "INFINICACHE_SMALL_VALUE_MAX", default_value = "16KiB")]
    pub small_value_max: ByteSize,

    /// Memory for such values; 0 keeps none
    #[arg(long, env = "INFINICACHE_SMALL_VALUES_BYTES", default_value = "64MiB")]
    pub small_values_bytes: ByteSize,

    /// Memory that a node is taken to have until it has told
    #[arg(long, env = "INFINICACHE_NODE_MEMORY", default_value = "256MiB")]
    pub node_memory: ByteSize,

    /// After how long without requests the platform stops a node; nodes with data are kept awake within it
    #[arg(long, env = "INFINICACHE_NODE_IDLE_WINDOW", default_value = "60s", value_parser = parse_duration)]
    pub node_idle_window: Duration,

    /// How long a node may take to answer a wake, and to dial, before it is tried again
    #[arg(long, env = "INFINICACHE_WAKE_DEADLINE", default_value = "5s", value_parser = parse_duration)]
    pub wake_deadline: Duration,

    /// A node that was not heard of for this long is lost, if the pool can do without it
    #[arg(long, env = "INFINICACHE_NODE_LOST_AFTER", default_value = "10s", value_parser = parse_duration)]
    pub node_lost_after: Duration,

    /// A node that was not heard of for this long is lost, whatever is lost with it
    #[arg(long, env = "INFINICACHE_NODE_DEAD_AFTER", default_value = "15m", value_parser = parse_duration)]
    pub node_dead_after: Duration,

    /// How long the proxy may answer after a majority of its members last did; another run of it waits as long
    #[arg(long, env = "INFINICACHE_LEASE", default_value = "5s", value_parser = parse_duration)]
    pub lease: Duration,

    /// What is known of the run of the proxy before this one
    #[arg(long, env = "INFINICACHE_PREDECESSOR", default_value = "unknown")]
    pub predecessor: Predecessor,

    /// How long a new run waits for members of the one before
    #[arg(long, env = "INFINICACHE_RECOVERY_DEADLINE", default_value = "20s", value_parser = parse_duration)]
    pub recovery_deadline: Duration,

    /// How long members that were replaced may take to dial a new run; what suits --predecessor, if
    /// not given
    #[arg(long, env = "INFINICACHE_STRAGGLER_DEADLINE", value_parser = parse_duration, hide = true)]
    pub straggler_deadline: Option<Duration>,

    /// A node that was not heard of for this long is pinged before it is relied on
    #[arg(long, env = "INFINICACHE_PREFLIGHT_FRESHNESS", default_value = "2s", value_parser = parse_duration)]
    pub preflight_freshness: Duration,

    /// How long the sessions of nodes last.
    #[command(flatten)]
    pub sessions: SessionOptions,

    /// A client that neither sends nor takes anything of a value for this long is dropped
    #[arg(long, env = "INFINICACHE_STALL_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub stall_timeout: Duration,

    /// A client that asks for nothing for this long is dropped, as by Redis's timeout; 0 is never
    #[arg(long, env = "INFINICACHE_IDLE_TIMEOUT", default_value = "0s", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// After how long a silence the system asks whether a client is still there; 0 is never
    #[arg(long, env = "INFINICACHE_TCP_KEEPALIVE", default_value = "300s", value_parser = parse_duration)]
    pub tcp_keepalive: Duration,

    /// Most client connections; fewer, if the system does not let the process have so many files open
    #[arg(long, env = "INFINICACHE_MAX_CONNECTIONS", default_value_t = 10_000)]
    pub max_connections: usize,

    /// Fastest pace of repair, in bytes of values a second; what clients move is taken off it
    #[arg(
        long,
        env = "INFINICACHE_REPAIR_BYTES_PER_SECOND",
        default_value = "256MiB"
    )]
    pub repair_bytes_per_second: ByteSize,

    /// Objects that are moved at once off nodes that are about to go
    #[arg(
        long,
        env = "INFINICACHE_EVACUATIONS",
        default_value_t = 16,
        value_parser = clap::value_parser!(u64).range(1..=64)
    )]
    pub evacuations: u64,

    /// Fastest pace of that, in bytes of chunks a second
    #[arg(
        long,
        env = "INFINICACHE_EVACUATION_BYTES_PER_SECOND",
        default_value = "2GiB"
    )]
    pub evacuation_bytes_per_second: ByteSize,

    /// An object that there are too few nodes for is written anew with a narrower code after this long
    #[arg(long, env = "INFINICACHE_REENCODE_AFTER", default_value = "60s", value_parser = parse_duration)]
    pub reencode_after: Duration,

    /// Nodes are emptied and let go while the others would be filled no further than this percentage; 0 is never
    #[arg(
        long,
        env = "INFINICACHE_CONSOLIDATE_BELOW",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=70)
    )]
    pub consolidate_below: u8,

    /// For how long the pool has to be that empty before a node is let go
    #[arg(long, env = "INFINICACHE_CONSOLIDATE_AFTER", default_value = "120s", value_parser = parse_duration)]
    pub consolidate_after: Duration,

    /// How fast objects that no client reads are read and verified, in bytes a second; 0 is not at
    /// all
    #[arg(
        long,
        env = "INFINICACHE_SCRUB_BYTES_PER_SECOND",
        default_value = "1MiB"
    )]
    pub scrub_bytes_per_second: ByteSize,

    /// Where the pool's secret comes from.
    #[command(flatten)]
    pub secret: SecretSource,

    /// Where the password of clients comes from.
    #[command(flatten)]
    pub password: PasswordSource,
}

/// What is known of the run of the proxy before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Predecessor {
    /// There was none: nodes hold nothing.
    None,
    /// It has ended: its lease need not be waited for.
    Dead,
    /// It may still run.
    Unknown,
}

impl Config {
    /// The code of the pool.
    ///
    /// # Errors
    ///
    /// If there is no such code, or too few nodes for any.
    pub(crate) fn code(&self) -> anyhow::Result<Code> {
        let code = Code::new(self.data, self.parity)?;
        let nodes = self.nodes.len();
        // How many are found is not known before they are.
        anyhow::ensure!(
            nodes > code.parity() || self.discovery.is_on(),
            "{nodes} nodes cannot bear {} losses",
            code.parity()
        );
        Ok(code)
    }
}

impl FromStr for NodeAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("not of the form NAME=URL")?;
        let url: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        match (name.is_empty(), url.scheme_str(), url.host()) {
            (false, Some("http"), Some(_)) => Ok(Self {
                name: name.to_owned(),
                url,
            }),
            _ => Err(format!("{text}: a name and an http:// URL are needed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        config: Config,
    }

    fn code(line: &str) -> anyhow::Result<Code> {
        let words = ["proxy", "--discover", "kubernetes"];
        let words = words.into_iter().chain(line.split(' '));
        <Line as clap::Parser>::try_parse_from(words)?.config.code()
    }

    #[test]
    fn a_code_has_data_and_at_most_255_chunks() {
        assert_eq!(code("--data 254 --parity 1").unwrap().width(), 255);
        assert_eq!(code("--data 1 --parity 254").unwrap().width(), 255);
        for line in [
            "--data 0",
            "--data 256",
            "--data 18446744073709551615",
            "--parity 255",
            "--parity 18446744073709551615",
            "--data 254 --parity 2",
            "--data 255 --parity 254",
        ] {
            assert!(code(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_node_is_a_name_and_a_url() {
        let node: NodeAddress = "node-0=http://127.0.0.1:8080/node-0".parse().unwrap();
        assert_eq!(node.name, "node-0");
        for wrong in ["node-0", "=http://h", "n=ftp://h", "n=/path", "n=http://"] {
            assert!(wrong.parse::<NodeAddress>().is_err(), "{wrong}");
        }
    }
}

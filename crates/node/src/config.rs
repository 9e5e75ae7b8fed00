//! What can be set, on the command line or in the environment.

use std::{net::IpAddr, str::FromStr, time::Duration};

use anyhow::Context;
use clap::Parser;
use infinicache_daemon::{ByteSize, SecretSource, memory, parse_duration};

use crate::store::Limits;

/// A cache node of infinicache: holds chunks in memory for the proxy that wakes it.
#[derive(Clone, Debug, Parser)]
#[command(name = "infinicache-node", version)]
pub struct Config {
    /// Port of the wake endpoint; 0 takes any free one.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Address of the wake endpoint. Containers set 0.0.0.0.
    #[arg(
        long,
        env = "INFINICACHE_LISTEN_ADDRESS",
        default_value = "127.0.0.1",
        value_name = "ADDRESS"
    )]
    pub listen_address: IpAddr,

    /// Port at which other nodes and clients reach it directly: 0 takes any free one, off is none.
    ///
    /// It is bound to the address of the wake endpoint. The node reports the address from which it
    /// dials the proxy, unless the wake endpoint has one of its own.
    #[arg(
        long,
        env = "INFINICACHE_DIRECT_PORT",
        default_value = "0",
        value_name = "PORT"
    )]
    pub direct_port: DirectPort,

    /// Name of the node in the pool: wakes for other names are refused.
    #[arg(long, env = "K_SERVICE")]
    pub name: String,

    /// Bytes that it may hold, such as 256MiB or 1GiB; what its container's limit allows, if not given.
    ///
    /// Covers chunks and their bookkeeping. The process has at most a tenth
    /// more, and 24 MiB, for values of 1 KiB and longer.
    #[arg(long, env = "INFINICACHE_NODE_MEMORY", value_name = "BYTES")]
    pub memory: Option<ByteSize>,

    /// Where the pool's secret comes from.
    #[command(flatten)]
    pub secret: SecretSource,

    /// Failure domain: the host it runs on.
    #[arg(long, env = "INFINICACHE_HOST", default_value = "")]
    pub host: String,

    /// Failure domain: the zone of that host.
    #[arg(long, env = "INFINICACHE_ZONE", default_value = "")]
    pub zone: String,

    /// The pod it runs in.
    #[arg(long, env = "HOSTNAME", default_value = "")]
    pub pod: String,

    /// How long it stays after SIGTERM for its chunks to be moved away; a minute at most without a proxy.
    #[arg(
        long,
        env = "INFINICACHE_DRAIN",
        default_value = "20s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub drain: Duration,

    /// After how long without a unit a chunk that is being written is dropped.
    #[arg(
        long,
        env = "INFINICACHE_PENDING_TIMEOUT",
        default_value = "60s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub pending_timeout: Duration,

    /// After how long a deleted chunk is dropped, even if reads may go on from it.
    #[arg(
        long,
        env = "INFINICACHE_DEAD_TIMEOUT",
        default_value = "300s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub dead_timeout: Duration,
}

/// Where a node is reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectPort {
    /// Nowhere: what it holds moves through the proxy.
    Off,
    /// At this port, or at any free one if it is 0.
    At(u16),
}

impl FromStr for DirectPort {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            port => port.parse().map(Self::At),
        }
    }
}

/// What a process needs besides what it holds, in bytes: buffers, and replies under way.
const OVERHEAD: u64 = 32 << 20;

/// Bytes that a node may hold within a container's `limit`, in bytes.
///
/// Resident memory is at most a tenth more than what is held, and 24 MiB. The rest of an eighth
/// and of 32 MiB is for what else counts against the limit, such as buffers of sockets:
/// beyond it a node is killed, and all that it holds is lost.
pub fn capacity_within(limit: u64) -> u64 {
    limit.saturating_sub(OVERHEAD) / 8 * 7
}

impl Config {
    /// What the store may hold, and for how long.
    ///
    /// # Errors
    ///
    /// If neither a flag nor a container's limit tells how much memory there is.
    pub fn limits(&self) -> anyhow::Result<Limits> {
        Ok(Limits {
            capacity: self.capacity(memory::container_limit())?,
            pending_timeout: self.pending_timeout,
            dead_timeout: self.dead_timeout,
        })
    }

    /// Bytes that it may hold, in a container with this limit.
    fn capacity(&self, limit: Option<u64>) -> anyhow::Result<u64> {
        if let Some(ByteSize(told)) = self.memory {
            return Ok(told);
        }
        let limit = limit.context(
            "no memory to hold anything in: set INFINICACHE_NODE_MEMORY, or limit the container",
        )?;
        let capacity = capacity_within(limit);
        anyhow::ensure!(
            capacity > 0,
            "a container of {}, more than {} needed",
            ByteSize(limit),
            ByteSize(OVERHEAD)
        );
        Ok(capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_port_can_be_none() {
        assert_eq!("off".parse(), Ok(DirectPort::Off));
        assert_eq!("4000".parse(), Ok(DirectPort::At(4000)));
        assert!("65536".parse::<DirectPort>().is_err());
    }

    #[test]
    fn a_node_holds_what_it_is_told_to_or_what_its_container_allows() {
        let config = |flags: &[&str]| {
            Config::try_parse_from([&["node", "--name", "n"], flags].concat()).unwrap()
        };
        let told = config(&["--memory", "1MiB"]);
        assert_eq!(told.capacity(Some(1 << 30)).unwrap(), 1 << 20);
        let untold = config(&[]);
        assert_eq!(untold.capacity(Some(128 << 20)).unwrap(), 84 << 20);
        assert_eq!(untold.capacity(Some(1 << 30)).unwrap(), 868 << 20);
        let refusal = |limit| untold.capacity(limit).unwrap_err().to_string();
        assert!(refusal(None).contains("INFINICACHE_NODE_MEMORY"));
        assert_eq!(
            refusal(Some(32 << 20)),
            "a container of 32MiB, more than 32MiB needed"
        );
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Config::command().debug_assert();
    }
}

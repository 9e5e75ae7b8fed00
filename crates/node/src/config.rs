//! What can be set, on the command line or in the environment.

use std::{net::IpAddr, str::FromStr, time::Duration};

use clap::Parser;
use infinicache_daemon::{ByteSize, SecretSource, parse_duration};

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

    /// Port at which other nodes reach it directly: 0 takes any free one, off is none.
    ///
    /// It is bound to the address of the wake endpoint. The pool is told the
    /// address from which the node dials the proxy, unless the wake endpoint
    /// has one of its own.
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

    /// Bytes that it may hold, such as 256MiB or 1GiB.
    ///
    /// Covers chunks and their bookkeeping. The process needs about 32 MiB
    /// besides, for buffers and replies under way, and allocators round up.
    #[arg(long, env = "INFINICACHE_NODE_MEMORY", value_name = "BYTES")]
    pub memory: ByteSize,

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

    /// How long it stays after SIGTERM for its chunks to be moved away.
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

impl Config {
    /// What the store may hold, and for how long.
    pub fn limits(&self) -> Limits {
        Limits {
            capacity: self.memory.0,
            pending_timeout: self.pending_timeout,
            dead_timeout: self.dead_timeout,
        }
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
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Config::command().debug_assert();
    }
}

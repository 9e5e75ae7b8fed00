//! What is to be started, and the environment that says so to each process.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use infinicache_daemon::ByteSize;

use super::test_options::TestOptions;
use crate::{
    activator::{self, lifecycle::ProcessTimings},
    launcher::Launcher,
};

/// What of its grace a node may spend handing over its chunks: all but a
/// second, in which it ends in good order before it is killed.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// Not for the children: they get the secret itself.
const SECRET_FILE: &str = "INFINICACHE_SECRET_FILE";

/// A cache on one machine.
// Not `Debug`: it holds the secret.
#[derive(Clone)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// Data chunks of a large value.
    pub data: usize,
    /// Parity chunks.
    pub parity: usize,
    /// Memory of a node.
    pub memory: ByteSize,
    /// How long a node without requests is kept.
    pub idle_window: Duration,
    /// Where Redis clients connect.
    pub redis: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// Largest value, if the proxy's own limit is not meant.
    pub max_object_bytes: Option<ByteSize>,
    /// Buffers of the proxy.
    pub buffer_bytes: ByteSize,
    /// The secret of the pool.
    pub secret: String,
    /// What all of them log.
    pub log: String,
    /// What tests change about the platform.
    pub test_options: TestOptions,
}

impl Plan {
    /// What the user should know about the plan before it is carried out.
    pub fn warning(&self) -> Option<String> {
        let Self {
            nodes,
            data,
            parity,
            ..
        } = self;
        let width = data + parity;
        (*nodes < width).then(|| {
            let narrow = nodes - parity;
            format!(
                "{nodes} nodes hold no stripe of {data}+{parity}, which needs {width}: \
                 values will be coded {narrow}+{parity} at most"
            )
        })
    }

    /// The address at which the admin pages answer on this machine.
    pub fn reachable_admin(&self) -> SocketAddr {
        reachable(self.admin)
    }

    /// The activator and its nodes.
    pub(super) fn activator(&self) -> Result<activator::ActivatorConfig> {
        let timing = ProcessTimings {
            idle_window: self.idle_window,
            start: self.test_options.start_timeout,
            term_delay: self.test_options.term_delay,
            grace: self.test_options.grace,
            ..ProcessTimings::default()
        };
        let drain = timing.grace.saturating_sub(DRAIN_MARGIN);
        let launcher = Launcher::subcommand("node")
            .context("cannot start nodes")?
            .without(SECRET_FILE)
            .env("INFINICACHE_NODE_MEMORY", self.memory.0)
            .env("INFINICACHE_LISTEN_ADDRESS", "127.0.0.1")
            .env("INFINICACHE_DRAIN", format!("{}ms", drain.as_millis()))
            .env("INFINICACHE_SECRET", &self.secret)
            .env("INFINICACHE_LOG", &self.log);
        Ok(activator::ActivatorConfig {
            names: self.names().collect(),
            launcher,
            timing,
            faults: self.test_options.faults,
        })
    }

    /// The proxy of the nodes behind `activator`.
    pub(super) fn proxy(&self, activator: SocketAddr) -> Result<Launcher> {
        let mut launcher = Launcher::subcommand("proxy")
            .context("cannot start the proxy")?
            .without(SECRET_FILE)
            .without("INFINICACHE_ADVERTISE")
            .env("INFINICACHE_LISTEN", self.redis)
            .env(
                "INFINICACHE_NODE_LISTEN",
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.test_options.node_port)),
            )
            .env("INFINICACHE_ADMIN_LISTEN", self.admin)
            .env("INFINICACHE_NODES", self.urls(activator))
            .env("INFINICACHE_DATA", self.data)
            .env("INFINICACHE_PARITY", self.parity)
            .env("INFINICACHE_NODE_MEMORY", self.memory.0)
            .env("INFINICACHE_BUFFER_BYTES", self.buffer_bytes.0)
            .env(
                "INFINICACHE_NODE_IDLE_WINDOW",
                format!("{}ms", self.idle_window.as_millis()),
            )
            .env("INFINICACHE_SECRET", &self.secret)
            .env("INFINICACHE_LOG", &self.log);
        if let Some(most) = self.max_object_bytes {
            launcher = launcher.env("INFINICACHE_MAX_OBJECT_BYTES", most.0);
        }
        if let Some(advertise) = &self.test_options.advertise {
            launcher = launcher.env("INFINICACHE_ADVERTISE", advertise);
        }
        Ok(launcher)
    }

    fn names(&self) -> impl Iterator<Item = String> {
        (0..self.nodes).map(|number| format!("node-{number}"))
    }

    fn urls(&self, activator: SocketAddr) -> String {
        self.names()
            .map(|name| format!("{name}=http://{activator}/{name}"))
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// Where a listener on `address` answers on this machine.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// A random secret: 256 bits, in hexadecimal.
///
/// # Errors
///
/// If the system has no randomness.
pub fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("no randomness for a secret")?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    }))
}

#[cfg(test)]
mod tests {
    use infinicache_daemon::parse_duration;

    use super::*;

    fn plan() -> Plan {
        Plan {
            nodes: 3,
            data: 2,
            parity: 1,
            memory: ByteSize(1 << 20),
            idle_window: Duration::from_millis(1500),
            redis: "0.0.0.0:6378".parse().unwrap(),
            admin: "0.0.0.0:6380".parse().unwrap(),
            max_object_bytes: None,
            buffer_bytes: ByteSize(1 << 30),
            secret: random_secret().unwrap(),
            log: "info".into(),
            test_options: TestOptions::default(),
        }
    }

    fn variable(launcher: &Launcher, name: &str) -> Option<String> {
        let (_, value) = launcher.env.iter().find(|(known, _)| known == name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_proxy_is_told_where_each_node_is_woken() {
        let proxy = plan().proxy("127.0.0.1:99".parse().unwrap()).unwrap();
        assert_eq!(
            variable(&proxy, "INFINICACHE_NODES").unwrap(),
            "node-0=http://127.0.0.1:99/node-0,node-1=http://127.0.0.1:99/node-1,node-2=http://127.0.0.1:99/node-2"
        );
        assert_eq!(
            variable(&proxy, "INFINICACHE_NODE_IDLE_WINDOW").unwrap(),
            "1500ms"
        );
        assert_eq!(variable(&proxy, "INFINICACHE_MAX_OBJECT_BYTES"), None);
        assert_eq!(variable(&proxy, "INFINICACHE_LOG").unwrap(), "info");
    }

    #[test]
    fn nodes_and_proxy_share_the_secret_and_a_node_has_time_to_drain_within_its_grace() {
        let plan = plan();
        let activator = plan.activator().unwrap();
        let secret = "INFINICACHE_SECRET";
        assert_eq!(variable(&activator.launcher, secret), Some(plan.secret));
        let drain = variable(&activator.launcher, "INFINICACHE_DRAIN").unwrap();
        assert!(parse_duration(&drain).unwrap() < activator.timing.grace);
        assert_eq!(activator.names, ["node-0", "node-1", "node-2"]);
    }

    #[test]
    fn nodes_dial_the_port_of_the_proxy_unless_a_test_says_otherwise() {
        let activator = "127.0.0.1:99".parse().unwrap();
        let proxy = plan().proxy(activator).unwrap();
        let listen = variable(&proxy, "INFINICACHE_NODE_LISTEN").unwrap();
        assert_eq!(listen, "127.0.0.1:0");
        assert_eq!(variable(&proxy, "INFINICACHE_ADVERTISE"), None);

        let mut plan = plan();
        plan.test_options.node_port = 7;
        plan.test_options.advertise = Some("between:8".into());
        let proxy = plan.proxy(activator).unwrap();
        let listen = variable(&proxy, "INFINICACHE_NODE_LISTEN").unwrap();
        assert_eq!(listen, "127.0.0.1:7");
        assert_eq!(
            variable(&proxy, "INFINICACHE_ADVERTISE").unwrap(),
            "between:8"
        );
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_the_loopback() {
        assert_eq!(plan().reachable_admin().to_string(), "127.0.0.1:6380");
        let one = "10.0.0.1:80".parse().unwrap();
        assert_eq!(reachable(one), one);
    }
}

//! `infinicache up`: a whole cache on this machine.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Args, builder::TypedValueParser};
use infinicache_client::Code;
use infinicache_daemon::{ByteSize, parse_duration};
use infinicache_wire::Secret;
use tokio::runtime::Builder;

use crate::{
    cluster::{self, Plan, TestOptions},
    exit, launcher, leash,
};

/// Smallest memory of a node that is worth a process.
const MIN_MEMORY: ByteSize = ByteSize(1 << 20);

/// Most nodes of one machine; each is a process.
const MAX_NODES: usize = 512;

// Not `Debug`: it holds the secret.
#[derive(Args)]
pub struct Up {
    /// How many nodes
    #[arg(long, env = "INFINICACHE_NODE_COUNT", default_value_t = 14)]
    nodes: usize,

    /// Into how many data chunks a large value is cut
    #[arg(
        long,
        env = "INFINICACHE_DATA",
        default_value = "10",
        value_parser = clap::value_parser!(u8).range(1..).map(usize::from)
    )]
    data: usize,

    /// How many parity chunks are added: so many nodes can be lost at once
    #[arg(
        long,
        env = "INFINICACHE_PARITY",
        default_value = "2",
        value_parser = clap::value_parser!(u8).range(..255).map(usize::from)
    )]
    parity: usize,

    /// Memory of a node
    #[arg(
        long,
        env = "INFINICACHE_NODE_MEMORY",
        default_value = "256MiB",
        value_name = "SIZE"
    )]
    memory: ByteSize,

    /// How long a node without requests is kept; the proxy keeps those that hold data
    #[arg(
        long,
        env = "INFINICACHE_NODE_IDLE_WINDOW",
        default_value = "60s",
        value_name = "TIME",
        value_parser = parse_duration
    )]
    idle_window: Duration,

    /// Port for Redis clients
    #[arg(long, env = "INFINICACHE_PORT", default_value_t = 6378, value_parser = port())]
    port: u16,

    /// Port for metrics and health
    #[arg(long, env = "INFINICACHE_ADMIN_PORT", default_value_t = 6380, value_parser = port())]
    admin_port: u16,

    /// Address of both; there is no authentication
    #[arg(
        long,
        env = "INFINICACHE_BIND",
        default_value = "127.0.0.1",
        value_name = "ADDRESS"
    )]
    bind: IpAddr,

    /// Largest value that is accepted
    #[arg(long, env = "INFINICACHE_MAX_OBJECT_BYTES", value_name = "SIZE")]
    max_object_bytes: Option<ByteSize>,

    /// Memory of the proxy for values that pass through it
    #[arg(
        long,
        env = "INFINICACHE_BUFFER_BYTES",
        default_value = "512MiB",
        value_name = "SIZE"
    )]
    buffer_bytes: ByteSize,

    /// Shared by the proxy, the nodes and direct clients; random if not given
    #[arg(long, env = "INFINICACHE_SECRET", hide_env_values = true)]
    secret: Option<String>,

    #[command(flatten)]
    test_options: TestOptions,
}

/// Any port but 0, which would be another after each restart.
fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

impl Up {
    pub fn run(self, log: String) -> Result<()> {
        leash::put_on()?;
        launcher::take_name();
        let plan = self.plan(log)?;
        if let Some(warning) = plan.warning() {
            exit::say(warning);
        }
        // One thread, the main one: children die with the thread that started them.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(cluster::run(plan))
    }

    fn plan(self, log: String) -> Result<Plan> {
        let Self {
            nodes,
            data,
            parity,
            ..
        } = self;
        Code::new(data, parity)
            .with_context(|| format!("--data {data} and --parity {parity} are no code"))?;
        ensure!(
            nodes > parity,
            "--nodes is {nodes}, at least {} needed for --parity {parity}",
            parity + 1
        );
        ensure!(
            nodes <= MAX_NODES,
            "--nodes is {nodes}, at most {MAX_NODES} possible"
        );
        ensure!(
            self.memory >= MIN_MEMORY,
            "--memory is {}, at least {MIN_MEMORY} needed",
            self.memory
        );
        ensure!(
            !self.idle_window.is_zero(),
            "--idle-window is 0, some time needed"
        );
        ensure!(
            self.port != self.admin_port,
            "--port and --admin-port are both {}",
            self.port
        );
        let secret = match self.secret {
            Some(secret) => secret,
            None => cluster::random_secret()?,
        };
        Secret::new(secret.as_bytes()).context("unusable INFINICACHE_SECRET")?;
        Ok(Plan {
            nodes,
            data,
            parity,
            memory: self.memory,
            idle_window: self.idle_window,
            redis: (self.bind, self.port).into(),
            admin: (self.bind, self.admin_port).into(),
            max_object_bytes: self.max_object_bytes,
            buffer_bytes: self.buffer_bytes,
            secret,
            log,
            test_options: self.test_options,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Up,
    }

    fn plan(line: &str) -> Result<Plan> {
        Line::try_parse_from(std::iter::once("up").chain(line.split_whitespace()))?
            .up
            .plan("warn".into())
    }

    fn refusal(line: &str) -> String {
        plan(line).map(drop).expect_err(line).to_string()
    }

    #[test]
    fn the_defaults_are_a_plan_without_a_warning() {
        let plan = plan("").unwrap();
        assert_eq!((plan.nodes, plan.data, plan.parity), (14, 10, 2));
        assert_eq!(plan.redis.to_string(), "127.0.0.1:6378");
        assert_eq!(plan.memory, ByteSize(256 << 20));
        assert_eq!(plan.warning(), None);
    }

    #[test]
    fn a_test_can_have_the_platform_of_its_wishes_and_a_user_is_not_shown_it() {
        let test_options = plan("--term-delay 30s --grace 5s --faults")
            .unwrap()
            .test_options;
        assert_eq!(test_options.term_delay, Duration::from_secs(30));
        assert_eq!(test_options.grace, Duration::from_secs(5));
        assert!(test_options.faults && !plan("").unwrap().test_options.faults);
        let help = <Line as clap::CommandFactory>::command().render_long_help();
        for hidden in ["--term-delay", "--faults", "--advertise", "--node-port"] {
            assert!(!help.to_string().contains(hidden), "{hidden}");
        }
    }

    #[test]
    fn two_plans_have_different_secrets() {
        assert_ne!(plan("").unwrap().secret, plan("").unwrap().secret);
    }

    #[test]
    fn fewer_nodes_than_a_stripe_needs_is_a_warning() {
        let plan = plan("--nodes 8").unwrap();
        assert!(plan.warning().unwrap().contains("6+2"));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_numbers() {
        assert!(refusal("--nodes 2").contains("at least 3 needed"));
        let too_large = "18446744073709551615";
        for data in ["0", "256"] {
            assert!(refusal(&format!("--data {data}")).contains("is not in 1..=255"));
        }
        for parity in ["255", "256"] {
            assert!(refusal(&format!("--parity {parity}")).contains("is not in 0..255"));
        }
        for option in ["--data", "--parity"] {
            let said = refusal(&format!("{option} {too_large}"));
            assert!(
                said.contains("too large") && said.contains(option),
                "{said}"
            );
        }
        for code in [
            "--data 250 --parity 10",
            "--data 254 --parity 2",
            "--data 1 --parity 254 ",
        ] {
            assert_eq!(
                plan(&format!("{code} --nodes 300")).is_ok(),
                code.ends_with(' ')
            );
        }
        let said = format!("{:#}", plan("--data 254 --parity 2").map(drop).unwrap_err());
        assert!(said.contains("254") && said.contains("255"), "{said}");
        assert!(refusal("--nodes 1000").contains("at most 512"));
        assert!(refusal("--memory 1KiB").contains("at least 1MiB"));
        assert!(refusal("--memory lots").contains("a whole number is expected first"));
        assert!(refusal("--idle-window 0").contains("idle-window"));
        assert!(refusal("--port 6380").contains("both 6380"));
        assert!(refusal("--secret short").contains("INFINICACHE_SECRET"));
        assert!(refusal("--port 0").contains("0 is not in 1..=65535"));
    }
}

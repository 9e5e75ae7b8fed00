//! What `up` prints when the cache is ready.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::plan::{Plan, reachable};
use crate::exit;

/// Where the other commands look for a cache that they are not told of.
const DEFAULT_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6378);

/// Prints it to standard output.
///
/// # Errors
///
/// As of [`exit::unwritten`].
pub(super) fn print(plan: &Plan, activator: SocketAddr) -> Result<()> {
    exit::print(&text(plan, activator))
}

fn text(plan: &Plan, activator: SocketAddr) -> String {
    let Plan {
        nodes,
        data,
        parity,
        memory,
        ..
    } = plan;
    let redis = reachable(plan.redis);
    let admin = reachable(plan.admin);
    let (host, port) = (redis.ip(), redis.port());
    let server = match redis == DEFAULT_SERVER {
        true => String::new(),
        false => format!(" --server {redis}"),
    };
    format!(
        "infinicache is ready at {redis}: {nodes} nodes of {memory}, code {data}+{parity}\n\
         \n\
         \x20   redis-cli -h {host} -p {port} SET greeting hello\n\
         \x20   redis-cli -h {host} -p {port} GET greeting\n\
         \x20   infinicache put backup ./backup.tar{server}\n\
         \x20   infinicache get backup -o ./copy.tar{server}\n\
         \n\
         metrics   http://{admin}/metrics\n\
         nodes     http://{activator}/\n\
         \n\
         Ctrl-C stops everything.\n"
    )
}

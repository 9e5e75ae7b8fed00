//! What `up` prints when the cache is ready.

use std::net::SocketAddr;

use super::plan::{Plan, reachable};

pub(super) fn print(plan: &Plan, front: SocketAddr) {
    print!("{}", text(plan, front));
}

fn text(plan: &Plan, front: SocketAddr) -> String {
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
    format!(
        "infinicache is ready at {redis}: {nodes} nodes of {memory}, code {data}+{parity}\n\
         \n\
         \x20   redis-cli -h {host} -p {port} SET greeting hello\n\
         \x20   redis-cli -h {host} -p {port} GET greeting\n\
         \x20   infinicache put backup ./backup.tar\n\
         \x20   infinicache get backup ./copy.tar\n\
         \n\
         metrics   http://{admin}/metrics\n\
         nodes     http://{front}/\n\
         \n\
         Ctrl-C stops everything.\n"
    )
}

//! How many clients may be connected, by how many files the system lets the process have open.
//!
//! Each connection is one. Nodes have to get in and probes have to be answered however many
//! clients there are, so a part is kept for them and for the process itself.

use tracing::warn;

use crate::config::Config;

/// Files that are kept besides those of clients: for handshakes of nodes, the admin port, the
/// Kubernetes API, wakes of nodes that are found later, threads and what they wait with.
const KEPT: u64 = 1024;

/// Files for each node that is known beforehand: its link, that of its predecessor, and a wake.
const KEPT_FOR_NODE: u64 = 3;

/// How many clients may be connected, if so many files may be open: as many as are configured, or
/// fewer, which is said.
pub(crate) fn affordable(config: &Config, open_files: u64) -> usize {
    let wanted = config.max_connections;
    let affordable = wanted.min(at_most(config.nodes.len(), open_files));
    if affordable < wanted {
        warn!(
            wanted,
            max_connections = affordable,
            open_files,
            "the limit of open files allows fewer clients than are configured"
        );
    }
    affordable
}

/// What is left to clients: at least half, so that a low limit does not shut them out.
fn at_most(nodes: usize, open_files: u64) -> usize {
    let kept = KEPT + KEPT_FOR_NODE * nodes as u64;
    let left = open_files - kept.min(open_files / 2);
    usize::try_from(left).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_for_nodes_and_probes_whatever_the_limit() {
        for (nodes, open_files, clients) in [
            (0, 0, 0),
            (0, 1, 1),
            (14, 256, 128),
            (14, 1024, 512),
            (0, 4096, 3072),
            (100, 4096, 2772),
            (14, 20_000, 18_934),
            (0, u64::MAX, usize::MAX - 1024),
        ] {
            assert_eq!(at_most(nodes, open_files), clients, "{nodes} {open_files}");
        }
    }
}

//! The node processes of a cache, and what can happen to them.

use std::net::SocketAddr;

use rustix::process::Signal;

use super::{Cluster, until};
use crate::processes::kill;

/// A node, as the activator knows it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// How many processes have been started for it.
    pub(crate) started: u64,
    /// Those that have not exited, oldest first.
    pub(crate) pids: Vec<u64>,
    /// Where the youngest of them takes wakes.
    pub(crate) address: Option<SocketAddr>,
    /// Whether the youngest of them takes requests.
    pub(crate) serves: bool,
}

impl Cluster {
    /// All nodes.
    pub(crate) async fn nodes(&self) -> Vec<Node> {
        let told = self.told("/").await;
        let nodes = told["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| Node {
                name: node["name"].as_str().unwrap().to_owned(),
                started: node["started"].as_u64().unwrap(),
                pids: node["processes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|process| process["pid"].as_u64())
                    .collect(),
                address: node["processes"]
                    .as_array()
                    .unwrap()
                    .last()
                    .and_then(|process| {
                        let address = process["address"].as_str()?;
                        address.parse().ok()
                    }),
                serves: node["state"] == "serving",
            })
            .collect()
    }

    /// The nodes that have a process that takes requests.
    pub(crate) async fn awake(&self) -> Vec<Node> {
        let mut nodes = self.nodes().await;
        nodes.retain(|node| node.serves);
        nodes
    }

    /// A node by its name.
    pub(crate) async fn node(&self, name: &str) -> Node {
        let nodes = self.nodes().await;
        nodes.into_iter().find(|node| node.name == name).unwrap()
    }

    /// Waits until the nodes of these names have processes other than these.
    pub(crate) async fn until_woken_again(&self, killed: &[Node]) {
        for node in killed {
            until("a killed node is woken again", async || {
                let now = self.node(&node.name).await;
                let is_another = now.started > node.started && now.pids.last() != node.pids.last();
                (now.serves && is_another).then_some(())
            })
            .await;
        }
    }

    /// Waits until these processes are gone, and others of the same names take requests.
    pub(crate) async fn until_left(&self, nodes: &[Node]) {
        for node in nodes {
            until("a replaced process is gone", async || {
                let now = self.node(&node.name).await;
                let is_left = node.pids.iter().all(|pid| !now.pids.contains(pid));
                (is_left && now.serves).then_some(())
            })
            .await;
        }
    }
}

impl Node {
    /// Ends all its processes, without a word of farewell.
    pub(crate) fn kill(&self) {
        self.pids.iter().for_each(|pid| kill(*pid, Signal::KILL));
    }

    /// Tells all its processes to go.
    pub(crate) fn terminate(&self) {
        self.pids.iter().for_each(|pid| kill(*pid, Signal::TERM));
    }

    /// Stops its processes where they are.
    pub(crate) fn freeze(&self) {
        self.pids.iter().for_each(|pid| kill(*pid, Signal::STOP));
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.pids.iter().for_each(|pid| kill(*pid, Signal::CONT));
    }
}

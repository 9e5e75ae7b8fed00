//! `infinicache pool`: the nodes, and how full they are.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use infinicache_client::{Client, Error};
use infinicache_wire::control::{NodeState, NodeStatus, PoolStatus};
use serde_json::{Value, json};

use crate::{
    connect::Servers,
    exit, human,
    table::{
        Side::{Left, Right},
        table,
    },
};

const EXAMPLES: &str = "  \
  infinicache pool
  infinicache pool --server cache-0:6378,cache-1:6378
  infinicache pool --json | jq '.[].nodes[].state'";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Pool {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    servers: Servers,
}

/// What each proxy says, or why it says nothing.
type Pools = [(String, Result<PoolStatus, Error>)];

impl Pool {
    pub fn run(self) -> Result<()> {
        let pool = async |client: &Client| {
            let pools = client.pools().await;
            exit::print(&if self.json {
                json(&pools)
            } else {
                text(&pools)
            })?;
            pools.into_iter().try_for_each(|(_, view)| view.map(drop))?;
            Ok(())
        };
        let what = || format!("cannot look at all pools of {}", self.servers);
        self.servers.run(pool).with_context(what)
    }
}

fn json(pools: &Pools) -> String {
    let pool = |(server, view): &(String, Result<PoolStatus, Error>)| match view {
        Err(error) => json!({ "server": server, "error": error.to_string() }),
        Ok(view) => {
            let mut document = json!(view);
            document["server"] = json!(server);
            document
        }
    };
    let document: Value = pools.iter().map(pool).collect();
    format!("{document:#}\n")
}

fn text(pools: &Pools) -> String {
    let mut text = String::new();
    for (index, (server, view)) in pools.iter().enumerate() {
        let gap = if index > 0 { "\n" } else { "" };
        let pool = match view {
            Ok(view) => format!(
                "{server}, code {}+{}\n\n{}",
                view.data,
                view.parity,
                nodes(view)
            ),
            Err(error) => format!("{server}: {error}\n"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{gap}{pool}");
    }
    text
}

fn nodes(view: &PoolStatus) -> String {
    let row = |node: &NodeStatus| {
        // A name without a process has no memory either.
        let of_process = |cell: String| if node.capacity > 0 { cell } else { "-".into() };
        [
            node.name.clone(),
            state(node),
            node.instance
                .map_or("-".into(), |instance| instance.to_string()),
            of_process(human::bytes(node.used)),
            of_process(human::bytes(node.capacity)),
            of_process(human::percent(node.used, node.capacity)),
            of_process(node.chunks.to_string()),
            heard(node),
        ]
    };
    let columns = [
        ("node", Left),
        ("state", Left),
        ("instance", Left),
        ("used", Right),
        ("capacity", Right),
        ("fill", Right),
        ("chunks", Right),
        ("heard", Right),
    ];
    let rows: Vec<_> = view.nodes.iter().map(row).collect();
    format!("{}\n{}\n", table(columns, &rows), summary(view))
}

/// `active, slow, resting`, `lost, wake refused`.
fn state(node: &NodeStatus) -> String {
    let mut state = format!("{}{}", node.state.as_str(), human::slow(node.slow));
    if node.resting {
        state += ", resting";
    }
    if let Some(failure) = node.wake_failure {
        state += ", wake ";
        state += &failure.as_str().replace('_', " ");
    }
    state
}

fn heard(node: &NodeStatus) -> String {
    let ago = |millis| format!("{} ago", human::time(Duration::from_millis(millis)));
    node.heard_ms.map_or("-".into(), ago)
}

/// `14 nodes: 12 active, 2 asleep; 1.20 GiB of 3.00 GiB used (40%), 24 chunks`.
fn summary(view: &PoolStatus) -> String {
    const STATES: [NodeState; 5] = [
        NodeState::Active,
        NodeState::Waking,
        NodeState::Draining,
        NodeState::Asleep,
        NodeState::Lost,
    ];
    let count = |state: NodeState| {
        let count = view.nodes.iter().filter(|node| node.state == state).count();
        (count > 0).then(|| format!("{count} {}", state.as_str()))
    };
    let states: Vec<String> = STATES.into_iter().filter_map(count).collect();
    let sum = |of: fn(&NodeStatus) -> u64| view.nodes.iter().map(of).sum::<u64>();
    let (used, capacity) = (sum(|node| node.used), sum(|node| node.capacity));
    format!(
        "{} nodes: {}; {} of {} used ({}), {} chunks",
        view.nodes.len(),
        states.join(", "),
        human::bytes(used),
        human::bytes(capacity),
        human::percent(used, capacity),
        sum(|node| node.chunks),
    )
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{InstanceId, MemberId, control::WakeFailure};

    use super::*;

    fn node(number: u32, state: NodeState) -> NodeStatus {
        let is_up = state == NodeState::Active;
        NodeStatus {
            name: format!("node-{number}"),
            state,
            member: is_up.then_some(MemberId(number)),
            instance: is_up.then_some(InstanceId(number.into())),
            host: String::new(),
            zone: String::new(),
            capacity: if is_up { 256 << 20 } else { 0 },
            used: if is_up { 64 << 20 } else { 0 },
            chunks: if is_up { 3 } else { 0 },
            heard_ms: is_up.then_some(120),
            slow: number == 1,
            resting: is_up && number == 0,
            wake_failure: (state == NodeState::Lost).then_some(WakeFailure::NeverDialled),
        }
    }

    fn pools() -> Vec<(String, Result<PoolStatus, Error>)> {
        let nodes = vec![
            node(0, NodeState::Active),
            node(1, NodeState::Active),
            node(2, NodeState::Asleep),
            node(3, NodeState::Lost),
        ];
        let view = PoolStatus {
            epoch: 1,
            data: 2,
            parity: 1,
            max_object_bytes: 1 << 30,
            nodes,
        };
        vec![
            ("a:1".into(), Ok(view)),
            ("b:2".into(), Err(Error::Unreachable("b:2: gone".into()))),
        ]
    }

    #[test]
    fn the_text_has_a_table_for_each_proxy_and_its_sum() {
        let expected = "\
a:1, code 2+1

node    state                     instance              used    capacity  fill  chunks      heard
node-0  active, resting           0000000000000000  64.00 MiB  256.00 MiB   25%       3  120ms ago
node-1  active, slow              0000000000000001  64.00 MiB  256.00 MiB   25%       3  120ms ago
node-2  asleep                    -                         -           -     -       -          -
node-3  lost, wake never dialled  -                         -           -     -       -          -

4 nodes: 2 active, 1 asleep, 1 lost; 128.00 MiB of 512.00 MiB used (25%), 6 chunks

b:2: unreachable: b:2: gone
";
        let squeeze = |text: &str| {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect::<Vec<_>>()
        };
        assert_eq!(squeeze(&text(&pools())), squeeze(expected));
    }

    #[test]
    fn the_json_is_a_list_of_pools() {
        let document: Value = serde_json::from_str(&json(&pools())).unwrap();
        assert_eq!(document[0]["server"], "a:1");
        assert_eq!(document[0]["nodes"][2]["state"], "asleep");
        assert_eq!(document[0]["nodes"][1]["used"], 64 << 20);
        assert_eq!(document[1]["error"], "unreachable: b:2: gone");
    }
}

//! `infinicache stat`: what is known of a value, and where its chunks are.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use infinicache_client::{ChunkStat, Client, Stat as Value};
use infinicache_wire::{InstanceId, control::PoolStatus};
use serde_json::json;

use crate::{
    connect::{Key, Servers},
    exit, human,
    table::{
        Side::{Left, Right},
        table,
    },
};

const EXAMPLES: &str = "  \
  infinicache stat backup
  infinicache stat backup --json | jq .size";

#[derive(Args)]
#[command(after_help = exit::help(EXAMPLES))]
pub struct Stat {
    /// The key
    key: Key,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    servers: Servers,
}

impl Stat {
    pub fn run(self) -> Result<()> {
        let stat = async |client: &Client| {
            let value = client.stat(&self.key).await?;
            let pools = client.pools().await;
            let views: Vec<PoolStatus> = pools
                .into_iter()
                .filter_map(|(_, view)| view.ok())
                .collect();
            exit::print(&match self.json {
                true => json(&self.key, &value, &views),
                false => text(&self.key, &value, &views, SystemTime::now()),
            })
        };
        let what = || format!("cannot look at {} at {}", self.key, self.servers);
        self.servers.run(stat).with_context(what)
    }
}

/// How much of its chunks a value has left, in one word.
fn health(value: &Value) -> &'static str {
    match value.chunks_held() {
        held if held == value.chunks.len() => "whole",
        held if held >= value.code.data() => "degraded",
        _ => "lost",
    }
}

fn role(chunk: &ChunkStat) -> &'static str {
    if chunk.is_parity { "parity" } else { "data" }
}

/// The instance that holds a chunk, if exactly one node of the pools can be meant.
fn instance(chunk: &ChunkStat, views: &[PoolStatus]) -> Option<InstanceId> {
    let nodes = views.iter().flat_map(|view| &view.nodes);
    let mut meant = nodes.filter(|node| {
        node.member.is_some()
            && node.member == chunk.member
            && Some(&node.name) == chunk.node.as_ref()
    });
    let node = meant.next()?;
    node.instance.filter(|_| meant.next().is_none())
}

fn text(key: &Key, value: &Value, views: &[PoolStatus], now: SystemTime) -> String {
    let Value {
        size,
        code,
        version,
        chunks,
        ..
    } = value;
    let (held, width, data) = (value.chunks_held(), chunks.len(), code.data());
    let state = |chunk: &ChunkStat| match (chunk.member, chunk.state) {
        (None, _) => "lost".into(),
        (_, None) => "unknown".into(),
        (_, Some(state)) => format!("{}{}", state.as_str(), human::slow(chunk.is_slow)),
    };
    let row = |chunk: &ChunkStat| {
        [
            chunk.index.to_string(),
            role(chunk).into(),
            human::bytes(chunk.bytes),
            chunk.node.clone().unwrap_or_else(|| "-".into()),
            instance(chunk, views).map_or("-".into(), |instance| instance.to_string()),
            state(chunk),
        ]
    };
    let columns = [
        ("chunk", Right),
        ("role", Left),
        ("size", Right),
        ("node", Left),
        ("instance", Left),
        ("state", Left),
    ];
    let rows: Vec<_> = chunks.iter().map(row).collect();
    format!(
        "key      {key}\n\
         size     {size} bytes ({human})\n\
         code     {code}\n\
         version  {version}\n\
         expires  {expires}\n\
         health   {health}: {held} of {width} chunks held, {data} needed\n\
         \n\
         {table}",
        human = human::bytes(*size),
        expires = human::expiry(value.expires_at, now),
        health = health(value),
        table = table(columns, &rows),
    )
}

fn json(key: &Key, value: &Value, views: &[PoolStatus]) -> String {
    let chunk = |chunk: &ChunkStat| {
        json!({
            "index": chunk.index,
            "role": role(chunk),
            "bytes": chunk.bytes,
            "node": chunk.node,
            "instance": instance(chunk, views),
            "state": chunk.state,
            "slow": chunk.is_slow,
        })
    };
    let millis = |at: SystemTime| {
        at.duration_since(UNIX_EPOCH)
            .map_or(0, |at| at.as_millis() as u64)
    };
    let document = json!({
        "key": key.to_text(),
        "size": value.size,
        "data": value.code.data(),
        "parity": value.code.parity(),
        "version": value.version,
        "expires_at": value.expires_at.map(millis),
        "health": health(value),
        "chunks": value.chunks.iter().map(chunk).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, time::Duration};

    use infinicache_client::{Code, Version};
    use infinicache_wire::{
        MemberId, WriteId,
        control::{NodeState, NodeStatus},
    };

    use super::*;

    fn value(held: &[bool]) -> Value {
        let chunk = |(index, held): (usize, &bool)| ChunkStat {
            index,
            is_parity: index == 2,
            bytes: 1 << 20,
            member: held.then_some(MemberId(index as u32)),
            node: held.then(|| format!("node-{index}")),
            state: held.then_some(NodeState::Active),
            is_slow: index == 1,
        };
        Value {
            size: 2 << 20,
            code: Code::new(2, 1).unwrap(),
            version: Version {
                epoch: 10,
                counter: 11,
            },
            write: WriteId {
                epoch: 10,
                sequence: 12,
            },
            expires_at: Some(UNIX_EPOCH + Duration::from_secs(60)),
            chunks: held.iter().enumerate().map(chunk).collect(),
        }
    }

    fn view() -> PoolStatus {
        let node = |number: u32| NodeStatus {
            name: format!("node-{number}"),
            state: NodeState::Active,
            member: Some(MemberId(number)),
            instance: Some(InstanceId(number.into())),
            host: String::new(),
            zone: String::new(),
            capacity: 100,
            used: 0,
            chunks: 0,
            heard_ms: None,
            slow: false,
            resting: false,
            wake_failure: None,
        };
        let nodes = (0..3).map(node).collect();
        PoolStatus {
            epoch: 10,
            data: 2,
            parity: 1,
            max_object_bytes: 1,
            nodes,
        }
    }

    fn key() -> Key {
        OsString::from("backup").into()
    }

    #[test]
    fn the_text_tells_where_each_chunk_is() {
        let text = text(&key(), &value(&[true, true, false]), &[view()], UNIX_EPOCH);
        let expected = "\
key      \"backup\"
size     2097152 bytes (2.00 MiB)
code     2+1
version  a-b
expires  in 1m 0s
health   degraded: 2 of 3 chunks held, 2 needed

chunk  role        size  node    instance          state
    0  data    1.00 MiB  node-0  0000000000000000  active
    1  data    1.00 MiB  node-1  0000000000000001  active, slow
    2  parity  1.00 MiB  -       -                 lost
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_json_tells_the_same() {
        let text = json(&key(), &value(&[true, true, false]), &[view()]);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["size"], 2 << 20);
        assert_eq!(document["expires_at"], 60_000);
        assert_eq!(document["health"], "degraded");
        assert_eq!(document["chunks"][1]["instance"], "0000000000000001");
        assert_eq!(document["chunks"][1]["state"], "active");
        assert_eq!(document["chunks"][2]["role"], "parity");
        assert!(document["chunks"][2]["node"].is_null());
    }

    #[test]
    fn health_is_counted_in_chunks() {
        assert_eq!(health(&value(&[true, true, true])), "whole");
        assert_eq!(health(&value(&[false, true, true])), "degraded");
        assert_eq!(health(&value(&[false, false, true])), "lost");
    }

    #[test]
    fn an_instance_is_told_only_if_it_is_certain() {
        let chunk = value(&[true]).chunks.remove(0);
        assert_eq!(instance(&chunk, &[view()]), Some(InstanceId(0)));
        assert_eq!(instance(&chunk, &[view(), view()]), None);
        assert_eq!(instance(&chunk, &[]), None);
    }
}

//! What is known of a value without reading it.

use std::time::SystemTime;

use infinicache_engine::{Error, Holders};
use infinicache_erasure::Code;
use infinicache_wire::{
    MemberId, Version, WriteId,
    control::{Located, NodeState, PoolStatus},
};

use crate::client::Client;

/// A value, as its proxy knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its length in bytes.
    pub size: u64,
    /// How it is cut: `10+2`, say.
    pub code: Code,
    /// Its version.
    pub version: Version,
    /// The write that made it: nodes know it by this.
    pub write: WriteId,
    /// When it expires by the clock of this machine, if it does.
    pub expires_at: Option<SystemTime>,
    /// Its chunks, data before parity.
    pub chunks: Vec<ChunkStat>,
}

impl Stat {
    /// How many chunks a member holds.
    pub fn chunks_held(&self) -> usize {
        self.chunks
            .iter()
            .filter(|chunk| chunk.member.is_some())
            .count()
    }
}

/// One chunk of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkStat {
    /// Which chunk.
    pub index: usize,
    /// Whether it is a parity chunk.
    pub is_parity: bool,
    /// Its length in bytes.
    pub bytes: u64,
    /// The member that holds it; none, if it is lost.
    pub member: Option<MemberId>,
    /// The name of the node that the member is.
    pub node: Option<String>,
    /// Where that node is in its life.
    pub state: Option<NodeState>,
    /// Whether it is late with its answers.
    pub is_slow: bool,
}

impl Client {
    /// What is known of the value of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is none.
    pub async fn stat(&self, key: impl AsRef<[u8]>) -> Result<Stat, Error> {
        let proxy = self.proxy(key.as_ref());
        let found = proxy.locate_only(key.as_ref()).await?.ok_or(Error::Miss)?;
        let view = proxy.fetch_status().await?;
        let expires_at = found.expires_at();
        Ok(Stat {
            expires_at,
            ..stat(&found, found.located(), &view)
        })
    }
}

fn stat(found: &impl Holders, located: &Located, view: &PoolStatus) -> Stat {
    let geometry = found.geometry();
    let chunk = |(index, member): (usize, &Option<MemberId>)| {
        let node = view
            .nodes
            .iter()
            .find(|node| member.is_some() && node.member == *member);
        ChunkStat {
            index,
            is_parity: index >= geometry.code().data(),
            bytes: geometry.chunk_len(index),
            member: *member,
            node: node.map(|node| node.name.clone()),
            state: node.map(|node| node.state),
            is_slow: node.is_some_and(|node| node.slow),
        }
    };
    Stat {
        size: located.size,
        code: geometry.code(),
        version: located.version,
        write: located.write,
        expires_at: None,
        chunks: located.members.iter().enumerate().map(chunk).collect(),
    }
}

//! The `IC.*` commands, by which a smart client and the proxy agree on where chunks are, and the
//! documents that answer them.
//!
//! Commands are Redis commands on the proxy's Redis port: the client encodes a [`ControlCommand`], the
//! proxy parses it. Their answers are the documents here, as JSON in a bulk string.
//!
//! ```text
//! IC.NODES                                        -> PoolStatus
//! IC.OPEN key size|? [member,...|-] [DIRECT] [BLIND]
//!                                                 -> Opened        a placement may be proposed
//! IC.RESERVE write bytes                          -> integer       before more than is reserved is sent:
//!                                                                  how many bytes now are
//! IC.REPLACE write index [DIRECT]                 -> Placed        when a chunk's member failed
//! IC.COMMIT write size [option ...]               -> Committed     options as of SET, but for GET
//! IC.ABORT write                                  -> OK
//! IC.LOCATE key [DIRECT]                          -> Located, or nil
//! IC.RELEASE lease                                -> OK            the read that began at LOCATE ended
//! IC.LINK                                         -> OK, then frames both ways
//! ```
//!
//! A write belongs to the connection over which it was opened, and a lease to the one over which
//! its value was located: when that ends, so do they. The other commands may come over any
//! connection. So a client keeps a connection open until its writes are committed or aborted and
//! its leases are released, though it need not use it for anything else.
//!
//! With `DIRECT`, the answer tells the routes to the members besides, and gives tokens for them.
//!
//! Times go over the wire as what is left of them: a value lives for so long
//! (`PX` of a commit) from when the proxy decides the commit, whatever the
//! clock of the client says.
//!
//! A write is `BLIND` if its commit will have no condition and keep no time to
//! live: the value that the key has may go before the new one is there.
//!
//! Refusals are Redis errors; their first word tells what to do: `OOM` there is
//! no room, `LOST` too few chunks are left, `TRYAGAIN` the pool cannot serve
//! just now, `NOWRITE` the write is unknown or was given up, `ERR` the rest.

mod command;

pub use command::{CommandError, ControlCommand, Verb};

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, MemberId, Version, WriteId};

/// A write that may begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub write: WriteId,
    /// How many data chunks to cut the value into.
    pub data: u8,
    /// How many parity chunks to add.
    pub parity: u8,
    /// Who shall hold which chunk, by index.
    pub members: Vec<MemberId>,
    /// How many bytes of value may be sent before more are reserved.
    pub reserved: u64,
    /// How to reach members directly, if that was asked for.
    #[serde(rename = "ways", default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// Who shall hold a chunk instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The member.
    pub member: MemberId,
    /// How to reach it directly, if that was asked for.
    #[serde(rename = "way", default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
}

/// How a member is reached directly, and what proves that it may be: a
/// [`Token`](crate::token::Token).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The member.
    pub member: MemberId,
    /// `host:port` of its direct listener.
    pub address: String,
    /// Until when the token is good, in milliseconds since 1970 by the clocks of proxy and node.
    pub until_ms: u64,
    /// For how long that is from now on, in milliseconds.
    pub ttl_ms: u64,
    /// Its proof.
    pub proof: String,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum CommitReply {
    /// The value is now the one of its key.
    Stored {
        /// Its version.
        version: Version,
    },
    /// A condition (NX, XX) did not hold; the write is gone.
    ConditionFailed,
    /// Members did not complete these chunks. Rebuild them elsewhere and commit again.
    Incomplete {
        /// The chunks.
        chunks: Vec<u8>,
    },
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The write that made it.
    pub write: WriteId,
    /// Its version.
    pub version: Version,
    /// Its length in bytes.
    pub size: u64,
    /// How many data chunks it has.
    pub data: u8,
    /// How many parity chunks it has.
    pub parity: u8,
    /// In how many milliseconds it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The lease that keeps its bytes for the reader, if there is one: a value of one stripe is
    /// read anew if it is replaced meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Which member holds which chunk, by index; none, if it is lost.
    pub members: Vec<Option<MemberId>>,
    /// How to reach them directly, if that was asked for.
    #[serde(rename = "ways", default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// The pool as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// The run of the proxy.
    pub epoch: u64,
    /// Data chunks of a large object.
    pub data: u8,
    /// Parity chunks of an object.
    pub parity: u8,
    /// Largest value in bytes.
    pub max_object_bytes: u64,
    /// Its nodes, by name.
    pub nodes: Vec<NodeStatus>,
}

/// One node as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: NodeState,
    /// The member behind the name, if any.
    #[serde(default)]
    pub member: Option<MemberId>,
    /// The instance behind the name, if any.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Failure domain: the host.
    #[serde(default)]
    pub host: String,
    /// Failure domain: the zone.
    #[serde(default)]
    pub zone: String,
    /// Bytes it may hold.
    pub capacity: u64,
    /// Bytes that are placed on it.
    pub used: u64,
    /// Chunks that are placed on it.
    pub chunks: u64,
    /// Milliseconds since it was last heard.
    #[serde(default)]
    pub heard_ms: Option<u64>,
    /// Whether it is late with its answers, or with signs of life.
    #[serde(default)]
    pub slow: bool,
    /// Whether its session is over, so that it is woken when it is needed next.
    #[serde(default)]
    pub resting: bool,
    /// Why its last wake failed, until one succeeds.
    #[serde(default)]
    pub wake_failure: Option<WakeFailure>,
}

/// Why a wake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeFailure {
    /// There was no connection to the node's URL, or it broke.
    Unreachable,
    /// No answer came in time.
    TimedOut,
    /// The node, or a proxy before it, refused it.
    Refused,
    /// The node follows a proxy of a later epoch.
    #[serde(rename = "superseded")]
    Fenced,
    /// Another run of the proxy leads the node.
    #[serde(rename = "led")]
    OtherLeader,
    /// What was answered is not what nodes answer.
    #[serde(rename = "garbage")]
    Malformed,
    /// A node of another name answered.
    OtherNode,
    /// Another process than the member behind the name answered.
    OtherInstance,
    /// The answer did not prove the pool's secret.
    Forged,
    /// It was accepted, but no instance dialled back.
    NeverDialled,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl WakeFailure {
    /// Each that this version knows.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Refused,
        Self::Fenced,
        Self::OtherLeader,
        Self::Malformed,
        Self::OtherNode,
        Self::OtherInstance,
        Self::Forged,
        Self::NeverDialled,
    ];

    /// The failure in one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::Fenced => "fenced",
            Self::OtherLeader => "other_leader",
            Self::Malformed => "malformed",
            Self::OtherNode => "other_node",
            Self::OtherInstance => "other_instance",
            Self::Forged => "forged",
            Self::NeverDialled => "never_dialled",
            Self::Other => "other",
        }
    }
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// No process is known behind the name.
    Asleep,
    /// It was woken and has not dialled back yet.
    Waking,
    /// It is linked and takes chunks.
    Active,
    /// It is about to go and takes no chunks.
    Draining,
    /// Its process was lost; nothing it held counts any more.
    Lost,
}

impl NodeState {
    /// The state in one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Lost => "lost",
        }
    }
}

//! What travels between the pool, its nodes and its clients, as bytes and as types.
//!
//! This crate does no I/O and reads no clock: the owner of the socket feeds a [`Decoder`] and
//! drains an [`Outbox`]. It knows nothing of erasure codes, RESP or Kubernetes.
//!
//! In reading order:
//!
//! - [`id`]: the names of things: members, writes, versions, chunks;
//! - [`frame`]: the picture of a frame, and its header;
//! - [`message`]: the requests and replies that frames carry;
//! - [`decode`] and [`outbox`]: bytes to frames, frames to bytes, without copying payload;
//! - [`mod@checksum`]: what each unit is sealed with;
//! - [`mod@footprint`]: what a chunk takes of a node's memory;
//! - [`handshake`]: how a node and a pool introduce themselves;
//! - [`direct`]: how the dialling side introduces itself to a node;
//! - [`mod@copy`]: what nodes are asked to pass on to each other;
//! - [`view`]: whose chunks count; [`inventory`]: what a node tells of its chunks;
//! - [`wake`] and [`wake_answer`]: the document that wakes a node, and what it answers;
//! - [`bye`]: why a node says goodbye;
//! - [`terms`]: on which terms a write becomes a value, and how `SET` says so;
//! - [`control`]: the `IC.*` commands and the documents that answer them;
//! - [`secret`]: proofs of the pool's shared secret.
#![forbid(unsafe_code)]

pub mod bye;
pub mod checksum;
pub mod control;
pub mod copy;
pub mod decode;
pub mod direct;
pub mod footprint;
pub mod frame;
pub mod handshake;
pub mod id;
pub mod inventory;
pub mod labelled_unit;
pub mod message;
pub mod outbox;
pub mod secret;
pub mod terms;
pub mod token;
pub mod view;
pub mod wake;
pub mod wake_answer;

pub use bye::ByeReason;
pub use checksum::checksum;
pub use decode::Decoder;
pub use footprint::footprint;
pub use frame::{Frame, FrameError, Header, Kind, MAX_PAYLOAD};
pub use id::{ChunkId, InstanceId, MemberId, Version, WriteId};
pub use labelled_unit::LabelledUnit;
pub use message::{LeaseOffer, Reply, Request};
pub use outbox::Outbox;
pub use secret::Secret;
pub use terms::{Condition, Expiry, Terms};
pub use view::{MembershipView, ViewId};

/// The version of the frame protocol, of the handshake and of the wake document.
pub const PROTOCOL_VERSION: u16 = 1;

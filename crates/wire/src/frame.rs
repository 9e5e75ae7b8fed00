//! A frame: a header of fixed size, then at most one unit of payload.
//!
//! ```text
//!   0        4    5     6        8        12       16              32      36      40          48
//!   +--------+----+-----+--------+--------+--------+---------------+-------+-------+-----------+-------
//!   | length |kind|chunk| status |   id   | member |     write     | unit  | want  | checksum  | payload
//!   +--------+----+-----+--------+--------+--------+---------------+-------+-------+-----------+-------
//!      u32     u8   u8     u16      u32      u32      u64 + u64       u32     u32       u64      length bytes
//! ```
//!
//! All numbers are little-endian. `length` counts the payload alone and never
//! exceeds [`MAX_PAYLOAD`]. Every kind uses the same header, so that a reader
//! knows after 48 bytes exactly how many more belong to the frame; fields that a
//! kind does not use are zero when written and ignored when read.
//!
//! `id` is chosen by the side that asks and repeated in the answer. `member`
//! routes a frame through a relay; on a direct link it is ignored.

use bytes::Bytes;

use crate::id::{ChunkId, MemberId, WriteId};

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 48;

/// Most bytes of payload in one frame: one unit.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// An enum of which each variant travels as a byte.
macro_rules! bytes {
    ($(#[$of_enum:meta])* pub enum $name:ident { $($(#[$meta:meta])* $variant:ident = $byte:literal,)* }) => {
        $(#[$of_enum])*
        #[repr(u8)]
        pub enum $name {
            $($(#[$meta])* $variant = $byte,)*
        }

        impl $name {
            fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

bytes! {
    /// What a frame is for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Kind {
        /// Node to pool, first frame: a [`Hello`](crate::handshake::Hello) as JSON.
        Hello = 1,
        /// Pool to node, answer to it: a [`Welcome`](crate::handshake::Welcome) as JSON.
        Welcome = 2,
        /// Are you alive?
        Ping = 3,
        /// Stores one unit of a chunk.
        Put = 4,
        /// Completes a chunk.
        Finish = 5,
        /// Asks for one unit.
        Get = 6,
        /// The chunk is dead: it is not read anew. Its memory stays until [`Kind::Free`].
        Delete = 7,
        /// The memory of a chunk is needed no longer, whatever its state.
        Free = 8,
        /// Node to pool: goodbye, for the [reason](crate::bye) in the payload.
        Bye = 9,
        /// Changes when a complete chunk expires.
        Expire = 10,
        /// Asks for a page of the chunks that are complete.
        Inventory = 11,
        /// Whose chunks count from now on.
        StoreView = 12,
        /// Asks what the node remembers of earlier runs of the proxy.
        ReadState = 13,
        /// Asks the node to put a chunk on [another](crate::copy).
        Copy = 14,
        /// Opens a [direct link](crate::direct): one of three documents as JSON.
        Direct = 15,
        /// The answer to any request; `status` says which.
        Reply = 16,
        /// Client to node: what it [may do](crate::token).
        Token = 17,
        /// Stores a chunk of one unit and completes it, [in one](crate::labelled_unit).
        Store = 18,
    }
}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub length: u32,
    /// What the frame is for.
    pub kind: Kind,
    /// Index of the chunk.
    pub chunk: u8,
    /// What became of the request, in a reply.
    pub status: u16,
    /// Which request of this link.
    pub id: u32,
    /// To which member a relay shall pass the frame.
    pub member: MemberId,
    /// Which write.
    pub write: WriteId,
    /// Number of the unit; the count of units in a Finish, the label's length in a Store.
    pub unit: u32,
    /// How long the answer may be, so that a relay can set memory aside for it.
    pub want: u32,
    /// Checksum of the unit.
    pub checksum: u64,
}

/// Why bytes are no frame. The link cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind is none that this version knows.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The payload would be longer than a frame may carry.
    #[error("payload of {0} bytes exceeds the limit of {MAX_PAYLOAD}")]
    TooLong(u32),
    /// A frame came that has no place here.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
    /// A field has a value that its kind does not allow.
    #[error("malformed {0:?} frame")]
    Malformed(Kind),
}

impl Header {
    /// A header of `kind` whose other fields are zero.
    pub fn of(kind: Kind) -> Self {
        Self {
            length: 0,
            kind,
            chunk: 0,
            status: 0,
            id: 0,
            member: MemberId(0),
            write: WriteId {
                epoch: 0,
                sequence: 0,
            },
            unit: 0,
            want: 0,
            checksum: 0,
        }
    }

    /// The chunk that the frame is about.
    pub fn chunk_id(&self) -> ChunkId {
        ChunkId {
            write: self.write,
            index: self.chunk,
        }
    }

    /// The header as it travels.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.chunk;
        bytes[6..8].copy_from_slice(&self.status.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.id.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.member.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.write.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.write.sequence.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.unit.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.want.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`FrameError::UnknownKind`] or [`FrameError::TooLong`]; nothing has been allocated then.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

        let length = u32_at(0);
        let kind = Kind::from_byte(bytes[4]).ok_or(FrameError::UnknownKind(bytes[4]))?;
        if length as usize > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        Ok(Self {
            length,
            kind,
            chunk: bytes[5],
            status: u16::from_le_bytes([bytes[6], bytes[7]]),
            id: u32_at(8),
            member: MemberId(u32_at(12)),
            write: WriteId {
                epoch: u64_at(16),
                sequence: u64_at(24),
            },
            unit: u32_at(32),
            want: u32_at(36),
            checksum: u64_at(40),
        })
    }
}

/// A header and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The fixed part; `length` is that of `payload`.
    pub header: Header,
    /// The bytes that follow it.
    pub payload: Bytes,
}

impl Frame {
    /// Joins a header and a payload.
    ///
    /// # Panics
    ///
    /// If the payload is longer than [`MAX_PAYLOAD`].
    pub fn new(mut header: Header, payload: Bytes) -> Self {
        assert!(
            payload.len() <= MAX_PAYLOAD,
            "payload of {} bytes",
            payload.len()
        );
        header.length = payload.len() as u32;
        Self { header, payload }
    }
}

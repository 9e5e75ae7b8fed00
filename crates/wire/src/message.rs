//! The requests and replies that frames carry.
//!
//! | request | asks the node to | replies |
//! | --- | --- | --- |
//! | [`Ping`](Request::Ping) | show that it is alive | `Done` with a [`NodeReport`] |
//! | [`Put`](Request::Put) | keep one unit of a pending chunk | `Done`, `Full`, `Conflict` |
//! | [`Finish`](Request::Finish) | make a chunk complete | `Done`, `Incomplete`, `Full` |
//! | [`Store`](Request::Store) | keep a chunk of one unit, and make it complete | `Done`, `Full`, `Conflict` |
//! | [`Get`](Request::Get) | give one unit back | `Done` with the unit, `NotFound` |
//! | [`Delete`](Request::Delete) | hold a chunk for dead | `Done` |
//! | [`Free`](Request::Free) | let go of a chunk's memory | `Done` |
//! | [`Expire`](Request::Expire) | change when a complete chunk expires | `Done`, `NotFound` |
//! | [`Inventory`](Request::Inventory) | tell of its complete chunks | `Done` with a [page](crate::inventory) |
//! | [`Recall`](Request::ReadState) | tell what it remembers of earlier runs of the proxy | `Done` with a [`PromiseInfo`](crate::view::PromiseInfo) |
//! | [`Copy`](Request::Copy) | put a complete chunk on another node | `Done` when that holds every unit, `NotFound`, or why not: `Full`, `Conflict`, `Unreachable`, `Late` |
//! | [`MembershipView`](Request::StoreView) | keep the list of members | `Done`, `Conflict` if it knows a later one |
//!
//! Every request may be repeated: a second Put of the same unit, a Finish of a
//! complete chunk, a Store of the same chunk, a Delete or Free of an unknown one, an Expire that is older
//! than what the chunk has are answered `Done`.
//! Where in a frame the fields of each travel is in one table, in `table`.
//!
//! A relay answers `Unreachable` for members that it has no link to and `Late`
//! for those that do not answer in time.

mod table;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    copy::Target,
    frame::{Frame, FrameError, Header, Kind, MAX_PAYLOAD},
    id::ChunkId,
    inventory::Expiry,
    labelled_unit::LabelledUnit,
    view::MembershipView,
};

/// What a run of the proxy relies on after a node has answered its Ping.
///
/// Senders that know nothing of it leave the fields at 0, which grants nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseOffer {
    /// For how long, in milliseconds from when the Ping was sent.
    pub ms: u32,
    /// Whether the run leads: it has a majority of its members, and is not a candidate that
    /// still finds out what there is.
    pub leads: bool,
}

/// What a node can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Are you alive?
    Ping {
        /// The pool's time, in milliseconds since 1970: kept, so that a later proxy's
        /// clock is not behind it.
        now_ms: u64,
        /// What the sender relies on once this is answered.
        lease: LeaseOffer,
    },
    /// Keep one unit of a chunk that is being written.
    Put {
        /// Which chunk.
        chunk: ChunkId,
        /// Which of its units.
        unit: u32,
        /// What the writer sealed it with.
        checksum: u64,
        /// The unit, 1 to [`MAX_PAYLOAD`] bytes.
        bytes: Bytes,
    },
    /// The chunk has `units` units: if you hold them all, it is complete.
    Finish {
        /// Which chunk.
        chunk: ChunkId,
        /// How many units it has.
        units: u32,
        /// Kept with the chunk and given back as it is: the node does not read it.
        label: Bytes,
    },
    /// Keep a chunk that has one unit, as if it had been put and the chunk finished.
    Store {
        /// Which chunk.
        chunk: ChunkId,
        /// What the writer sealed its unit with.
        checksum: u64,
        /// The unit, and the label that is kept with the chunk.
        whole: LabelledUnit,
    },
    /// Give one unit back.
    Get {
        /// Which chunk.
        chunk: ChunkId,
        /// Which of its units.
        unit: u32,
        /// How long it is, in bytes.
        want: u32,
    },
    /// The chunk is dead. Reads that have begun may go on until it is freed.
    Delete {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// Let go of the chunk's memory, whether pending, complete or dead.
    Free {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// The chunk expires at another time than its label says.
    Expire {
        /// Which chunk.
        chunk: ChunkId,
        /// When; of several changes the one with the highest sequence counts.
        expiry: Expiry,
    },
    /// Tell of the complete chunks that follow `after`, in the order of their ids.
    Inventory {
        /// The last chunk of the page before; `None` begins anew.
        after: Option<ChunkId>,
    },
    /// Put all units of a complete chunk on another node, where they are pending then.
    Copy {
        /// Which chunk.
        chunk: ChunkId,
        /// How many units it has.
        units: u32,
        /// Where to.
        target: Target,
    },
    /// Keep the view, unless you know a later one.
    StoreView(MembershipView),
    /// Tell what you remember of earlier runs of the proxy.
    ReadState,
}

impl Request {
    /// How many bytes of payload the answer may carry.
    pub fn want(&self) -> usize {
        match self {
            Self::Get { want, .. } => *want as usize,
            Self::Inventory { .. } | Self::ReadState => MAX_PAYLOAD,
            _ => 0,
        }
    }

    /// How many bytes of payload the request itself carries.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Put { bytes, .. } => bytes.len(),
            Self::Finish { label, .. } => label.len(),
            Self::Store { whole, .. } => whole.payload().len(),
            Self::Copy { target, .. } => target.to_bytes().len(),
            Self::StoreView(view) => view.to_bytes().len(),
            _ => 0,
        }
    }

    /// Whether it asks for what a unit can be.
    fn makes_sense(&self) -> bool {
        match self {
            Self::Put { bytes, .. } => !bytes.is_empty(),
            Self::Get { want, .. } => *want as usize <= MAX_PAYLOAD,
            _ => true,
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done. For a Get, the unit and the checksum that it was stored with.
    Done {
        /// The unit, or the report of a Ping, or nothing.
        bytes: Bytes,
        /// What the unit was sealed with.
        checksum: u64,
    },
    /// The node holds no such unit.
    NotFound,
    /// The node has no room for the unit.
    Full,
    /// The chunk lacks units, and was not completed.
    Incomplete,
    /// The chunk is complete or dead already, and takes no unit.
    Conflict,
    /// A relay has no link to the member.
    Unreachable,
    /// A relay waited for the member in vain.
    Late,
}

impl Reply {
    /// A request done that gives nothing back.
    pub const DONE: Self = Self::Done {
        bytes: Bytes::new(),
        checksum: 0,
    };

    /// The reply as a frame, to the request numbered `id`.
    pub fn into_frame(self, id: u32) -> Frame {
        let header = Header {
            id,
            status: self.status(),
            ..Header::of(Kind::Reply)
        };
        match self {
            Self::Done { bytes, checksum } => Frame::new(Header { checksum, ..header }, bytes),
            _ => Frame::new(header, Bytes::new()),
        }
    }

    /// Reads a reply off a frame.
    ///
    /// # Errors
    ///
    /// If the frame is no reply.
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        let Frame { header, payload } = frame;
        if header.kind != Kind::Reply {
            return Err(FrameError::Unexpected(header.kind));
        }
        Ok(match header.status {
            0 => Self::Done {
                bytes: payload,
                checksum: header.checksum,
            },
            status => Self::of_status(status).ok_or(FrameError::Malformed(Kind::Reply))?,
        })
    }
}

/// Replies without a payload, and the status of each. That of `Done` is 0.
macro_rules! statuses {
    ($($reply:ident = $status:literal),*) => {
        impl Reply {
            fn status(&self) -> u16 {
                match self {
                    Self::Done { .. } => 0,
                    $(Self::$reply => $status,)*
                }
            }

            fn of_status(status: u16) -> Option<Self> {
                match status {
                    $($status => Some(Self::$reply),)*
                    _ => None,
                }
            }
        }
    };
}
statuses!(
    NotFound = 1,
    Full = 2,
    Incomplete = 3,
    Conflict = 4,
    Unreachable = 5,
    Late = 6
);

/// What a node tells of itself with each Pong, as JSON: the proxy exports it,
/// so that Prometheus need not scrape, and thereby wake, the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReport {
    /// Bytes that it may hold.
    pub capacity_bytes: u64,
    /// Bytes that it holds, whatever their state.
    pub used_bytes: u64,
    /// Bytes of chunks that are being written.
    pub pending_bytes: u64,
    /// Bytes of chunks that are dead but not freed.
    pub dead_bytes: u64,
    /// Complete chunks.
    pub chunks: u64,
    /// Units stored since the start.
    pub puts: u64,
    /// Units given back since the start.
    pub gets: u64,
    /// Units asked for that it did not hold.
    pub not_found: u64,
    /// Units refused for want of room.
    pub full: u64,
    /// Pending chunks dropped because no proxy went on writing them.
    pub abandoned: u64,
    /// Bytes received in units.
    pub bytes_in: u64,
    /// Bytes given back in units.
    pub bytes_out: u64,
    /// Resident memory of the process.
    pub resident_bytes: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        id::{InstanceId, MemberId, WriteId},
        view,
    };

    fn chunk() -> impl Strategy<Value = ChunkId> {
        (any::<u64>(), any::<u64>(), any::<u8>()).prop_map(|(epoch, sequence, index)| ChunkId {
            write: WriteId { epoch, sequence },
            index,
        })
    }

    fn bytes(least: usize) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), least..64).prop_map(Bytes::from)
    }

    fn view() -> impl Strategy<Value = MembershipView> {
        let entry =
            ("[a-z0-9-]{1,9}", any::<u64>()).prop_map(|(node, instance)| view::ViewMember {
                node,
                instance: InstanceId(instance),
            });
        let members = prop::collection::vec(entry, 0..5);
        (any::<u64>(), any::<u64>(), 0usize..9, members).prop_map(
            |(epoch, number, parity, members)| MembershipView {
                id: view::ViewId { epoch, number },
                parity,
                old_members: members[..members.len() / 2].to_vec(),
                members,
            },
        )
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            (any::<u64>(), any::<u32>(), any::<bool>()).prop_map(|(now_ms, ms, leads)| {
                let lease = LeaseOffer { ms, leads };
                Request::Ping { now_ms, lease }
            }),
            (chunk(), any::<u32>(), any::<u64>()).prop_map(|(chunk, sequence, at_ms)| {
                let expiry = Expiry { sequence, at_ms };
                Request::Expire { chunk, expiry }
            }),
            prop::option::of(chunk()).prop_map(|after| Request::Inventory { after }),
            view().prop_map(Request::StoreView),
            Just(Request::ReadState),
            (
                chunk(),
                any::<u32>(),
                "[a-z.:0-9]{1,30}",
                any::<u64>(),
                0..=MAX_PAYLOAD as u32,
                1..=60_000u32
            )
                .prop_map(|(chunk, units, address, instance, longest, deadline_ms)| {
                    Request::Copy {
                        chunk,
                        units,
                        target: Target {
                            address,
                            instance: InstanceId(instance),
                            longest,
                            deadline_ms,
                        },
                    }
                }),
            (chunk(), any::<u32>(), any::<u64>(), bytes(1)).prop_map(
                |(chunk, unit, checksum, bytes)| Request::Put {
                    chunk,
                    unit,
                    checksum,
                    bytes
                }
            ),
            (chunk(), any::<u32>(), bytes(0)).prop_map(|(chunk, units, label)| Request::Finish {
                chunk,
                units,
                label
            }),
            (chunk(), any::<u64>(), bytes(0), bytes(1)).prop_map(
                |(chunk, checksum, label, unit)| Request::Store {
                    chunk,
                    checksum,
                    whole: LabelledUnit::new(&label, &unit).unwrap(),
                }
            ),
            (chunk(), any::<u32>(), 0..=MAX_PAYLOAD as u32)
                .prop_map(|(chunk, unit, want)| Request::Get { chunk, unit, want }),
            chunk().prop_map(|chunk| Request::Delete { chunk }),
            chunk().prop_map(|chunk| Request::Free { chunk }),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            (bytes(0), any::<u64>()).prop_map(|(bytes, checksum)| Reply::Done { bytes, checksum }),
            prop::sample::select(vec![
                Reply::NotFound,
                Reply::Full,
                Reply::Incomplete,
                Reply::Conflict,
                Reply::Unreachable,
                Reply::Late,
            ]),
        ]
    }

    proptest! {
        #[test]
        fn requests_read_back_from_their_frames(request in request(), id: u32, member: u32) {
            let frame = request.clone().into_frame(id, MemberId(member));
            prop_assert_eq!(frame.header.id, id);
            prop_assert_eq!(frame.header.member, MemberId(member));
            prop_assert_eq!(frame.payload.len(), request.payload_len());
            prop_assert_eq!(Request::from_frame(frame), Ok(request));
        }

        #[test]
        fn replies_read_back_from_their_frames(reply in reply(), id: u32) {
            let frame = reply.clone().into_frame(id);
            prop_assert_eq!(frame.header.id, id);
            prop_assert_eq!(Reply::from_frame(frame), Ok(reply));
        }
    }

    #[test]
    fn frames_that_make_no_sense_are_refused() {
        let empty = |header| Frame::new(header, Bytes::new());
        let put = empty(Header::of(Kind::Put));
        assert_eq!(
            Request::from_frame(put),
            Err(FrameError::Malformed(Kind::Put))
        );
        let get = empty(Header {
            want: u32::MAX,
            ..Header::of(Kind::Get)
        });
        assert_eq!(
            Request::from_frame(get),
            Err(FrameError::Malformed(Kind::Get))
        );
        let hello = empty(Header::of(Kind::Hello));
        assert_eq!(
            Request::from_frame(hello),
            Err(FrameError::Unexpected(Kind::Hello))
        );
        let reply = empty(Header {
            status: 999,
            ..Header::of(Kind::Reply)
        });
        assert_eq!(
            Reply::from_frame(reply),
            Err(FrameError::Malformed(Kind::Reply))
        );
        let ping = empty(Header::of(Kind::Ping));
        assert_eq!(
            Reply::from_frame(ping),
            Err(FrameError::Unexpected(Kind::Ping))
        );
    }
}

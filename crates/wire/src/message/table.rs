//! How requests travel in frames: the one table of them, and what it is made with.
//!
//! The table has a line a request, which is carried by the kind of frame of its name:
//!
//! ```text
//! Finish { chunk, units, label }: chunk = chunk, units = unit, label = payload;
//!          fields of the request  field = where in the frame it travels
//! ```
//!
//! A field travels in a field of the header or in the payload, or in two of them, as its type says
//! by [`Travels`].

use bytes::Bytes;

use crate::{
    copy::Target,
    frame::{Frame, FrameError, Header, Kind},
    id::{ChunkId, MemberId},
    inventory::Expiry,
    labelled_unit::LabelledUnit,
    message::{LeaseOffer, Request},
    view::MembershipView,
};

/// What of a frame depends on the request.
struct MessageParts {
    chunk: ChunkId,
    unit: u32,
    want: u32,
    checksum: u64,
    payload: Bytes,
}

impl MessageParts {
    fn of(frame: Frame) -> Self {
        let Frame { header, payload } = frame;
        Self {
            chunk: header.chunk_id(),
            unit: header.unit,
            want: header.want,
            checksum: header.checksum,
            payload,
        }
    }

    fn into_frame(self, header: Header) -> Frame {
        let header = Header {
            chunk: self.chunk.index,
            write: self.chunk.write,
            unit: self.unit,
            want: self.want,
            checksum: self.checksum,
            ..header
        };
        Frame::new(header, self.payload)
    }
}

/// Travels in a part of a frame, or in a tuple of them.
trait Travels<P>: Sized {
    fn put(self) -> P;

    fn take(part: P) -> Result<Self, FrameError>;
}

macro_rules! requests {
    ($($kind:ident $fields:tt: $($field:ident = $($part:ident)+),*;)*) => {
        impl Request {
            /// The kind of frame that carries it.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind { .. } => Kind::$kind,)*
                }
            }

            /// The request as a frame, numbered `id`, for `member`.
            pub fn into_frame(self, id: u32, member: MemberId) -> Frame {
                let header = Header { id, member, ..Header::of(self.kind()) };
                let mut parts = MessageParts::of(Frame { header, payload: Bytes::new() });
                match self {
                    // A request is taken apart as it is put together.
                    $(Self::$kind $fields => { $(($(parts.$part),+) = $field.put();)* })*
                }
                parts.into_frame(header)
            }

            /// Reads a request off a frame.
            ///
            /// # Errors
            ///
            /// If the frame is no request, or asks for what no unit can be.
            pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
                let kind = frame.header.kind;
                let parts = MessageParts::of(frame);
                let request = match kind {
                    $(Kind::$kind => {
                        $(let $field = Travels::take(($(parts.$part),+))?;)*
                        Self::$kind $fields
                    })*
                    _ => return Err(FrameError::Unexpected(kind)),
                };
                request.makes_sense().then_some(request).ok_or(FrameError::Malformed(kind))
            }
        }
    };
}

requests! {
    Ping { now_ms, lease }: now_ms = checksum, lease = want unit;
    Put { chunk, unit, checksum, bytes }:
        chunk = chunk, unit = unit, checksum = checksum, bytes = payload;
    Finish { chunk, units, label }: chunk = chunk, units = unit, label = payload;
    Store { chunk, checksum, whole }: chunk = chunk, checksum = checksum, whole = payload unit;
    Get { chunk, unit, want }: chunk = chunk, unit = unit, want = want;
    Delete { chunk }: chunk = chunk;
    Free { chunk }: chunk = chunk;
    Expire { chunk, expiry }: chunk = chunk, expiry = unit checksum;
    Inventory { after }: after = unit chunk;
    Copy { chunk, units, target }: chunk = chunk, units = unit, target = payload;
    StoreView (view): view = payload;
    ReadState {}: ;
}

impl<P> Travels<P> for P {
    fn put(self) -> P {
        self
    }

    fn take(part: P) -> Result<Self, FrameError> {
        Ok(part)
    }
}

impl Travels<(u32, u32)> for LeaseOffer {
    fn put(self) -> (u32, u32) {
        (self.ms, self.leads.into())
    }

    fn take((ms, leads): (u32, u32)) -> Result<Self, FrameError> {
        let leads = leads != 0;
        Ok(Self { ms, leads })
    }
}

impl Travels<(u32, u64)> for Expiry {
    fn put(self) -> (u32, u64) {
        (self.sequence, self.at_ms)
    }

    fn take((sequence, at_ms): (u32, u64)) -> Result<Self, FrameError> {
        Ok(Self { sequence, at_ms })
    }
}

impl Travels<(u32, ChunkId)> for Option<ChunkId> {
    fn put(self) -> (u32, ChunkId) {
        let none = Header::of(Kind::Inventory).chunk_id();
        (self.is_some().into(), self.unwrap_or(none))
    }

    fn take((is_some, chunk): (u32, ChunkId)) -> Result<Self, FrameError> {
        Ok((is_some != 0).then_some(chunk))
    }
}

impl Travels<(Bytes, u32)> for LabelledUnit {
    fn put(self) -> (Bytes, u32) {
        (self.payload().clone(), self.split())
    }

    fn take((payload, split): (Bytes, u32)) -> Result<Self, FrameError> {
        Self::from_payload(payload, split)
    }
}

impl Travels<Bytes> for Target {
    fn put(self) -> Bytes {
        self.to_bytes().into()
    }

    fn take(payload: Bytes) -> Result<Self, FrameError> {
        Self::from_bytes(&payload)
    }
}

impl Travels<Bytes> for MembershipView {
    fn put(self) -> Bytes {
        self.to_bytes()
    }

    fn take(payload: Bytes) -> Result<Self, FrameError> {
        Self::from_bytes(&payload)
    }
}

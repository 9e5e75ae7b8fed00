//! Why a node says goodbye: the payload of a [`Kind::Bye`] frame.
//!
//! | reason | what follows |
//! | --- | --- |
//! | `session_over` | nothing: link and chunks stay, but nothing keeps the platform from stopping the node |
//! | `terminated` | the node goes once it is emptied, or when its time is over |
//!
//! A reason that this version does not know is carried as it is: a goodbye is
//! never a broken frame.

use bytes::Bytes;

use crate::frame::{Frame, Header, Kind};

/// Most bytes that are kept of a reason.
const MAX_REASON: usize = 64;

/// Why a node says goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// Its session is over; it rests until the next wake.
    SessionOver,
    /// Its process got SIGTERM.
    Terminated,
    /// Something that this version does not know.
    Other(String),
}

impl ByeReason {
    /// The reason as it travels.
    pub fn as_str(&self) -> &str {
        match self {
            Self::SessionOver => "session_over",
            Self::Terminated => "terminated",
            Self::Other(reason) => reason,
        }
    }

    /// Reads a reason. Whatever it is, it is one.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match bytes {
            b"session_over" => Self::SessionOver,
            b"terminated" => Self::Terminated,
            other => {
                let kept = &other[..other.len().min(MAX_REASON)];
                Self::Other(String::from_utf8_lossy(kept).into_owned())
            }
        }
    }

    /// The goodbye as a frame.
    pub fn to_frame(&self) -> Frame {
        let payload = match self {
            Self::SessionOver => Bytes::from_static(b"session_over"),
            Self::Terminated => Bytes::from_static(b"terminated"),
            Self::Other(reason) => Bytes::copy_from_slice(reason.as_bytes()),
        };
        Frame::new(Header::of(Kind::Bye), payload)
    }

    /// The reason that a frame carries, if it is a goodbye.
    pub fn from_frame(frame: &Frame) -> Option<Self> {
        (frame.header.kind == Kind::Bye).then(|| Self::from_bytes(&frame.payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_back_from_their_frames() {
        let unknown = ByeReason::Other("bored".into());
        for reason in [ByeReason::SessionOver, ByeReason::Terminated, unknown] {
            assert_eq!(ByeReason::from_frame(&reason.to_frame()), Some(reason));
        }
        let ping = Frame::new(Header::of(Kind::Ping), Bytes::new());
        assert_eq!(ByeReason::from_frame(&ping), None);
    }

    #[test]
    fn an_endless_or_unreadable_reason_is_one_of_bounded_length() {
        for bytes in [vec![b'x'; 100_000], vec![0xff; 100], vec![]] {
            let ByeReason::Other(kept) = ByeReason::from_bytes(&bytes) else {
                panic!("nobody knows this reason");
            };
            assert!(kept.chars().count() <= MAX_REASON);
        }
    }
}

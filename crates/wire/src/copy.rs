//! What a Copy asks for: that a chunk be put on another node, from node to node.
//!
//! The chunk and the number of its units are in the frame's header; its payload
//! is a [`Target`] as JSON.

use serde::{Deserialize, Serialize};

use crate::{
    frame::{FrameError, Kind, MAX_PAYLOAD},
    id::InstanceId,
};

/// Most bytes of a [`Target`] as it travels.
pub const MAX_TARGET: usize = 1024;

/// The longest that a copy may take: a minute.
pub const MOST_DEADLINE_MS: u32 = 60_000;

/// Where a chunk is to be put, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `host:port` of its direct listener.
    pub address: String,
    /// The process that is to answer there.
    pub instance: InstanceId,
    /// No unit of the chunk is longer than this.
    pub longest: u32,
    /// How long it may take, in milliseconds.
    pub deadline_ms: u32,
}

impl Target {
    /// The document as it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data has a JSON form")
    }

    /// Reads the document.
    ///
    /// # Errors
    ///
    /// If it is none, or has no usable address, length or deadline.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(Kind::Copy);
        if bytes.len() > MAX_TARGET {
            return Err(malformed);
        }
        let target: Self = serde_json::from_slice(bytes).map_err(|_| malformed)?;
        let usable = (1..=253).contains(&target.address.len())
            && target.longest as usize <= MAX_PAYLOAD
            && (1..=MOST_DEADLINE_MS).contains(&target.deadline_ms);
        usable.then_some(target).ok_or(malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> Target {
        Target {
            address: "10.0.0.7:40123".into(),
            instance: InstanceId(9),
            longest: 1000,
            deadline_ms: 5_000,
        }
    }

    #[test]
    fn a_target_reads_back() {
        assert_eq!(Target::from_bytes(&target().to_bytes()), Ok(target()));
    }

    #[test]
    fn what_nobody_could_follow_is_refused() {
        let (address, long) = (String::new(), "x".repeat(254));
        let longest = MAX_PAYLOAD as u32 + 1;
        for unusable in [
            Target {
                address,
                ..target()
            },
            Target {
                address: long,
                ..target()
            },
            Target {
                longest,
                ..target()
            },
            Target {
                deadline_ms: 0,
                ..target()
            },
            Target {
                deadline_ms: MOST_DEADLINE_MS + 1,
                ..target()
            },
        ] {
            assert!(
                Target::from_bytes(&unusable.to_bytes()).is_err(),
                "{unusable:?}"
            );
        }
        assert!(Target::from_bytes(&[b' '; MAX_TARGET + 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Target::from_bytes(&bytes);
        }
    }
}

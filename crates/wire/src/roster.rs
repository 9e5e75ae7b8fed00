//! The roster: the numbered list of the instances whose chunks count.
//!
//! The proxy in charge sends it to the members whenever it changes, and each
//! keeps the latest. A later proxy believes the latest one that it is told of:
//! what anybody else holds may be out of date, however honestly it was stored.
//! It is told in a [`Testimony`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    frame::{FrameError, Kind, MAX_PAYLOAD},
    id::InstanceId,
};

/// Most bytes of a roster: it has to fit into a frame beside the rest of a testimony.
pub const MAX_ROSTER: usize = MAX_PAYLOAD - 4096;

/// Which roster: later ones are greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct RosterId {
    /// The run of the proxy that drew it up.
    pub epoch: u64,
    /// Counts the rosters of that run.
    pub number: u64,
}

/// One line of a roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the node.
    pub node: String,
    /// The process behind the name whose chunks count.
    pub instance: InstanceId,
}

/// The members of a pool, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Which roster.
    #[serde(flatten)]
    pub id: RosterId,
    /// How many members may be lost at once without loss.
    pub parity: usize,
    /// Whose chunks count.
    pub members: Vec<Entry>,
    /// Whose chunks counted before, until this roster is in force.
    #[serde(default)]
    pub before: Vec<Entry>,
}

impl Roster {
    /// Whether it tells more than `other`: a later roster, or the same one now in force.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.id, self.before.is_empty()) > (other.id, other.before.is_empty())
    }

    /// Whether the chunks of an instance count.
    pub fn contains(&self, instance: InstanceId) -> bool {
        self.members.iter().any(|entry| entry.instance == instance)
    }

    /// The document as it travels.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("plain data has a JSON form")
            .into()
    }

    /// Reads a roster.
    ///
    /// # Errors
    ///
    /// If the bytes are no roster, or longer than [`MAX_ROSTER`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(Kind::Roster);
        if bytes.len() > MAX_ROSTER {
            return Err(malformed);
        }
        serde_json::from_slice(bytes).map_err(|_| malformed)
    }
}

/// What a node remembers of the runs of the proxy before the one that it obeys.
///
/// It is asked for over a link that has been welcomed, when it cannot change any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The latest roster that it was sent.
    pub roster: Option<Roster>,
    /// The highest time that it was told, in milliseconds since 1970.
    pub told_ms: u64,
    /// How long ago an earlier run could last rely on it, in milliseconds; `None` if none ever could.
    pub obeyed_ms: Option<u64>,
}

impl Testimony {
    /// The document as it travels.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("plain data has a JSON form")
            .into()
    }

    /// Reads a testimony.
    ///
    /// # Errors
    ///
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        serde_json::from_slice(bytes).map_err(|_| FrameError::Malformed(Kind::Recall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(epoch: u64, number: u64) -> Roster {
        Roster {
            id: RosterId { epoch, number },
            parity: 2,
            members: vec![Entry {
                node: "node-1".into(),
                instance: InstanceId(7),
            }],
            before: Vec::new(),
        }
    }

    #[test]
    fn a_roster_reads_back_from_its_bytes() {
        let written = roster(3, 4);
        assert_eq!(Roster::from_bytes(&written.to_bytes()), Ok(written));
    }

    #[test]
    fn a_testimony_reads_back_from_its_bytes() {
        let written = Testimony {
            roster: Some(roster(3, 4)),
            told_ms: 5,
            obeyed_ms: None,
        };
        assert_eq!(Testimony::from_bytes(&written.to_bytes()), Ok(written));
        assert!(Testimony::from_bytes(b"[]").is_err());
    }

    #[test]
    fn what_is_no_roster_is_refused() {
        for bytes in [&b""[..], b"{}", b"[1]", &vec![b' '; MAX_ROSTER + 1]] {
            assert!(Roster::from_bytes(bytes).is_err());
        }
    }

    #[test]
    fn rosters_of_later_runs_are_later_whatever_their_number() {
        assert!(roster(2, 1).id > roster(1, 9).id);
        assert!(roster(2, 2).id > roster(2, 1).id);
    }

    #[test]
    fn a_roster_in_force_supersedes_its_proposal_and_a_later_proposal_both() {
        let in_force = roster(1, 1);
        let proposal = |number| Roster {
            before: in_force.members.clone(),
            ..roster(1, number)
        };
        assert!(in_force.supersedes(&proposal(1)));
        assert!(!proposal(1).supersedes(&in_force));
        assert!(!in_force.supersedes(&in_force));
        assert!(proposal(2).supersedes(&in_force));
    }

    #[test]
    fn only_its_members_count() {
        assert!(roster(1, 1).contains(InstanceId(7)));
        assert!(!roster(1, 1).contains(InstanceId(8)));
    }
}

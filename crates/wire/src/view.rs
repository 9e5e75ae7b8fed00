//! The membership view: the numbered list of the instances whose chunks count.
//!
//! The leading proxy sends it to the members whenever it changes, and each keeps
//! the latest. A later proxy believes the latest one that is reported: what other
//! instances hold may be out of date, however honestly it was stored. A node
//! reports it in a [`PromiseInfo`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    frame::{FrameError, Kind, MAX_PAYLOAD},
    id::InstanceId,
};

/// Most bytes of a view: it has to fit into a frame beside the rest of a promise.
pub const MAX_VIEW: usize = MAX_PAYLOAD - 4096;

/// Which view: later ones are greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct ViewId {
    /// The run of the proxy that drew it up.
    pub epoch: u64,
    /// Counts the views of that run.
    pub number: u64,
}

/// One line of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewMember {
    /// Name of the node.
    pub node: String,
    /// The process behind the name whose chunks count.
    pub instance: InstanceId,
}

/// The members of a pool, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipView {
    /// Which view.
    #[serde(flatten)]
    pub id: ViewId,
    /// How many members may be lost at once without loss.
    pub parity: usize,
    /// Whose chunks count.
    pub members: Vec<ViewMember>,
    /// Whose chunks counted before, until this view is committed.
    #[serde(rename = "before", default)]
    pub old_members: Vec<ViewMember>,
}

impl MembershipView {
    /// Whether it tells more than `other`: a later view, or the same one now committed.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.id, self.old_members.is_empty()) > (other.id, other.old_members.is_empty())
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

    /// Reads a view.
    ///
    /// # Errors
    ///
    /// If the bytes are no view, or longer than [`MAX_VIEW`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let malformed = FrameError::Malformed(Kind::StoreView);
        if bytes.len() > MAX_VIEW {
            return Err(malformed);
        }
        serde_json::from_slice(bytes).map_err(|_| malformed)
    }
}

/// What a node remembers of the runs of the proxy before the one that it follows.
///
/// It is asked for over a link that has been welcomed, when it cannot change any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromiseInfo {
    /// The latest view that it was sent.
    #[serde(rename = "roster")]
    pub view: Option<MembershipView>,
    /// The highest time that a proxy has reported, in milliseconds since 1970.
    pub told_ms: u64,
    /// How long ago an earlier run could last rely on it, in milliseconds; `None` if none ever could.
    #[serde(rename = "obeyed_ms")]
    pub followed_ms: Option<u64>,
}

impl PromiseInfo {
    /// The document as it travels.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("plain data has a JSON form")
            .into()
    }

    /// Reads a promise.
    ///
    /// # Errors
    ///
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        serde_json::from_slice(bytes).map_err(|_| FrameError::Malformed(Kind::ReadState))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(epoch: u64, number: u64) -> MembershipView {
        MembershipView {
            id: ViewId { epoch, number },
            parity: 2,
            members: vec![ViewMember {
                node: "node-1".into(),
                instance: InstanceId(7),
            }],
            old_members: Vec::new(),
        }
    }

    #[test]
    fn a_view_reads_back_from_its_bytes() {
        let written = view(3, 4);
        assert_eq!(MembershipView::from_bytes(&written.to_bytes()), Ok(written));
    }

    #[test]
    fn a_promise_reads_back_from_its_bytes() {
        let written = PromiseInfo {
            view: Some(view(3, 4)),
            told_ms: 5,
            followed_ms: None,
        };
        assert_eq!(PromiseInfo::from_bytes(&written.to_bytes()), Ok(written));
        assert!(PromiseInfo::from_bytes(b"[]").is_err());
    }

    #[test]
    fn what_is_no_view_is_refused() {
        for bytes in [&b""[..], b"{}", b"[1]", &vec![b' '; MAX_VIEW + 1]] {
            assert!(MembershipView::from_bytes(bytes).is_err());
        }
    }

    #[test]
    fn views_of_later_runs_are_later_whatever_their_number() {
        assert!(view(2, 1).id > view(1, 9).id);
        assert!(view(2, 2).id > view(2, 1).id);
    }

    #[test]
    fn a_view_in_force_supersedes_its_proposal_and_a_later_proposal_both() {
        let in_force = view(1, 1);
        let proposal = |number| MembershipView {
            old_members: in_force.members.clone(),
            ..view(1, number)
        };
        assert!(in_force.supersedes(&proposal(1)));
        assert!(!proposal(1).supersedes(&in_force));
        assert!(!in_force.supersedes(&in_force));
        assert!(proposal(2).supersedes(&in_force));
    }

    #[test]
    fn only_its_members_count() {
        assert!(view(1, 1).contains(InstanceId(7)));
        assert!(!view(1, 1).contains(InstanceId(8)));
    }
}

//! How smart clients reach members directly.

use infinicache_wire::{
    MemberId, WriteId,
    control::Way,
    pass::{Pass, Right},
};

use super::Nodes;
use crate::leases;

impl Nodes {
    /// Ways to those of `members` that can be reached directly, with passes for a write that are
    /// good for as long as a lease: whoever takes longer goes on through the relay.
    pub(crate) fn ways(
        &self,
        members: impl IntoIterator<Item = MemberId>,
        write: WriteId,
        right: Right,
    ) -> Vec<Way> {
        let ttl_ms = leases::TERM.as_millis() as u64;
        let until_ms = self.clock().unix_ms() + ttl_ms;
        let way = |id| {
            let member = self.member(id)?;
            let secret = &self.0.settings.secret;
            let pass = || Pass::new(secret, member.instance, write, right, until_ms);
            (!member.direct.is_empty()).then(|| Way {
                member: id,
                address: member.direct.clone(),
                until_ms,
                ttl_ms,
                proof: pass().proof,
            })
        };
        members.into_iter().filter_map(way).collect()
    }
}

//! How smart clients reach members directly.

use infinicache_wire::{
    MemberId, WriteId,
    control::Route,
    token::{Permission, Token},
};

use super::Nodes;
use crate::metadata::read_leases;

impl Nodes {
    /// Routes to those of `members` that can be reached directly, with tokens for a write that are
    /// good for as long as a read lease: a client that takes longer goes on through the relay.
    pub(crate) fn routes(
        &self,
        members: impl IntoIterator<Item = MemberId>,
        write: WriteId,
        right: Permission,
    ) -> Vec<Route> {
        let ttl_ms = read_leases::READ_LEASE_TIME.as_millis() as u64;
        let until_ms = self.clock().unix_ms() + ttl_ms;
        let route = |id| {
            let member = self.member(id)?;
            let secret = &self.0.settings.secret;
            let token = || Token::new(secret, member.instance, write, right, until_ms);
            (!member.direct.is_empty()).then(|| Route {
                member: id,
                address: member.direct.clone(),
                until_ms,
                ttl_ms,
                proof: token().proof,
            })
        };
        members.into_iter().filter_map(route).collect()
    }
}

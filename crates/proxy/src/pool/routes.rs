//! How smart clients reach members directly.

use std::sync::Arc;

use infinicache_wire::{
    MemberId, Secret, WriteId,
    control::Route,
    token::{Permission, Token},
};

use super::members::Members;
use crate::{metadata::read_leases, pool_clock::PoolClock};

/// What gives the routes.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(super) secret: Secret,
    pub(super) clock: PoolClock,
    pub(super) members: Arc<Members>,
}

impl Routes {
    /// Routes to those of `members` that can be reached directly, with tokens for a write that are
    /// good for as long as a read lease: a client that takes longer goes on through the relay.
    pub(crate) fn to(
        &self,
        members: impl IntoIterator<Item = MemberId>,
        write: WriteId,
        right: Permission,
    ) -> Vec<Route> {
        let ttl_ms = read_leases::READ_LEASE_TIME.as_millis() as u64;
        let until_ms = self.clock.unix_ms() + ttl_ms;
        let route = |id| {
            let member = self.members.get(id)?;
            let secret = &self.secret;
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

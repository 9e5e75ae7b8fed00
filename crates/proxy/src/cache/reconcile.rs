//! A member that may have missed something is made to fit the metadata again.
//!
//! It was expelled because it did not answer, or its link broke with requests
//! under way. What it holds without being listed for it has died meanwhile, and
//! is freed; what it holds rightly is told when it expires, if that has changed.
//! Only then may its chunks count.

use std::sync::Arc;

use infinicache_client::{Holders, MuxLink, NodeLink};
use infinicache_host::fail_point;
use infinicache_membership::{absence::Outcome, label};
use infinicache_wire::{Reply, Request, inventory, inventory::Entry};
use tracing::{debug, info, warn};

use super::Cache;
use crate::{catalog::Found, nodes::member::Member, writes::OpenWrite};

impl Cache {
    /// Reconciles a member and lets its chunks count again.
    pub(crate) async fn take_back(&self, member: &Arc<Member>) {
        loop {
            let freed = self.reconcile(member).await;
            let outcome = self.0.nodes.enrol_again(member, freed.is_some());
            let member = member.id;
            match freed {
                Some(freed) => info!(%member, freed, ?outcome, "member fits the metadata again"),
                None => debug!(%member, ?outcome, "member does not answer"),
            }
            if outcome != Outcome::Again {
                return;
            }
        }
    }

    /// How many chunks were freed; `None` if the member does not answer.
    async fn reconcile(&self, member: &Arc<Member>) -> Option<usize> {
        let link = member.link()?;
        if fail_point("reconcile") {
            return Some(0);
        }
        let mut after = None;
        let mut freed = 0;
        loop {
            let entries = page(&link, after).await?;
            let Some(last) = entries.last() else {
                return Some(freed);
            };
            after = Some(last.chunk);
            for entry in entries {
                freed += usize::from(self.reconcile_chunk(member, &link, entry).await?);
            }
        }
    }

    /// Whether the chunk was freed.
    async fn reconcile_chunk(
        &self,
        member: &Arc<Member>,
        link: &MuxLink,
        entry: Entry,
    ) -> Option<bool> {
        let chunk = entry.chunk;
        let label = label::decode(entry.label);
        let (key, told) = label.map_or_else(Default::default, |label| {
            let told = label.expiry.sequence.max(entry.expiry.sequence);
            (label.key, told)
        });
        // While it is somebody's turn to change the key, it is not known whose the chunk is.
        let _turn = self.0.turns.take(&key).await;
        // A chunk of an open write that has moved to another member is nobody's here.
        let write = self.0.writes.get(chunk.write);
        let is_on = |write: Arc<OpenWrite>| write.is_on(chunk.index, member.id);
        if write.is_some_and(|write| is_on(write) || fail_point("open_writes_let_go")) {
            return Some(false);
        }
        let index = usize::from(chunk.index);
        let listed = self.0.catalog.peek(&key).filter(|object| {
            object.write() == chunk.write
                && index < object.members().len()
                && Found(object.clone()).holder(index) == Some(member.id)
        });
        let request = match &listed {
            None => Request::Free { chunk },
            Some(object) if told < object.expiry().sequence => {
                let expiry = object.expiry();
                Request::Expire { chunk, expiry }
            }
            Some(_) => return Some(false),
        };
        match link.call(request).await {
            Reply::Done { .. } => {}
            _ => return None,
        }
        if listed.is_none() {
            self.let_go(chunk, member.id);
        }
        Some(listed.is_none())
    }
}

/// A page of a member's inventory; `None` if it does not answer.
pub(crate) async fn page(
    link: &MuxLink,
    after: Option<infinicache_wire::ChunkId>,
) -> Option<Vec<Entry>> {
    let Reply::Done { bytes, .. } = link.call(Request::Inventory { after }).await else {
        return None;
    };
    let entries = inventory::read_page(bytes);
    if let Err(error) = &entries {
        warn!(%error, "unreadable inventory");
    }
    entries.ok()
}

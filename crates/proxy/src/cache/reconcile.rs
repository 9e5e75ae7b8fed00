//! A member that may have missed changes is reconciled with the metadata.
//!
//! It was removed because it did not answer, or its link broke with requests
//! under way. What it holds without being listed for it has died meanwhile, and
//! is freed; what it holds rightly gets its new expiry, if that has changed.
//! Only then may its chunks count.

use std::sync::Arc;

use infinicache_engine::{Holders, MuxLink, NodeLink};
use infinicache_host::fail_point;
use infinicache_membership::{label, readmission::ReadmissionOutcome};
use infinicache_wire::{Reply, Request, inventory, inventory::InventoryEntry};
use tracing::{debug, info, warn};

use super::delete::Deletes;
use crate::{
    capacity::open_writes::{OpenWrite, OpenWrites},
    metadata::{Metadata, catalog::ObjectRef},
    pool::{Membership, member::Member},
};

/// Reconciles members. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Reconciler {
    pub(super) metadata: Arc<Metadata>,
    pub(super) open: Arc<OpenWrites>,
    pub(super) membership: Arc<Membership>,
    pub(super) deletes: Deletes,
}

impl Reconciler {
    /// Reconciles a member and lets its chunks count again.
    pub(crate) async fn readmit(&self, member: &Arc<Member>) {
        loop {
            let freed = self.reconcile(member).await;
            let outcome = self.membership.readmit(member, freed.is_some());
            let member = member.id;
            match freed {
                Some(freed) => info!(%member, freed, ?outcome, "member is reconciled"),
                None => debug!(%member, ?outcome, "member does not answer"),
            }
            if outcome != ReadmissionOutcome::Again {
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
        entry: InventoryEntry,
    ) -> Option<bool> {
        let chunk = entry.chunk;
        let label = label::decode(entry.label);
        let (key, told) = label.map_or_else(Default::default, |label| {
            let told = label.expiry.sequence.max(entry.expiry.sequence);
            (label.key, told)
        });
        // While a command holds the key's lock, it is not known which value the chunk is of.
        let _turn = self.metadata.key_locks.lock(&key).await;
        // A chunk of an open write that has moved to another member is an orphan here.
        let write = self.open.get(chunk.write);
        let is_on = |write: Arc<OpenWrite>| write.is_on(chunk.index, member.id);
        if write.is_some_and(|write| is_on(write) || fail_point("moved_chunks_not_kept")) {
            return Some(false);
        }
        let index = usize::from(chunk.index);
        let listed = self.metadata.catalog.peek(&key).filter(|object| {
            object.write() == chunk.write
                && index < object.members().len()
                && ObjectRef(object.clone()).holder(index) == Some(member.id)
        });
        let request = match &listed {
            None => Request::Free { chunk },
            Some(object) if told < object.expiration().entry().sequence => {
                let expiry = object.expiration().entry();
                Request::Expire { chunk, expiry }
            }
            Some(_) => return Some(false),
        };
        match link.call(request).await {
            Reply::Done { .. } => {}
            _ => return None,
        }
        if listed.is_none() {
            self.deletes.chunk_freed(chunk, member.id);
        }
        Some(listed.is_none())
    }
}

/// A page of a member's inventory; `None` if it does not answer.
pub(crate) async fn page(
    link: &MuxLink,
    after: Option<infinicache_wire::ChunkId>,
) -> Option<Vec<InventoryEntry>> {
    let Reply::Done { bytes, .. } = link.call(Request::Inventory { after }).await else {
        return None;
    };
    let entries = inventory::read_page(bytes);
    if let Err(error) = &entries {
        warn!(%error, "unreadable inventory");
    }
    entries.ok()
}

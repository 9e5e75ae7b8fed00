//! A member that may have missed something is made to fit the metadata again.

use std::rc::Rc;

use infinicache_membership::{absence::Outcome, label};
use infinicache_wire::{
    MemberId, Reply, Request,
    inventory::{self, Entry},
};

use super::Proxy;

impl Proxy {
    /// Reconciles a member and lets its chunks count again.
    pub(super) async fn take_back(self: &Rc<Self>, id: MemberId) {
        loop {
            let fits = self.reconcile(id).await.is_some();
            if self.enrol_again(id, fits) != Outcome::Again {
                return;
            }
        }
    }

    /// `None` if the member does not answer.
    async fn reconcile(self: &Rc<Self>, id: MemberId) -> Option<()> {
        if !self.world.rules.reconcile {
            return Some(());
        }
        for entry in self.inventory(id).await? {
            self.reconcile_chunk(id, entry).await?;
        }
        Some(())
    }

    /// All that a member holds: less than a page.
    pub(super) async fn inventory(self: &Rc<Self>, id: MemberId) -> Option<Vec<Entry>> {
        match self.call(id, Request::Inventory { after: None }).await {
            Reply::Done { bytes, .. } => inventory::read_page(bytes).ok(),
            _ => None,
        }
    }

    async fn reconcile_chunk(self: &Rc<Self>, id: MemberId, entry: Entry) -> Option<()> {
        let chunk = entry.chunk;
        let label = label::decode(entry.label).expect("a label");
        let told = label.expiry.sequence.max(entry.expiry.sequence);
        let key = label.key[0];
        // While it is somebody's turn to change the key, it is not known whose the chunk is.
        let _turn = self.turn(key).await;
        let is_open = {
            let state = self.state.borrow();
            let write = state.writes.get(&chunk.write);
            write.is_some_and(|write| {
                let is_on = write.members.get(usize::from(chunk.index)) == Some(&id);
                is_on || !self.world.rules.open_writes_let_go
            })
        };
        if is_open {
            return Some(());
        }
        let listed = self
            .object(key, chunk.write)
            .filter(|it| it.holders.get(usize::from(chunk.index)) == Some(&Some(id)));
        let request = match &listed {
            None => Request::Free { chunk },
            Some(object) if told < object.expiry_sequence => {
                let expiry = object.expiry();
                Request::Expire { chunk, expiry }
            }
            Some(_) => return Some(()),
        };
        if !matches!(self.call(id, request).await, Reply::Done { .. }) {
            return None;
        }
        if listed.is_none() {
            self.let_go(chunk, id);
        }
        Some(())
    }
}

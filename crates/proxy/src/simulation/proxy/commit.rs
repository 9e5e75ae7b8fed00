//! A write becomes the value of its key, or leaves no trace.

use std::rc::Rc;

use bytes::Bytes;
use infinicache_membership::{finishing::Finishing, label, patience::LONGEST};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, Version, WriteId, inventory::Expiry};

use super::{Answer, Object, Proxy, calls::Asking, key_bytes, write::OpenWrite};

/// What came of an attempt to commit.
pub(super) enum Decision {
    Told(Answer),
    /// These chunks are not known to be complete.
    Incomplete(Vec<u8>),
}

impl Proxy {
    /// Decides a commit, one at a time for each key.
    pub(super) async fn decide(
        self: &Rc<Self>,
        id: WriteId,
        if_absent: bool,
        ticket: u64,
    ) -> Decision {
        let key = self.state.borrow().writes[&id].key;
        let _turn = self.turn(key).await;
        let write = self.state.borrow().writes[&id].clone();
        if if_absent && self.find(key).is_some() {
            self.give_up(id);
            // An earlier attempt may have come as far as to be found.
            let is_gone = !write.finishing || self.settle(key).await;
            return Decision::Told(match is_gone && self.still_in_charge() {
                true => Answer::Refused,
                false => Answer::Unsure,
            });
        }
        let version = Version {
            epoch: self.epoch.get(),
            counter: self.next_count(),
        };
        let members = write.members.clone();
        self.world
            .note(|| format!("{ticket}: finishing {id} as {version} on {members:?}"));
        let label = label::encode(&key_bytes(key), &write.geometry, version, Expiry::default());
        // Whose chunks do not count cannot be relied on.
        let mut incomplete: Vec<u8> = (0u8..)
            .zip(&members)
            .filter(|(_, member)| !self.counts(**member))
            .map(|(index, _)| index)
            .collect();
        if incomplete.is_empty() {
            if let Some(write) = self.state.borrow_mut().writes.get_mut(&id) {
                write.finishing = true;
            }
            incomplete = match self.complete(id, &write, &label).await {
                Some(incomplete) => incomplete,
                None => return Decision::Told(Answer::Unsure),
            };
        }
        if !incomplete.is_empty() {
            return Decision::Incomplete(incomplete);
        }
        self.world
            .note(|| format!("{ticket}: {id} is the value of {key}"));
        let replaced = self.enter_written(id, version);
        if let Some(replaced) = replaced {
            if !self.retire(key, &replaced).await {
                return Decision::Told(Answer::Unsure);
            }
        } else if !self.settle(key).await {
            return Decision::Told(Answer::Unsure);
        }
        Decision::Told(match self.still_in_charge() {
            true => Answer::Done,
            false => Answer::Unsure,
        })
    }

    /// From a write to a value, at once; what it replaces.
    fn enter_written(self: &Rc<Self>, id: WriteId, version: Version) -> Option<Object> {
        let (write, replaced) = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let write = state.writes.remove(&id)?;
            // A member may have been lost between its Finish and now.
            let is_there = |id: &MemberId| state.members.contains_key(id).then_some(*id);
            let object = Object {
                write: id,
                version,
                geometry: write.geometry,
                id: Some(write.value),
                holders: write.members.iter().map(is_there).collect(),
                expires_at: None,
                expiry_sequence: 0,
                is_in_repair: false,
            };
            let replaced = state.catalog.insert(write.key, object);
            (write, replaced)
        };
        self.free_replaced(id, &write);
        replaced
    }

    /// Has every member complete its chunk; those that did not. `None` if a member that does
    /// not say could not be expelled: its chunk may be complete, and must not be found.
    async fn complete(
        self: &Rc<Self>,
        id: WriteId,
        write: &OpenWrite,
        label: &Bytes,
    ) -> Option<Vec<u8>> {
        let members = &write.members;
        let parity = write.geometry.code().parity();
        let mut finishing = Finishing::new(members.len(), parity, self.instant());
        let finish = |(index, member): (u8, &MemberId)| {
            let chunk = ChunkId { write: id, index };
            let request = Request::Finish {
                chunk,
                units: write.geometry.chunk_units(index.into()),
                label: label.clone(),
            };
            Some(self.asking(*member, request))
        };
        let mut asking: Vec<Option<Asking>> = (0u8..).zip(members).map(finish).collect();
        // Of them the roster has to be rid.
        let mut gone = Vec::new();
        while let Some(deadline) = finishing.deadline() {
            let news = || {
                let mut news = false;
                for index in 0..asking.len() {
                    let Some(waiting) = &mut asking[index] else {
                        continue;
                    };
                    if let Some(reply) = self.go_on(waiting) {
                        asking[index] = None;
                        let complete = matches!(reply, Some(Reply::Done { .. }));
                        finishing.answered(index, complete, self.instant());
                        gone.extend(reply.is_none().then_some(members[index]));
                        news = true;
                    }
                }
                news.then_some(())
            };
            let end = self.world.millis(deadline);
            let answered = self.world.until_or(self.me(), end, news).await;
            let own_pauses = self.world.rules.own_pauses;
            if answered.is_none() && (finishing.is_over(self.instant(), deadline) || !own_pauses) {
                break;
            }
        }
        let silent: Vec<MemberId> = finishing
            .silent()
            .map(|index| members[usize::from(index)])
            .collect();
        let end = self.world.now() + LONGEST.as_millis() as u64;
        let rid = || self.are_gone(&gone).then_some(());
        let is_rid = self.world.until_or(self.me(), end, rid).await.is_some();
        match is_rid && self.expel(&silent).await {
            true => Some(finishing.incomplete()),
            false => None,
        }
    }
}

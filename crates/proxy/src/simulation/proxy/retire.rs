//! What was replaced or removed dies on the nodes.

use std::{rc::Rc, sync::Arc};

use infinicache_membership::{farewell::Farewell, patience::Patience};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId};

use super::{Object, Proxy, calls::Asking, key_bytes};
use crate::partings::OfKey;

impl Proxy {
    /// An object that was taken out of the catalog dies on its members; whether too few chunks
    /// are left that could be taken for a value.
    pub(super) async fn retire(self: &Rc<Self>, key: u8, object: &Object) -> bool {
        let held = object.held_by().collect();
        let farewell = self.part(key, object.write, object.data(), held);
        let request = |index| Request::Delete {
            chunk: object.chunk(index),
        };
        let let_go = |index, member| self.let_go(object.chunk(index), member);
        let is_gone = match self.world.rules.farewell {
            true => {
                self.persuade(farewell, object.parity(), request, let_go)
                    .await
            }
            false => true,
        };
        let is_gone = is_gone && self.settle(key).await;
        // Nobody reads it any more.
        self.free_held(object);
        is_gone
    }

    /// The same, without waiting for the members.
    pub(super) fn retire_unasked(self: &Rc<Self>, key: u8, object: &Object) {
        let held = object.held_by().collect();
        self.part(key, object.write, object.data(), held);
        self.free_held(object);
    }

    fn free_held(self: &Rc<Self>, object: &Object) {
        for (index, member) in object.held_by() {
            self.leave_free(object.chunk(index), member);
        }
    }

    /// What is left of a value goes; there may be nothing that has to.
    pub(super) fn part(
        &self,
        key: u8,
        write: WriteId,
        data: usize,
        holders: Vec<(u8, MemberId)>,
    ) -> Farewell<MemberId> {
        let (key, now) = (key_bytes(key), self.instant());
        let farewell = self.partings.begin(&key, write, data, holders, now);
        if let Some(of_key) = self.partings.of(&key) {
            self.conclude(&of_key);
        }
        farewell
    }

    /// Asks members for a change until the old state cannot be found any more; those that do not
    /// answer in time are expelled. Whether it cannot.
    pub(super) async fn persuade(
        self: &Rc<Self>,
        mut farewell: Farewell<MemberId>,
        parity: usize,
        request: impl Fn(u8) -> Request,
        acknowledged: impl Fn(u8, MemberId),
    ) -> bool {
        let is_over = |farewell: &Farewell<MemberId>| farewell.is_over(|it| self.may_count(it));
        let ask = |(index, member)| (index, member, self.asking(member, request(index)));
        let mut asking: Vec<(u8, MemberId, Asking)> = farewell.left().map(ask).collect();
        let mut patience = Patience::new(self.instant());
        while !is_over(&farewell) {
            let end = patience.ends(farewell.left().count(), parity);
            let step = || {
                let mut news = false;
                asking.retain_mut(|(index, member, asking)| {
                    let Some(reply) = self.go_on(asking) else {
                        return true;
                    };
                    // Whoever does not know the chunk does not hold it.
                    if matches!(reply, Some(Reply::Done { .. } | Reply::NotFound)) {
                        patience.heard(self.instant());
                        farewell.acknowledged(*index, *member);
                        acknowledged(*index, *member);
                        news = true;
                    }
                    false
                });
                (news || is_over(&farewell)).then_some(())
            };
            let ends = self.world.millis(end);
            let news = self.world.until_or(self.me(), ends, step).await;
            let own_pauses = self.world.rules.own_pauses;
            if news.is_none() && (patience.is_over(self.instant(), end) || !own_pauses) {
                break;
            }
        }
        if is_over(&farewell) {
            return true;
        }
        let silent: Vec<MemberId> = farewell.left().map(|(_, member)| member).collect();
        self.expel(&silent).await || is_over(&farewell)
    }

    /// Waits until no earlier value of a key can be found any more; whether that is so.
    pub(super) async fn settle(self: &Rc<Self>, key: u8) -> bool {
        let rules = &self.world.rules;
        let of_key = self.partings.of(&key_bytes(key));
        let Some(of_key) = of_key.filter(|_| rules.farewell && rules.earlier_farewells) else {
            return true;
        };
        let mut patience = Patience::new(self.instant());
        let mut left = of_key.left().len();
        loop {
            let end = patience.ends(left, self.world.parity);
            let concluded = || {
                let concluded = self.conclude(&of_key);
                let news = of_key.left().len() != left;
                (concluded || news).then_some(concluded)
            };
            let ends = self.world.millis(end);
            match self.world.until_or(self.me(), ends, concluded).await {
                Some(true) => return true,
                Some(false) => left = of_key.left().len(),
                None if patience.is_over(self.instant(), end) || !rules.own_pauses => break,
                None => {}
            }
        }
        self.give_up_waiting(&of_key).await
    }

    /// Expels who has not let go of a key's old values.
    pub(super) async fn give_up_waiting(self: &Rc<Self>, of_key: &Arc<OfKey>) -> bool {
        let expelled = self.expel(&of_key.left()).await;
        self.conclude(of_key) || expelled
    }

    /// A member let go of a chunk.
    pub(super) fn let_go(&self, chunk: ChunkId, member: MemberId) {
        self.partings
            .acknowledged(chunk, member, |it| self.may_count(it));
    }

    fn conclude(&self, of_key: &OfKey) -> bool {
        self.partings.conclude(of_key, |it| self.may_count(it))
    }

    /// A chunk was dropped from its value, and its member has yet to let go of it.
    pub(super) fn abandon(self: &Rc<Self>, chunk: ChunkId, member: MemberId) {
        self.stray(chunk, member);
        self.leave_free(chunk, member);
    }

    pub(super) fn stray(&self, chunk: ChunkId, member: MemberId) {
        if self.world.rules.strays {
            self.partings.stray(chunk, member);
        }
    }

    /// Has a member let go of a chunk, when there is time. One that is not linked is asked what
    /// it holds when it is.
    pub(super) fn leave_free(self: &Rc<Self>, chunk: ChunkId, member: MemberId) {
        self.leave(Request::Free { chunk }, chunk, member);
    }

    pub(super) fn leave(self: &Rc<Self>, request: Request, chunk: ChunkId, member: MemberId) {
        let proxy = self.clone();
        self.spawn(async move {
            let reply = proxy.call(member, request).await;
            if matches!(reply, Reply::Done { .. }) {
                proxy.let_go(chunk, member);
            }
        });
    }

    /// A value of which too few chunks are left is no key's any more.
    pub(super) fn give_up_lost(self: &Rc<Self>, key: u8, write: WriteId) {
        let Some(object) = self.object(key, write) else {
            return;
        };
        self.world
            .note(|| format!("proxy {} lost key {key}: {object:?}", self.id));
        self.state.borrow_mut().catalog.remove(&key);
        // A run whose members have turned to another has lost nothing that is still its own.
        let is_outranked = self.world.highest_epoch() > self.epoch.get();
        let mut history = self.world.history.borrow_mut();
        history.losses += u64::from(!is_outranked);
        history.may_vanish(key, object.id, self.world.now());
        drop(history);
        self.retire_unasked(key, &object);
    }
}

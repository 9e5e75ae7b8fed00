//! Repair and evacuation: values get back the chunks that they lack, or are about to.

use std::rc::Rc;

use infinicache_membership::label;
use infinicache_wire::{MemberId, Reply, Request};

use super::{Millis, Object, Proxy, key_bytes, unit};

/// How long a member may take to complete a chunk that is rebuilt.
const FINISH_DEADLINE: Millis = 2_000;

impl Proxy {
    /// Rebuilds what is missing, or on members that are about to go, for ever.
    pub(super) async fn repair(self: Rc<Self>) {
        loop {
            self.world.sleep(self.me(), 150).await;
            for (key, object, index) in self.endangered() {
                let proxy = self.clone();
                self.spawn(async move {
                    proxy.rebuild(key, &object, index).await;
                    proxy.change(key, object.write, |it| it.is_in_repair = false);
                });
            }
        }
    }

    /// Values that lack a chunk, or have one on a member that goes, and are in nobody's hands.
    fn endangered(&self) -> Vec<(u8, Object, u8)> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let goes = |id: &MemberId| state.members.get(id).is_some_and(|it| it.is_draining);
        let mut endangered = Vec::new();
        for (&key, object) in state.catalog.iter_mut().filter(|(_, it)| !it.is_in_repair) {
            let lacks = object.holders.iter().position(Option::is_none);
            let leaves = || {
                object
                    .holders
                    .iter()
                    .position(|it| it.as_ref().is_some_and(goes))
            };
            if let Some(index) = lacks.or_else(leaves) {
                object.is_in_repair = true;
                endangered.push((key, object.clone(), index as u8));
            }
        }
        endangered
    }

    /// Rebuilds one chunk on a member that holds none of the object, and enters it.
    async fn rebuild(self: &Rc<Self>, key: u8, object: &Object, index: u8) {
        let Some(value) = self.read(key, object).await else {
            return;
        };
        let draining = |id: &MemberId| {
            let state = self.state.borrow();
            state.members.get(id).is_some_and(|it| it.is_draining)
        };
        let staying = object.held_by().filter(|(_, id)| !draining(id));
        let taken = self.names(staying.map(|(_, id)| id));
        let Some(target) = self.world.pick(&self.usable(&taken)) else {
            return;
        };
        let length = object.geometry.unit_len(0, index.into());
        let put = Request::Put {
            chunk: object.chunk(index),
            unit: 0,
            checksum: 0,
            bytes: unit(value, index, length),
        };
        let is_whole = matches!(self.call(target, put).await, Reply::Done { .. });
        if !is_whole || !self.enter_rebuilt(key, object, index, target).await {
            self.abandon(object.chunk(index), target);
        }
    }

    /// Has a member complete a rebuilt chunk, and enters it, if the object is still the value of
    /// its key.
    async fn enter_rebuilt(
        self: &Rc<Self>,
        key: u8,
        object: &Object,
        index: u8,
        target: MemberId,
    ) -> bool {
        let rules = &self.world.rules;
        let mut turn = None;
        if rules.repair_if_current {
            turn = Some(self.turn(key).await);
            if self.object(key, object.write).is_none() {
                return false;
            }
        }
        if !self.counts(target) {
            return false;
        }
        let current = self.object(key, object.write);
        // There must be no moment at which the chunk has an earlier expiry.
        let labelled = current.filter(|_| rules.rebuilt_expiry);
        let labelled = labelled.as_ref().unwrap_or(object);
        let finish = Request::Finish {
            chunk: object.chunk(index),
            units: object.geometry.chunk_units(index.into()),
            label: label::encode(
                &key_bytes(key),
                &object.geometry,
                object.version,
                labelled.expiry(),
            ),
        };
        match self.call_within(target, finish, FINISH_DEADLINE).await {
            Reply::Done { .. } => {}
            Reply::Late | Reply::Unreachable => {
                self.expel(&[target]).await;
                return false;
            }
            _ => return false,
        }
        if !self.state.borrow().members.contains_key(&target) {
            return false;
        }
        let previous = self.change(key, object.write, |object| {
            object.holders[usize::from(index)].replace(target)
        });
        drop(turn);
        match previous {
            Some(Some(previous)) => self.abandon(object.chunk(index), previous),
            Some(None) => {}
            // It went meanwhile, and its last chunk with it.
            None => self.leave_free(object.chunk(index), target),
        }
        true
    }
}

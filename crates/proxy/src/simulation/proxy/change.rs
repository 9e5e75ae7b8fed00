//! DEL and EXPIRE, and what goes without being asked for.

use std::rc::Rc;

use infinicache_membership::{farewell::Farewell, patience::LONGEST};
use infinicache_wire::Request;

use super::{Answer, Millis, Proxy};

/// How often idle things are looked for.
const IDLE_TICK: Millis = 2_000;

impl Proxy {
    pub(super) async fn delete(self: &Rc<Self>, key: u8, ticket: u64) -> Answer {
        let _turn = self.turn(key).await;
        // They would be found when this one is gone.
        if self.world.rules.earlier_stay_covered && !self.settle(key).await {
            return Answer::Unsure;
        }
        let found = self.find(key);
        self.world
            .note(|| format!("{ticket}: deletes {:?}", found.as_ref().map(|it| it.write)));
        let is_gone = match &found {
            Some(object) => {
                self.state.borrow_mut().catalog.remove(&key);
                self.retire(key, object).await
            }
            // One that was evicted may not be gone yet.
            None => self.settle(key).await,
        };
        match found {
            _ if !is_gone || !self.still_in_charge() => Answer::Unsure,
            Some(_) => Answer::Done,
            None => Answer::Absent,
        }
    }

    pub(super) async fn expire(self: &Rc<Self>, key: u8, at: u64, ticket: u64) -> Answer {
        let _turn = self.turn(key).await;
        let Some(found) = self.find(key) else {
            return match self.still_in_charge() {
                true => Answer::Absent,
                false => Answer::Failed,
            };
        };
        // They would be found when this one has expired.
        if self.world.rules.earlier_stay_covered && !self.settle(key).await {
            return Answer::Unsure;
        }
        let expires_at = Some(at).filter(|at| *at > 0);
        let changed = self.change(key, found.write, |object| {
            object.expires_at = expires_at;
            object.expiry_sequence += 1;
            object.clone()
        });
        let Some(object) = changed else {
            return Answer::Failed;
        };
        self.world
            .note(|| format!("{ticket}: {} expires at {at}", object.write));
        let farewell = Farewell::new(object.data(), object.held_by());
        let request = |index| Request::Expire {
            chunk: object.chunk(index),
            expiry: object.expiry(),
        };
        let is_told = match self.world.rules.expiry_acknowledged {
            true => {
                self.persuade(farewell, object.parity(), request, |_, _| ())
                    .await
            }
            false => {
                for (index, member) in object.held_by() {
                    self.send(member, request(index));
                }
                true
            }
        };
        match is_told && self.still_in_charge() {
            true => Answer::Done,
            false => Answer::Unsure,
        }
    }

    /// Takes a value out now and then, and those that have expired; and gives up members that
    /// keep what was removed from being gone for good.
    pub(super) async fn tidy(self: Rc<Self>) {
        let mut idle_at = self.world.now();
        loop {
            self.world.sleep(self.me(), 100).await;
            let keys: Vec<u8> = self.state.borrow().catalog.keys().copied().collect();
            for &key in &keys {
                if self.find(key).is_none() {
                    self.evict(key, "expired");
                }
            }
            if !self.world.is_calm.get()
                && self.world.chance(1)
                && let Some(key) = self.world.pick(&keys)
                && !self.covers_others(key)
            {
                self.evict(key, "evicted");
            }
            let now = self.world.now();
            if now >= idle_at + IDLE_TICK {
                idle_at = now;
                self.give_up_overdue();
            }
        }
    }

    /// Whether the value of a key covers earlier ones that might be found in its place.
    fn covers_others(&self, key: u8) -> bool {
        let state = self.state.borrow();
        let is_changed = state.turns.get(&key).is_some_and(|it| !it.is_empty());
        let covers = is_changed || self.partings.has(&super::key_bytes(key));
        covers && self.world.rules.earlier_stay_covered
    }

    fn evict(self: &Rc<Self>, key: u8, why: &str) {
        let removed = self.state.borrow_mut().catalog.remove(&key);
        let Some(removed) = removed else { return };
        let write = removed.write;
        self.world
            .note(|| format!("proxy {}: {write} of {key} {why}", self.id));
        let mut history = self.world.history.borrow_mut();
        history.may_vanish(key, removed.id, self.world.now());
        drop(history);
        self.retire_unasked(key, &removed);
    }

    fn give_up_overdue(self: &Rc<Self>) {
        for key in 0..crate::simulation::KEYS {
            if let Some(of_key) = self.partings.of(&super::key_bytes(key))
                && of_key.is_overdue(self.instant(), LONGEST)
            {
                for (chunk, member) in of_key.chunks_left() {
                    self.leave(Request::Delete { chunk }, chunk, member);
                }
                let proxy = self.clone();
                self.spawn(async move {
                    proxy.give_up_waiting(&of_key).await;
                });
            }
        }
    }
}

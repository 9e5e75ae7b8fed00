//! GET: the first k chunks that belong together.

use std::rc::Rc;

use infinicache_wire::{MemberId, Reply, Request};

use super::{Answer, Millis, Object, Proxy, unit};

/// How long a read waits for members that do not answer.
const PATIENCE: Millis = 1_500;

impl Proxy {
    pub(super) async fn get(self: &Rc<Self>, key: u8) -> Answer {
        let Some(object) = self.find(key) else {
            return Answer::Absent;
        };
        match self.read(key, &object).await {
            Some(value) => Answer::Value(value),
            None => Answer::Failed,
        }
    }

    /// Reads k chunks.
    pub(super) async fn read(self: &Rc<Self>, key: u8, object: &Object) -> Option<u64> {
        let mut calls = Vec::new();
        for (index, member) in object.held_by() {
            let request = Request::Get {
                chunk: object.chunk(index),
                unit: 0,
                want: 1024,
            };
            let call = self.send(member, request);
            calls.extend(call.map(|call| (index, member, call)));
        }
        let mut values: Vec<u64> = Vec::new();
        let needed = object.data();
        let mut missing = Vec::new();
        let enough = || {
            calls.retain(|&(index, member, call)| match self.reply(call) {
                None => true,
                Some(Reply::Done { bytes, .. }) => {
                    values.push(self.value_of(object, index, &bytes));
                    false
                }
                Some(reply) => {
                    missing.extend((reply == Reply::NotFound).then_some((index, member)));
                    false
                }
            });
            (values.len() >= needed || calls.is_empty()).then_some(())
        };
        let end = self.world.now() + PATIENCE;
        self.world.until_or(self.me(), end, enough).await;
        for (index, member) in missing {
            self.give_up_chunk(key, object, index, member);
        }
        let first = values.first().copied().filter(|_| values.len() >= needed)?;
        if values.iter().any(|it| *it != first) {
            let violation = format!("{} is a mix of {values:?}", object.write);
            self.world.history.borrow_mut().violations.push(violation);
        }
        Some(first)
    }

    /// Which value a unit is of.
    fn value_of(&self, object: &Object, index: u8, bytes: &bytes::Bytes) -> u64 {
        let (head, _) = bytes.split_first_chunk().expect("a value's number");
        let value = u64::from_le_bytes(*head);
        if *bytes != unit(value, index, bytes.len()) {
            let violation = format!("chunk {index} of {} is another", object.write);
            self.world.history.borrow_mut().violations.push(violation);
        }
        value
    }

    /// A chunk is not where it should be.
    fn give_up_chunk(self: &Rc<Self>, key: u8, object: &Object, index: u8, member: MemberId) {
        let given_up = self.change(key, object.write, |object| {
            let holder = &mut object.holders[usize::from(index)];
            let is_holder = *holder == Some(member);
            *holder = holder.filter(|it| *it != member);
            is_holder
        });
        if given_up == Some(true) {
            self.abandon(object.chunk(index), member);
        }
    }
}

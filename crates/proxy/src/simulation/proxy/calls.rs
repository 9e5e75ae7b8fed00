//! Requests to members, and their answers.

use std::rc::Rc;

use infinicache_wire::{MemberId, Reply, Request};

use super::{Link, Millis, Proxy};
use crate::simulation::network::Frame;

/// How long an answer may take.
const CALL_DEADLINE: Millis = 10_000;

/// How long to wait before looking whether a broken link has been dialled anew.
const REDIALLING: Millis = 50;

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    number: u64,
    member: MemberId,
    link: Link,
    until: Millis,
}

/// A request that is repeated over each new link, until it is answered or the member is gone.
#[derive(Debug)]
pub(super) struct Asking {
    member: MemberId,
    request: Request,
    call: Option<Call>,
    again: Millis,
}

impl Proxy {
    pub(super) fn take_reply(&self, link: Link, number: u64, reply: Reply) {
        let now = self.instant();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let from = state
            .members
            .iter()
            .find(|(_, it)| it.link == Some(link))
            .map(|(id, member)| (*id, member.name));
        if let Some((id, name)) = from {
            state.lives[name].heard_of(id, now);
            state.replies.insert(number, reply);
        }
    }

    pub(super) fn link(&self, member: MemberId) -> Option<Link> {
        self.state.borrow().members.get(&member)?.link
    }

    /// Sends a member something, if there is a link to it.
    pub(super) fn send(&self, member: MemberId, request: Request) -> Option<Call> {
        let link = self.link(member)?;
        let number = self.next_count();
        let frame = Frame::Request(number, request);
        let mut network = self.world.network.borrow_mut();
        network.send(&self.world, self.me(), link, frame);
        let until = self.world.now() + CALL_DEADLINE;
        self.world.schedule(until, self.me(), super::Event::Timer);
        Some(Call {
            number,
            member,
            link,
            until,
        })
    }

    /// What became of a request, if anything has.
    pub(super) fn reply(&self, call: Call) -> Option<Reply> {
        if let Some(reply) = self.state.borrow_mut().replies.remove(&call.number) {
            return Some(reply);
        }
        if self.link(call.member) != Some(call.link) {
            return Some(Reply::Unreachable);
        }
        (self.world.now() >= call.until).then_some(Reply::Late)
    }

    /// Asks over the link that there is, and waits for the answer.
    pub(super) async fn call(self: &Rc<Self>, member: MemberId, request: Request) -> Reply {
        match self.send(member, request) {
            Some(call) => self.world.until(|| self.reply(call)).await,
            None => Reply::Unreachable,
        }
    }

    /// The same, for not as long.
    pub(super) async fn call_within(
        self: &Rc<Self>,
        member: MemberId,
        request: Request,
        patience: Millis,
    ) -> Reply {
        let Some(call) = self.send(member, request) else {
            return Reply::Unreachable;
        };
        let end = self.world.now() + patience;
        let reply = self.world.until_or(self.me(), end, || self.reply(call));
        reply.await.unwrap_or(Reply::Late)
    }

    pub(super) fn asking(&self, member: MemberId, request: Request) -> Asking {
        Asking {
            member,
            request,
            call: None,
            again: 0,
        }
    }

    /// Goes on asking; `Some(None)` once the member is gone for good.
    pub(super) fn go_on(&self, asking: &mut Asking) -> Option<Option<Reply>> {
        if !self.state.borrow().members.contains_key(&asking.member) {
            return Some(None);
        }
        let now = self.world.now();
        if let Some(call) = asking.call {
            match self.reply(call)? {
                Reply::Unreachable | Reply::Late => asking.call = None,
                reply => return Some(Some(reply)),
            }
        }
        if asking.call.is_none() && now >= asking.again {
            asking.call = self.send(asking.member, asking.request.clone());
            asking.again = now + REDIALLING;
            self.world
                .schedule(asking.again, self.me(), super::Event::Timer);
        }
        None
    }
}

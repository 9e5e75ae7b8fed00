//! Who dials in, and what their coming and going changes.

use std::rc::Rc;

use infinicache_wire::{
    InstanceId, LeaseTerms, MemberId, Reply, Request, handshake::Hello, roster::Testimony,
};

use super::{Link, Member, Proxy};
use crate::{nodes::life::Action, simulation::network::Frame};

impl Proxy {
    /// An instance says hello over a link.
    pub(super) fn admit(self: &Rc<Self>, link: Link, hello: &Hello, testimony: Testimony) {
        let name: usize = hello.node[1..].parse().expect("the number of a name");
        let (same, is_known) = {
            let state = &mut *self.state.borrow_mut();
            let same = state.lives[name]
                .member()
                .filter(|(_, instance)| *instance == hello.instance)
                .map(|(id, _)| id);
            let invitations = &mut state.invitations[name];
            let is_known = match same {
                Some(_) => invitations.admits_again(&hello.session, hello.instance),
                None => invitations.admits(&hello.session, hello.instance),
            };
            (same, is_known)
        };
        if !is_known || !self.outranks(hello.epoch) {
            let mut network = self.world.network.borrow_mut();
            return network.close(&self.world, self.me(), link);
        }
        let id = same.unwrap_or_else(|| MemberId(self.next_count() as u32));
        let is_new = same.is_none();
        let welcome = Frame::Welcome {
            epoch: self.epoch.get(),
            fresh: is_new && !self.is_recovering(),
        };
        let mut network = self.world.network.borrow_mut();
        network.send(&self.world, self.me(), link, welcome);
        drop(network);
        self.linked(id, name, hello.instance, link, is_new, testimony);
    }

    /// A run that has decided nothing yet goes on as one later than any it hears of; any other
    /// has been succeeded.
    fn outranks(&self, heard: u64) -> bool {
        // The same is what this run has told it before.
        if heard <= self.epoch.get() {
            return true;
        }
        if !self.is_recovering() {
            self.is_superseded.set(true);
            return false;
        }
        if self.epoch.exceed(heard) {
            self.world
                .note(|| format!("proxy {} rises to {:x}", self.id, self.epoch.get()));
            self.disown();
            self.hear_anew();
        }
        true
    }

    fn linked(
        self: &Rc<Self>,
        id: MemberId,
        name: usize,
        instance: InstanceId,
        link: Link,
        is_new: bool,
        testimony: Testimony,
    ) {
        let (replaced, action) = {
            let now = self.instant();
            let mut state = self.state.borrow_mut();
            let member = state.members.entry(id).or_insert(Member {
                name,
                instance,
                since: now,
                link: None,
                is_draining: false,
                suspected: 0,
            });
            let replaced = member.link.replace(link);
            (replaced, state.lives[name].joined(instance, id, now))
        };
        if let Some(replaced) = replaced {
            let mut network = self.world.network.borrow_mut();
            network.close(&self.world, self.me(), replaced);
        }
        if let Some(action) = action {
            self.act(name, action);
        }
        match (self.is_recovering(), is_new) {
            (true, _) if !self.world.rules.testimony_after_welcome => {
                self.hear(id, instance, name, testimony, self.epoch.get());
            }
            (true, _) => {
                let (proxy, epoch) = (self.clone(), self.epoch.get());
                self.spawn(async move { proxy.question(id, instance, name, epoch).await });
            }
            (false, true) if !self.world.rules.emptied_first => self.enrol(id),
            (false, true) => {
                let proxy = self.clone();
                self.spawn(async move { proxy.enrol_once_empty(id).await });
            }
            // What was under way when its link broke may or may not have reached it.
            (false, false) => self.returned(id),
        }
    }

    /// A ping, and what this run relies on when it is answered.
    pub(super) fn sign_of_life(&self) -> Request {
        let lease = LeaseTerms {
            ms: super::LEASE as u32,
            leads: self.may_answer(),
        };
        let now_ms = self.now_ms();
        Request::Ping { now_ms, lease }
    }

    /// A node hears from another run, of epoch `leader`, which leads.
    pub(super) fn led(&self, leader: u64) {
        let now = self.instant();
        let mut state = self.state.borrow_mut();
        match state.census.as_mut() {
            Some(census) => census.led(now),
            None if leader > self.epoch.get() => self.is_superseded.set(true),
            None => {}
        }
    }

    /// Lets the chunks of a new member count once it answers: by then it holds none.
    async fn enrol_once_empty(self: &Rc<Self>, id: MemberId) {
        let ping = self.sign_of_life();
        // If its link ends before, it is reconciled when it has another.
        if let Reply::Done { .. } = self.call(id, ping).await {
            self.enrol(id);
        }
    }

    /// Asks a member what it remembers of the runs before this one.
    async fn question(
        self: &Rc<Self>,
        id: MemberId,
        instance: InstanceId,
        name: usize,
        epoch: u64,
    ) {
        match self.call(id, Request::Recall).await {
            Reply::Done { bytes, .. } => {
                let testimony = Testimony::from_bytes(&bytes).expect("a testimony");
                self.hear(id, instance, name, testimony, epoch);
            }
            Reply::Late => self.cut(id),
            _ => {}
        }
    }

    fn hear(
        &self,
        id: MemberId,
        instance: InstanceId,
        name: usize,
        testimony: Testimony,
        epoch: u64,
    ) {
        let now = self.instant();
        let is_late = {
            let mut state = self.state.borrow_mut();
            state.told_ms = state.told_ms.max(testimony.told_ms);
            // Under an epoch that was too low it may have obeyed somebody else since.
            if let Some(census) = state.census.as_mut()
                && self.epoch.get() == epoch
            {
                let (node, pod) = (format!("n{name}"), instance.0.to_string());
                census.heard(&node, &pod, instance, testimony, now);
            }
            state.census.is_none()
        };
        if is_late {
            self.returned(id);
        }
    }

    /// Has every instance dial and tell anew.
    pub(super) fn hear_anew(&self) {
        let now = self.instant();
        let mut state = self.state.borrow_mut();
        if let Some(census) = state.census.as_mut() {
            census.begin_anew(now);
        }
        let all: Vec<MemberId> = state.members.keys().copied().collect();
        drop(state);
        all.into_iter().for_each(|id| self.cut(id));
    }

    /// Ends the link of a member.
    pub(super) fn cut(&self, id: MemberId) {
        let link = self.link(id);
        if let Some(link) = link {
            let mut network = self.world.network.borrow_mut();
            network.close(&self.world, self.me(), link);
            // It is told like anybody else.
            let (at, closed) = (self.world.now(), super::Event::Closed(link));
            self.world.schedule(at, self.me(), closed);
        }
    }

    /// A link has ended.
    pub(super) fn unlinked(self: &Rc<Self>, link: Link) {
        let now = self.instant();
        let (id, name, action, is_current) = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let mut members = state.members.iter_mut();
            let Some((&id, member)) = members.find(|(_, it)| it.link == Some(link)) else {
                return;
            };
            member.link = None;
            let life = &mut state.lives[member.name];
            let action = life.unlinked(id, now);
            let is_current = life.member().is_some_and(|(it, _)| it == id);
            (id, member.name, action, is_current)
        };
        match action {
            Some(action) => self.act(name, action),
            None if !is_current => self.act(name, Action::Lost(id)),
            None => {}
        }
    }
}

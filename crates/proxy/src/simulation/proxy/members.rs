//! Lives of nodes: pings, wakes, and who is lost.

use std::rc::Rc;

use infinicache_wire::{MemberId, Reply, Request};

use super::{HELD_UP, LEASE, Millis, News, Proxy, TICK};
use crate::{nodes::life::Action, tenure::lease::Right};

/// How long a member that is gone may take to be off the roster.
const LOSS_DEADLINE: Millis = 10_000;

impl Proxy {
    /// Tells the time to every life, for ever.
    pub(super) async fn live(self: Rc<Self>) {
        let mut last = self.world.now();
        loop {
            let now = self.world.now();
            let gap = (now - last).saturating_sub(TICK);
            last = now;
            if gap >= LEASE && self.is_unvouched() && self.world.rules.unvouched_for_a_lease_only {
                self.world
                    .note(|| format!("proxy {} is vouched for by nobody", self.id));
                return self.world.kill_proxy(self.id);
            }
            self.state.borrow_mut().beat = now;
            if gap >= HELD_UP && self.world.rules.own_pauses {
                let by = std::time::Duration::from_millis(gap);
                let lives = &mut self.state.borrow_mut().lives;
                lives.iter_mut().for_each(|life| life.held_up(by));
            }
            self.canvass();
            for name in 0..self.world.names {
                let actions = self.state.borrow_mut().lives[name].tick(self.instant(), true);
                for action in actions {
                    self.act(name, action);
                }
                self.want(name);
            }
            self.world.sleep(self.me(), TICK).await;
        }
    }

    /// Whether this run relies on nobody having had a reason to replace it.
    fn is_unvouched(&self) -> bool {
        self.state.borrow().enrolment.right() == Right::Unneeded
    }

    /// Wakes a name of which nobody is there.
    fn want(self: &Rc<Self>, name: usize) {
        let action = self.state.borrow_mut().lives[name].wanted(self.instant());
        if let Some(action) = action {
            self.act(name, action);
        }
    }

    pub(super) fn act(self: &Rc<Self>, name: usize, action: Action) {
        match action {
            Action::Wake => {
                let session = self.next_count();
                let invitations = &mut self.state.borrow_mut().invitations[name];
                invitations.begin(session.to_string());
                self.world.wake(name, self.id, session);
            }
            Action::Ping(id) => {
                let proxy = self.clone();
                self.spawn(async move { proxy.ping(id).await });
            }
            Action::Lost(id) => self.lose(id),
            Action::Vacate(id) => {
                if let Some(member) = self.state.borrow_mut().members.get_mut(&id) {
                    member.is_draining = true;
                }
            }
            // Nobody is preflighted, and no session ends.
            Action::KeepAwake | Action::Resume | Action::Preflight(..) | Action::NeverDialled => {}
        }
    }

    async fn ping(self: &Rc<Self>, id: MemberId) {
        let sent = self.world.now();
        let now_ms = self.now_ms();
        if let Reply::Done { .. } = self.call(id, Request::Ping { now_ms }).await {
            self.answered(id, sent);
        }
    }

    fn lose(self: &Rc<Self>, id: MemberId) {
        self.cut(id);
        let Some(member) = self.state.borrow_mut().members.remove(&id) else {
            return;
        };
        self.world
            .note(|| format!("proxy {} loses {}", self.id, member.instance));
        self.strike(id, !member.is_draining);
        self.state.borrow_mut().news.push_back(News::Lost(id));
    }

    /// Follows what happens to members, for ever.
    pub(super) async fn follow_members(self: Rc<Self>) {
        loop {
            let news = || self.state.borrow_mut().news.pop_front();
            match self.world.until(news).await {
                News::Returned(id) => {
                    let proxy = self.clone();
                    self.spawn(async move { proxy.take_back(id).await });
                }
                // What it held is lost to everybody only once nobody can believe it any more.
                News::Lost(id) => {
                    let end = self.world.now() + LOSS_DEADLINE;
                    let gone = || self.are_gone(&[id]).then_some(());
                    self.world.until_or(self.me(), end, gone).await;
                    self.partings.forget(id);
                    self.lose_member(id);
                }
            }
        }
    }

    /// Loses what a member held; values that lack too many chunks are lost altogether.
    pub(super) fn lose_member(self: &Rc<Self>, id: MemberId) {
        let mut lost = Vec::new();
        let mut state = self.state.borrow_mut();
        for (&key, object) in &mut state.catalog {
            let holders = object.holders.iter_mut();
            let mut lacks = false;
            for holder in holders.filter(|it| **it == Some(id)) {
                *holder = None;
                lacks = true;
            }
            if lacks && object.held_by().count() < object.data() {
                lost.push((key, object.write));
            }
        }
        drop(state);
        for (key, write) in lost {
            self.give_up_lost(key, write);
        }
    }
}

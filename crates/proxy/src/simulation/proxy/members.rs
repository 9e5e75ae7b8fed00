//! Lives of nodes: pings, wakes, and who is lost.

use std::{collections::BTreeSet, rc::Rc};

use infinicache_membership::{census::Census, lease::Right};
use infinicache_wire::{MemberId, Reply};

use super::{HELD_UP, LEASE, LOST_AFTER, Member, Millis, News, Proxy, TICK};
use crate::nodes::life::Action;

impl Proxy {
    /// Tells the time to every life, for ever.
    pub(super) async fn live(self: Rc<Self>) {
        let mut last = self.world.now();
        let mut fenced = 0;
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
            fenced = match self.fencing() {
                Some(limit) if fenced >= limit => return self.world.restart_proxy(self.id),
                Some(_) => fenced + TICK,
                None => 0,
            };
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

    /// For how long this run goes on though a node obeys a later one, if anything is wrong with it.
    fn fencing(&self) -> Option<Millis> {
        if !self.keeps_its_roster() || self.is_recovering() {
            return None;
        }
        if !self.may_answer() {
            return Some(LEASE);
        }
        let silent = self.silent();
        let is_split = silent.into_iter().any(|id| self.counts(id));
        is_split.then_some(LOST_AFTER)
    }

    /// Who was not heard of for so long that nothing should depend on it.
    fn silent(&self) -> BTreeSet<MemberId> {
        let now = self.instant();
        let state = self.state.borrow();
        let is_silent = |(id, member): &(&MemberId, &Member)| {
            let life = &state.lives[member.name];
            let is_current = life.member().is_some_and(|(it, _)| it == **id);
            !is_current || life.is_silent(now)
        };
        let silent = state.members.iter().filter(is_silent);
        silent.map(|(id, _)| *id).collect()
    }

    /// Whether there is a value that has too few chunks without a member and those `silent`.
    fn needs(&self, id: MemberId, silent: &BTreeSet<MemberId>) -> bool {
        let is_left = |holder: MemberId| holder != id && !silent.contains(&holder);
        let state = self.state.borrow();
        let mut objects = state.catalog.values();
        objects.any(|object| {
            let is_held = object.held_by().any(|(_, holder)| holder == id);
            let left = object.held_by().filter(|(_, holder)| is_left(*holder));
            is_held && left.count() < object.data()
        })
    }

    /// Loses a member that is silent, if every value can do without it.
    fn settle_suspicion(self: &Rc<Self>, id: MemberId) {
        let silent = self.silent();
        if !self.needs(id, &silent) && self.may_answer() && !self.keeps_its_roster() {
            self.lose_in_silence(id);
        }
    }

    /// Loses a member, unless it was heard of meanwhile.
    fn lose_in_silence(self: &Rc<Self>, id: MemberId) {
        let name = self.state.borrow().members.get(&id).map(|it| it.name);
        let Some(name) = name else { return };
        let now = self.instant();
        let is_lost = {
            let life = &mut self.state.borrow_mut().lives[name];
            match life.member() {
                Some((current, _)) if current == id => life.lost_in_silence(id, now),
                _ => true,
            }
        };
        if is_lost {
            self.act(name, Action::Lost(id));
        }
    }

    /// A member is silent.
    fn suspect(self: &Rc<Self>, id: MemberId) {
        if !self.world.rules.silence_is_no_loss {
            return self.lose_in_silence(id);
        }
        let now = self.world.now();
        let mut state = self.state.borrow_mut();
        if let Some(member) = state.members.get_mut(&id)
            && (member.suspected == 0 || now >= member.suspected + LOST_AFTER)
        {
            member.suspected = now;
            state.news.push_back(News::Suspected(id));
        }
    }

    /// Whether this run relies on nobody having had a reason to replace it.
    fn is_unvouched(&self) -> bool {
        self.state.borrow().enrolment.right() == Right::Unneeded
    }

    /// Wakes a name of which nobody is there, unless there is nobody to be heard.
    fn want(self: &Rc<Self>, name: usize) {
        let is_absent = |census: &Census| census.is_absent(&format!("n{name}"));
        if self.state.borrow().census.as_ref().is_some_and(is_absent) {
            return;
        }
        let action = self.state.borrow_mut().lives[name].wanted(self.instant());
        if let Some(action) = action {
            self.act(name, action);
        }
    }

    pub(super) fn act(self: &Rc<Self>, name: usize, action: Action) {
        match action {
            Action::Wake => {
                let new = self.next_count();
                let session = {
                    let invitations = &mut self.state.borrow_mut().invitations[name];
                    let session = invitations.begin(|| new.to_string());
                    session.parse().expect("a number")
                };
                self.world.wake(name, self.id, self.epoch.get(), session);
            }
            Action::Ping(id) => {
                let proxy = self.clone();
                self.spawn(async move { proxy.ping(id).await });
            }
            Action::Suspect(id) => self.suspect(id),
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
        if let Reply::Done { .. } = self.call(id, self.sign_of_life()).await {
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
                News::Suspected(id) => self.settle_suspicion(id),
                // What it held is lost to everybody only once nobody can believe it any more.
                News::Lost(id) => {
                    let proxy = self.clone();
                    self.spawn(async move {
                        let gone = || proxy.are_gone(&[id]).then_some(());
                        if proxy.world.rules.loss_in_force {
                            proxy.world.until(gone).await;
                        }
                        proxy.partings.forget(id);
                        proxy.lose_member(id);
                    });
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

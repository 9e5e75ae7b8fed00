//! Whose chunks count, kept with members over links: the roster and the lease.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use infinicache_membership::{
    absence::{Absence, Outcome},
    lease::{Lease, Right},
    roster::Roster,
};
use infinicache_wire::{
    InstanceId, MemberId, Reply, Request, Roster as Document, RosterId, roster::Entry,
};

use super::{LEASE, LOST_AFTER, Member, Millis, News, Proxy};
use crate::simulation::{faults::Faults, world::World};

/// How much longer an expulsion may take to be in force than a silent member to be lost.
const EXPULSION_MARGIN: Millis = 3_000;

pub(super) struct Enrolment {
    pub(super) roster: Roster<InstanceId>,
    pub(super) lease: Lease<InstanceId>,
    /// The instances behind members, for as long as they may count.
    instances: BTreeMap<MemberId, InstanceId>,
    asking: BTreeSet<(InstanceId, u64)>,
    absence: Absence<MemberId>,
    forced: u64,
}

impl Enrolment {
    pub(super) fn new(world: &World) -> Self {
        let parity = world.parity;
        let out = match world.rules.no_more_expelled_than_parity {
            true => parity,
            false => usize::MAX,
        };
        Self {
            roster: Roster::new(parity),
            lease: Lease::new(Duration::from_millis(LEASE)),
            instances: BTreeMap::new(),
            asking: BTreeSet::new(),
            absence: Absence::new(out),
            forced: 0,
        }
    }

    pub(super) fn right(&self) -> Right {
        self.lease.right(self.roster.members())
    }

    fn may_count(&self, id: MemberId) -> bool {
        let instance = self.instances.get(&id);
        let may_count = instance.is_some_and(|instance| self.roster.may_count(*instance));
        may_count || self.absence.is_returning(id)
    }

    fn enter(&mut self, id: MemberId, member: &Member) {
        self.instances.insert(id, member.instance);
        self.lease.heard(member.instance, member.since);
        self.roster.join(member.instance);
    }
}

impl Proxy {
    pub(super) fn has_members(&self) -> bool {
        !self.state.borrow().enrolment.roster.members().is_empty()
    }

    /// Whether the chunks of a member count.
    pub(super) fn counts(&self, id: MemberId) -> bool {
        let state = self.state.borrow();
        let member = state.members.get(&id);
        let in_force = member.is_some_and(|it| state.enrolment.roster.contains(it.instance));
        in_force || !self.world.rules.holders_in_force
    }

    /// Whether the chunks of a member count, or may come to.
    pub(super) fn may_count(&self, id: MemberId) -> bool {
        let enrolment = &self.state.borrow().enrolment;
        if !self.world.rules.expulsion_in_force && enrolment.absence.is_out(id) {
            return false;
        }
        enrolment.may_count(id)
    }

    /// Begins with the members that a run before had: those of `heard` are linked, the others gone.
    pub(super) fn succeed(self: &Rc<Self>, last: &Document, heard: &[MemberId]) {
        {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let instances = |entries: &[Entry]| entries.iter().map(|it| it.instance).collect();
            let (members, before) = (instances(&last.members), instances(&last.before));
            let enrolment = &mut state.enrolment;
            enrolment.roster.succeed(members, before);
            let heard: Vec<(MemberId, Member)> = heard
                .iter()
                .filter_map(|id| Some((*id, state.members.get(id)?.clone())))
                .collect();
            for entry in last.members.iter().chain(&last.before) {
                if !heard.iter().any(|(_, it)| it.instance == entry.instance) {
                    enrolment.roster.lost(entry.instance);
                }
            }
            for (id, member) in &heard {
                enrolment.enter(*id, member);
            }
        }
        self.advance();
    }

    /// What this run went by is out of date, for there was another since.
    pub(super) fn disown(&self) {
        if self.world.rules.evidence_of_one_epoch {
            let enrolment = &mut self.state.borrow_mut().enrolment;
            enrolment.roster.disown();
            enrolment.instances.clear();
        }
    }

    /// The chunks of an instance that has none shall count.
    pub(super) fn enrol(self: &Rc<Self>, id: MemberId) {
        self.enter(id);
        self.advance();
    }

    /// A member that holds what is listed, and nothing else.
    fn enter(&self, id: MemberId) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if let Some(member) = state.members.get(&id) {
            let instances = &mut state.enrolment.instances;
            // What its instance held as another member is gone.
            instances.retain(|_, instance| *instance != member.instance);
            state.enrolment.enter(id, member);
        }
    }

    /// The chunks of a member shall count again, if it `fits` the metadata and was not expelled
    /// meanwhile.
    pub(super) fn enrol_again(self: &Rc<Self>, id: MemberId, fits: bool) -> Outcome {
        let outcome = {
            let absence = &mut self.state.borrow_mut().enrolment.absence;
            absence.concluded(id, fits)
        };
        if outcome == Outcome::Joins {
            self.enter(id);
        }
        self.advance();
        outcome
    }

    /// The chunks of `members` shall count no longer; whether that is in force in time.
    pub(super) async fn expel(self: &Rc<Self>, members: &[MemberId]) -> bool {
        let members: Vec<MemberId> = members
            .iter()
            .copied()
            .filter(|id| self.may_count(*id))
            .collect();
        let members = &members[..];
        if members.is_empty() {
            return true;
        }
        if self.keeps_its_roster() {
            return false;
        }
        {
            let state = &mut *self.state.borrow_mut();
            let enrolment = &mut state.enrolment;
            // Who is gone has no place among those that may come back.
            let is_there = |id: &MemberId| state.members.contains_key(id);
            let there: Vec<_> = members.iter().copied().filter(is_there).collect();
            let stays = |id: &MemberId| !state.members[id].is_draining;
            let staying: Vec<_> = there.iter().copied().filter(stays).collect();
            let expelled = match enrolment.absence.expel(&there) {
                Ok(()) => there,
                Err(_) if enrolment.absence.expel(&staying).is_ok() => staying,
                Err(_) => return false,
            };
            for id in &expelled {
                if let Some(instance) = enrolment.instances.get(id).copied() {
                    self.world
                        .note(|| format!("proxy {} expels {instance}", self.id));
                    enrolment.roster.expel(instance);
                }
            }
        }
        self.advance();
        let end = self.world.now() + LOST_AFTER + EXPULSION_MARGIN;
        let gone = || self.are_gone(members).then_some(());
        let gone = self.world.until_or(self.me(), end, gone);
        gone.await.is_some()
    }

    /// Whether none of `members` can come to count.
    pub(super) fn are_gone(&self, members: &[MemberId]) -> bool {
        !members.iter().any(|id| self.may_count(*id))
    }

    /// A member is gone for good.
    pub(super) fn strike(self: &Rc<Self>, id: MemberId, silently: bool) {
        {
            let mut state = self.state.borrow_mut();
            let enrolment = &mut state.enrolment;
            enrolment.absence.gone(id);
            let Some(instance) = enrolment.instances.get(&id).copied() else {
                return;
            };
            enrolment.roster.lost(instance);
            match silently && self.world.rules.bereft {
                true => enrolment.lease.lost(instance),
                false => enrolment.lease.forget(instance),
            }
        }
        self.advance();
    }

    /// A member answered a ping that was sent at `sent`.
    pub(super) fn answered(&self, id: MemberId, sent: Millis) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(member) = state.members.get(&id) else {
            return;
        };
        let enrolment = &mut state.enrolment;
        let sent = self.world.instant(sent);
        enrolment.lease.heard(member.instance, sent);
        let is_known = enrolment.instances.contains_key(&id);
        // Not before it is out: what relies on that may still be acknowledged.
        let counts = enrolment.roster.may_count(member.instance);
        let is_out = match self.world.rules.return_after_expulsion {
            true => !counts,
            false => !counts || enrolment.absence.is_out(id),
        };
        let may_join = is_known && is_out && !member.is_draining;
        if enrolment.absence.answered(id, may_join) {
            state.news.push_back(News::Returned(id));
        }
    }

    /// A member is linked again.
    pub(super) fn returned(&self, id: MemberId) {
        let mut state = self.state.borrow_mut();
        if state.enrolment.absence.returned(id) {
            state.news.push_back(News::Returned(id));
        }
    }

    /// Whether a node obeys a later run.
    pub(super) fn keeps_its_roster(&self) -> bool {
        self.is_superseded() && self.world.rules.superseded_keeps_its_roster
    }

    /// Asks whoever has not stored the roster that is proposed, and is linked.
    pub(super) fn canvass(self: &Rc<Self>) {
        if self.keeps_its_roster() {
            return;
        }
        let mut asked = Vec::new();
        let document = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Some((proposal, to)) = state.enrolment.roster.to_send() else {
                return;
            };
            let before = state.enrolment.roster.members().iter().copied();
            let document = self.document(proposal.number, proposal.members.iter().copied(), before);
            for instance in to {
                let linked =
                    |it: &(&MemberId, &Member)| it.1.instance == instance && it.1.link.is_some();
                if let Some((&id, _)) = state.members.iter().find(linked)
                    && state
                        .enrolment
                        .asking
                        .insert((instance, document.id.number))
                {
                    asked.push((id, instance));
                }
            }
            document
        };
        for (id, instance) in asked {
            let (proxy, document) = (self.clone(), document.clone());
            self.spawn(async move {
                let number = document.id.number;
                let reply = proxy.call(id, Request::Roster(document)).await;
                {
                    let mut state = proxy.state.borrow_mut();
                    let enrolment = &mut state.enrolment;
                    enrolment.asking.remove(&(instance, number));
                    if matches!(reply, Reply::Done { .. }) {
                        enrolment.roster.stored(instance, number);
                        if !proxy.world.rules.roster_quorum {
                            let all = enrolment.roster.to_send().map(|it| it.1);
                            for other in all.into_iter().flatten() {
                                enrolment.roster.stored(other, number);
                            }
                        }
                    }
                }
                proxy.advance();
            });
        }
    }

    /// Goes on with the roster after something has changed.
    fn advance(self: &Rc<Self>) {
        if self.keeps_its_roster() {
            return;
        }
        let settled = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            if !state.enrolment.roster.advance() {
                None
            } else {
                let enrolment = &mut state.enrolment;
                let roster = &enrolment.roster;
                enrolment.instances.retain(|id, instance| {
                    roster.may_count(*instance) || state.members.contains_key(id)
                });
                self.world.note(|| {
                    let (id, members) = (self.id, roster.members());
                    format!("proxy {id} has {members:?}, sends {:?}", roster.to_send())
                });
                if roster.forced() > std::mem::replace(&mut enrolment.forced, roster.forced()) {
                    let mut history = self.world.history.borrow_mut();
                    history.forced += 1;
                    if self.world.faults != Faults::Within {
                        history.all_may_vanish(self.world.now());
                    }
                }
                let members = roster.members().iter().copied();
                let is_settled = roster.to_send().is_none();
                is_settled.then(|| self.document(roster.number(), members, []))
            }
        };
        // That it is in force need not reach everybody: it spares a later run a question.
        if let Some(document) = settled {
            let all: Vec<MemberId> = self.state.borrow().members.keys().copied().collect();
            for id in all {
                self.send(id, Request::Roster(document.clone()));
            }
        }
        self.canvass();
    }

    fn document(
        &self,
        number: u64,
        members: impl IntoIterator<Item = InstanceId>,
        before: impl IntoIterator<Item = InstanceId>,
    ) -> Document {
        let entry = |instance: InstanceId| Entry {
            node: format!("n{}", self.world.named.borrow()[&(instance.0 as u32)]),
            instance,
        };
        Document {
            id: RosterId {
                epoch: self.epoch.get(),
                number,
            },
            parity: self.world.parity,
            members: members.into_iter().map(entry).collect(),
            before: before.into_iter().map(entry).collect(),
        }
    }
}

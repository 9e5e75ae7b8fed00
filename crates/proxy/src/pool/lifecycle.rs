//! The lifecycle of one node, as the pool sees it: a pure state machine.
//!
//! ```text
//!              wanted                    joined
//!   Asleep ────────────▶ Waking ───────────────────▶ Active
//!     ▲                    │ failed                    │ leaving        ▲
//!     │◀───────────────────┘                           ▼                │ joined (a newer instance)
//!     │                                             Draining ───────────┘
//!     └──────────── lost (replaced, gone, or silent and not needed) ◀──┘
//! ```
//!
//! Events and the time come in, actions go out. A member whose link broke stays a member
//! for a while: its process may be alive and dial again. It is woken at once, which tells: a live
//! process dials back, a dead one is replaced by a new instance, and then the old one's chunks are
//! lost.
//!
//! A member that is relied on after it was silent for a while is pinged first;
//! if nothing comes back in time it is woken as if its link had broken, but the
//! link stays, for it may only have been slow. One whose session is over *rests*:
//! it serves as before, but nothing keeps its platform from stopping it, so it is
//! woken, in the background, when it is relied on next.
//!
//! Silence is no death: a host that pauses, or a network that breaks, gives its
//! members back. A member that is silent for a while is *suspected*, and lost if
//! the pool can do without it (`pool::suspicion`); otherwise only once it was
//! silent for so long that it is taken for dead.

mod current_member;
mod timings;
mod wake_backoff;
mod wakes_under_way;

use std::time::{Duration, Instant};

use infinicache_wire::{
    InstanceId, MemberId,
    control::{NodeState, WakeFailure},
};

pub(crate) use self::timings::LifecycleTimings;
use self::{
    current_member::CurrentMember, wake_backoff::WakeBackoff, wakes_under_way::WakesUnderWay,
};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifecycleAction {
    /// POST a wake with a new session.
    Wake,
    /// POST a wake with the session that the member has.
    KeepAwake,
    /// The same, because the member rests and is relied on.
    Resume,
    /// Send a PING to the member.
    Ping(MemberId),
    /// Send a PING that tells whether the member can be relied on.
    Preflight(MemberId, Instant),
    /// A wake was accepted, but no instance dialled back: that is to be reported.
    NeverDialled,
    /// The member is silent: it is lost if the pool can do without it.
    Suspect(MemberId),
    /// The member is gone, with all that it held.
    Lost(MemberId),
    /// The member has a successor: what it holds is to be moved away.
    Evacuate(MemberId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifecyclePhase {
    Asleep,
    Waking,
    Member(CurrentMember),
}

/// The life of one node.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    timing: LifecycleTimings,
    phase: LifecyclePhase,
    wakes: WakesUnderWay,
    backoff: WakeBackoff,
}

impl Lifecycle {
    /// A node that is asleep, as far as is known. `seed` spreads its attempts.
    pub(crate) fn new(timing: LifecycleTimings, seed: u64) -> Self {
        Self {
            timing,
            phase: LifecyclePhase::Asleep,
            wakes: WakesUnderWay::default(),
            backoff: WakeBackoff::new(timing.wake_backoff, seed),
        }
    }

    /// The state, in the words of the wire.
    pub(crate) fn state(&self) -> NodeState {
        match self.phase {
            LifecyclePhase::Asleep if self.backoff.has_failed() => NodeState::Lost,
            LifecyclePhase::Asleep => NodeState::Asleep,
            LifecyclePhase::Waking => NodeState::Waking,
            LifecyclePhase::Member(it) if it.is_draining() => NodeState::Draining,
            LifecyclePhase::Member(_) => NodeState::Active,
        }
    }

    /// The member behind the name, linked or not.
    pub(crate) fn current(&self) -> Option<&CurrentMember> {
        match &self.phase {
            LifecyclePhase::Member(it) => Some(it),
            _ => None,
        }
    }

    /// The same, if it is `member`: what is learnt of one that was replaced changes nothing here.
    pub(crate) fn current_if(&mut self, member: MemberId) -> Option<&mut CurrentMember> {
        match &mut self.phase {
            LifecyclePhase::Member(it) if it.id == member => Some(it),
            _ => None,
        }
    }

    /// The member that takes chunks, if it is linked.
    pub(crate) fn active(&self) -> Option<MemberId> {
        let active = self.current().filter(|it| it.takes_chunks());
        active.map(|it| it.id)
    }

    /// The wakes that failed.
    pub(crate) fn backoff(&self) -> &WakeBackoff {
        &self.backoff
    }

    /// Whether the member was heard of so lately that it can be relied on.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let freshness = self.timing.preflight_freshness;
        self.current().is_some_and(|it| now < it.heard + freshness)
    }

    /// Whether it is better not waited for: its wakes fail, or its member gives no sign of life.
    pub(crate) fn is_doubtful(&self, now: Instant) -> bool {
        self.backoff.has_failed() || (self.active().is_some() && !self.is_fresh(now))
    }

    /// Whether chunks can be placed on it, perhaps after a wake.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        // The name of one that goes can have a successor.
        self.active().is_some() || !self.backoff.waits(now)
    }

    /// The proxy itself was paused for so long: that nothing was heard of anybody meanwhile
    /// says nothing.
    pub(crate) fn held_up(&mut self, by: Duration) {
        if let LifecyclePhase::Member(it) = &mut self.phase {
            it.heard += by;
        }
        self.wakes.held_up(by);
    }

    /// A write wants to place chunks on it.
    pub(crate) fn wanted(&mut self, now: Instant) -> Option<LifecycleAction> {
        match self.phase {
            LifecyclePhase::Asleep => {
                let action = self.wake(now)?;
                self.phase = LifecyclePhase::Waking;
                Some(action)
            }
            LifecyclePhase::Member(it) if !it.takes_chunks() => self.wake(now),
            LifecyclePhase::Waking | LifecyclePhase::Member(_) => None,
        }
    }

    /// A request is about to rely on the member, and need not wait for what is to be done.
    pub(crate) fn relied_on(&mut self, now: Instant) -> Option<LifecycleAction> {
        let is_fresh = self.is_fresh(now);
        let may_renew = self.wakes.renewing.is_none() && !self.backoff.waits(now);
        let LifecyclePhase::Member(it) = &mut self.phase else {
            return None;
        };
        if !it.linked {
            return None;
        }
        if !is_fresh && it.preflight.is_none() {
            it.preflight = Some(now);
            it.pinged = now;
            return Some(LifecycleAction::Preflight(it.id, now));
        }
        let is_due = it.resting && !it.draining && may_renew;
        is_due.then(|| self.renew(now, LifecycleAction::Resume))
    }

    /// The member gives no sign of life, though its link seems to be there.
    pub(crate) fn doubted(&mut self, member: MemberId, now: Instant) -> Option<LifecycleAction> {
        let may_wake = self.active() == Some(member);
        may_wake.then(|| self.wake(now)).flatten()
    }

    /// Wakes the node for a new session, though its member may be there and is not to be relied on.
    fn wake(&mut self, now: Instant) -> Option<LifecycleAction> {
        if self.backoff.waits(now) || self.wakes.awaited.is_some() {
            return None;
        }
        self.wakes.await_instance(now);
        Some(LifecycleAction::Wake)
    }

    /// A wake for a new session failed.
    ///
    /// `false`, if none was under way any more: the node may have dialled before its platform
    /// gave up on its answer.
    pub(crate) fn wake_failed(&mut self, failure: WakeFailure, now: Instant) -> bool {
        let was_awaited = self.wakes.awaited.take().is_some();
        if was_awaited {
            if self.phase == LifecyclePhase::Waking {
                self.phase = LifecyclePhase::Asleep;
            }
            self.backoff.failed(failure, now);
        }
        was_awaited
    }

    /// A wake for the session that the member has was answered by it.
    pub(crate) fn renewed(&mut self) {
        self.wakes.renewing = None;
        self.backoff.succeeded();
    }

    /// A wake for the session that the member has failed: it is owed one.
    ///
    /// If another process answered in the member's place, with the member's session, the two could
    /// not be told apart by that, so the newer one gets a session of its own.
    pub(crate) fn renewal_failed(
        &mut self,
        failure: WakeFailure,
        now: Instant,
    ) -> Option<LifecycleAction> {
        self.wakes.renewing = None;
        if failure == WakeFailure::OtherInstance {
            self.backoff.reached_other();
            self.current()?;
            return self.wake(now);
        }
        if let LifecyclePhase::Member(it) = &mut self.phase {
            it.resting = true;
        }
        self.backoff.failed(failure, now);
        None
    }

    fn renew(&mut self, now: Instant, action: LifecycleAction) -> LifecycleAction {
        self.wakes.renew(now);
        if let LifecyclePhase::Member(it) = &mut self.phase {
            it.resting = false;
        }
        action
    }

    /// The response to a wake is held open for its session: nothing else is needed to keep
    /// the platform from stopping the node.
    pub(crate) fn held_open(&mut self) {
        self.wakes.hold();
    }

    /// A response that was held open has ended, whatever the reason.
    pub(crate) fn let_go(&mut self, now: Instant) {
        let is_last = self.wakes.let_go(now);
        if let LifecyclePhase::Member(it) = &mut self.phase
            && is_last
        {
            it.resting = true;
        }
    }

    /// The member said that its session is over.
    pub(crate) fn rests(&mut self, member: MemberId) {
        let is_renewing = self.wakes.renewing.is_some();
        if let Some(it) = self.current_if(member) {
            it.resting = !is_renewing;
        }
    }

    /// An instance dialled and proved itself: as `member`, unless it is the member that it was.
    ///
    /// What becomes of the member that it succeeds is returned: one that is linked goes on
    /// serving what it holds until that has moved, the chunks of any other are lost.
    pub(crate) fn joined(
        &mut self,
        instance: InstanceId,
        member: MemberId,
        now: Instant,
    ) -> Option<LifecycleAction> {
        let before = self.current().copied();
        let (same, other) = (
            before.filter(|old| old.id == member),
            before.filter(|old| old.id != member),
        );
        // Who is about to go stays so, whatever wakes it.
        let draining = same.is_some_and(|old| old.draining);
        self.phase = LifecyclePhase::Member(CurrentMember {
            draining,
            ..CurrentMember::linked(member, instance, now)
        });
        self.wakes.awaited = None;
        self.backoff.succeeded();
        if draining {
            // It was woken for a successor, and there is none yet.
            self.backoff.failed(WakeFailure::OtherInstance, now);
        }
        match other? {
            old if !old.linked => Some(LifecycleAction::Lost(old.id)),
            old if !old.draining => Some(LifecycleAction::Evacuate(old.id)),
            _ => None,
        }
    }

    /// The pool can do without a member that was suspected; whether it still is silent, and lost
    /// by that.
    pub(crate) fn lost_in_silence(&mut self, member: MemberId, now: Instant) -> bool {
        let lost_after = self.timing.lost_after;
        let is_lost = self
            .current_if(member)
            .is_some_and(|it| now >= it.heard + lost_after);
        if is_lost {
            self.phase = LifecyclePhase::Asleep;
        }
        is_lost
    }

    /// The member's link broke.
    pub(crate) fn unlinked(&mut self, member: MemberId, now: Instant) -> Option<LifecycleAction> {
        let it = self.current_if(member)?;
        it.linked = false;
        it.preflight = None;
        if it.said_bye {
            self.phase = LifecyclePhase::Asleep;
            return Some(LifecycleAction::Lost(member));
        }
        self.wanted(now)
    }

    /// Time has passed. `holds_data`: whether the member is needed for what it holds.
    pub(crate) fn tick(&mut self, now: Instant, holds_data: bool) -> Vec<LifecycleAction> {
        let mut actions = Vec::new();
        if self.wakes.is_overdue(now, self.timing.wake_deadline) {
            self.wake_failed(WakeFailure::NeverDialled, now);
            actions.push(LifecycleAction::NeverDialled);
        }
        let is_backed_off = self.backoff.waits(now);
        let timing = self.timing;
        let LifecyclePhase::Member(it) = &mut self.phase else {
            return actions;
        };
        let silence = now.saturating_duration_since(it.heard);
        if silence >= timing.dead_after {
            actions.push(LifecycleAction::Lost(it.id));
            self.phase = LifecyclePhase::Asleep;
            return actions;
        }
        let is_ping_due = it.linked && now >= it.pinged + timing.ping_every;
        if is_ping_due {
            it.pinged = now;
        }
        let it = *it;
        if silence >= timing.lost_after {
            actions.push(LifecycleAction::Suspect(it.id));
            // Its platform starts a successor if the process is gone, which tells that it is.
            if it.linked && holds_data {
                actions.extend(self.wake(now));
            }
        }
        if is_ping_due {
            actions.push(LifecycleAction::Ping(it.id));
        }
        // A wake that met the dying process was in vain. Until one succeeds it is not known
        // whether what the member holds is lost.
        if !it.linked && holds_data {
            actions.extend(self.wanted(now));
            return actions;
        }
        let is_due = self.wakes.is_renewal_due(now, timing.keep_awake_every);
        if it.takes_chunks() && holds_data && is_due && !is_backed_off {
            actions.push(self.renew(now, LifecycleAction::KeepAwake));
        }
        actions
    }
}

#[cfg(test)]
mod tests;

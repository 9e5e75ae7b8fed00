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

use std::time::{Duration, Instant};

use infinicache_backoff::Backoff;
use infinicache_wire::{
    InstanceId, MemberId,
    control::{NodeState, WakeFailure},
};

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifecycleTimings {
    /// A PING is sent this long after the last.
    pub(crate) ping_every: Duration,
    /// A member that was not heard of for this long is lost if the pool can do without it.
    pub(crate) lost_after: Duration,
    /// A member that was not heard of for this long is lost.
    pub(crate) dead_after: Duration,
    /// How long a woken node may take to dial back.
    pub(crate) wake_deadline: Duration,
    /// A member that was not heard of for this long is pinged before it is relied on.
    pub(crate) preflight_freshness: Duration,
    /// A failed wake is not repeated for about this long, doubled for each further failure.
    pub(crate) wake_backoff: Duration,
    /// A node with data is woken again this long after its last wake, or the platform would stop it.
    pub(crate) keep_awake_every: Duration,
}

impl LifecycleTimings {
    /// A member that was not heard of for this long may be about to be suspected: longer than
    /// between pings, so that it does not hold for one that is well.
    pub(crate) fn silent_after(&self) -> Duration {
        let two_pings = 2 * self.ping_every;
        (self.lost_after / 2).max(two_pings).min(self.lost_after)
    }
}

/// The longest wait after failed wakes.
const MOST_BACKOFF: Duration = Duration::from_secs(30);

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
    Waking { since: Instant },
    Member(CurrentMember),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CurrentMember {
    member: MemberId,
    instance: InstanceId,
    heard: Instant,
    pinged: Instant,
    linked: bool,
    draining: bool,
    /// It said so itself, and ends once its link does.
    said_bye: bool,
    /// Its session is over.
    resting: bool,
    /// When the preflight was sent that is under way.
    preflight: Option<Instant>,
}

/// The life of one node.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    timing: LifecycleTimings,
    phase: LifecyclePhase,
    /// A wake for a successor, while an older member is still there.
    replacing: Option<Instant>,
    woken: Option<Instant>,
    /// A wake for the session that the member has.
    renewing: Option<Instant>,
    /// Responses to wakes that are held open.
    held: u32,
    failures: u32,
    failure: Option<WakeFailure>,
    retry_at: Option<Instant>,
    random: u64,
}

impl Lifecycle {
    /// A node that is asleep, as far as is known. `seed` spreads its attempts.
    pub(crate) fn new(timing: LifecycleTimings, seed: u64) -> Self {
        Self {
            timing,
            phase: LifecyclePhase::Asleep,
            replacing: None,
            woken: None,
            renewing: None,
            held: 0,
            failures: 0,
            failure: None,
            retry_at: None,
            random: seed,
        }
    }

    /// The state, in the words of the wire.
    pub(crate) fn state(&self) -> NodeState {
        match self.phase {
            LifecyclePhase::Asleep if self.failures > 0 => NodeState::Lost,
            LifecyclePhase::Asleep => NodeState::Asleep,
            LifecyclePhase::Waking { .. } => NodeState::Waking,
            LifecyclePhase::Member(CurrentMember { draining: true, .. }) => NodeState::Draining,
            LifecyclePhase::Member(_) => NodeState::Active,
        }
    }

    /// The member that takes chunks, if it is linked.
    pub(crate) fn active(&self) -> Option<MemberId> {
        match self.phase {
            LifecyclePhase::Member(it) if it.linked && !it.draining => Some(it.member),
            _ => None,
        }
    }

    /// The member behind the name and its instance, linked or not.
    pub(crate) fn member(&self) -> Option<(MemberId, InstanceId)> {
        match self.phase {
            LifecyclePhase::Member(it) => Some((it.member, it.instance)),
            _ => None,
        }
    }

    /// When it was last heard of.
    pub(crate) fn heard(&self) -> Option<Instant> {
        match self.phase {
            LifecyclePhase::Member(it) => Some(it.heard),
            _ => None,
        }
    }

    /// Whether the member was heard of so lately that it can be relied on.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let fresh = |heard| now < heard + self.timing.preflight_freshness;
        self.heard().is_some_and(fresh)
    }

    /// Whether the member's session is over.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.phase, LifecyclePhase::Member(it) if it.resting)
    }

    /// Why the last wake failed, until one succeeds.
    pub(crate) fn failure(&self) -> Option<WakeFailure> {
        self.failure
    }

    /// Whether it is better not waited for: its wakes fail, or its member gives no sign of life.
    pub(crate) fn is_doubtful(&self, now: Instant) -> bool {
        self.failures > 0 || (self.active().is_some() && !self.is_fresh(now))
    }

    /// Whether chunks can be placed on it, perhaps after a wake.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        match self.phase {
            LifecyclePhase::Member(it) if it.linked && !it.draining => true,
            // The name of one that goes can have a successor.
            _ => !self.is_backed_off(now),
        }
    }

    /// Whether it takes chunks, or may come to: nothing says that its wakes are in vain.
    pub(crate) fn is_viable(&self) -> bool {
        let takes_chunks =
            matches!(self.phase, LifecyclePhase::Member(it) if it.linked && !it.draining);
        takes_chunks || self.failures == 0
    }

    fn is_backed_off(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    /// The proxy itself was paused for so long: that nothing was heard of anybody meanwhile
    /// says nothing.
    pub(crate) fn held_up(&mut self, by: Duration) {
        match &mut self.phase {
            LifecyclePhase::Member(it) => it.heard += by,
            LifecyclePhase::Waking { since } => *since += by,
            LifecyclePhase::Asleep => {}
        }
        for since in [&mut self.replacing, &mut self.renewing] {
            *since = since.map(|since| since + by);
        }
    }

    /// A write wants to place chunks on it.
    pub(crate) fn wanted(&mut self, now: Instant) -> Option<LifecycleAction> {
        if self.is_backed_off(now) || self.replacing.is_some() {
            return None;
        }
        match self.phase {
            LifecyclePhase::Asleep => self.phase = LifecyclePhase::Waking { since: now },
            LifecyclePhase::Member(it) if !it.linked || it.draining => self.replacing = Some(now),
            LifecyclePhase::Waking { .. } | LifecyclePhase::Member(_) => return None,
        }
        self.woken = Some(now);
        Some(LifecycleAction::Wake)
    }

    /// A request is about to rely on the member, and need not wait for what is to be done.
    pub(crate) fn relied_on(&mut self, now: Instant) -> Option<LifecycleAction> {
        let (is_fresh, is_backed_off) = (self.is_fresh(now), self.is_backed_off(now));
        let LifecyclePhase::Member(it) = &mut self.phase else {
            return None;
        };
        if !it.linked {
            return None;
        }
        if !is_fresh && it.preflight.is_none() {
            it.preflight = Some(now);
            it.pinged = now;
            return Some(LifecycleAction::Preflight(it.member, now));
        }
        if it.resting && !it.draining && self.renewing.is_none() && !is_backed_off {
            return Some(self.renew(now, LifecycleAction::Resume));
        }
        None
    }

    /// The preflight that was sent at `sent` was not answered in time; whether nothing else came
    /// either.
    pub(crate) fn unanswered(&mut self, member: MemberId, sent: Instant) -> bool {
        let Some(it) = self.current(member) else {
            return false;
        };
        let is_late = it.preflight == Some(sent);
        if is_late {
            it.preflight = None;
        }
        is_late
    }

    /// The member gives no sign of life, though its link seems to be there.
    pub(crate) fn doubted(&mut self, member: MemberId, now: Instant) -> Option<LifecycleAction> {
        let it = self.current(member)?;
        let may_wake = it.linked && !it.draining;
        may_wake.then(|| self.wake_replacement(now)).flatten()
    }

    /// Wakes a node whose member is there, but is not to be relied on.
    fn wake_replacement(&mut self, now: Instant) -> Option<LifecycleAction> {
        if self.is_backed_off(now) || self.replacing.is_some() {
            return None;
        }
        self.replacing = Some(now);
        self.woken = Some(now);
        Some(LifecycleAction::Wake)
    }

    /// A wake for a new session failed.
    ///
    /// `false`, if none was under way any more: the node may have dialled before its platform
    /// gave up on its answer.
    pub(crate) fn wake_failed(&mut self, failure: WakeFailure, now: Instant) -> bool {
        let was_waking = matches!(self.phase, LifecyclePhase::Waking { .. });
        if !was_waking && self.replacing.is_none() {
            return false;
        }
        if was_waking {
            self.phase = LifecyclePhase::Asleep;
        }
        self.replacing = None;
        self.back_off(failure, now);
        true
    }

    /// A wake for the session that the member has was answered by it.
    pub(crate) fn renewed(&mut self) {
        self.renewing = None;
        self.failures = 0;
        self.failure = None;
        self.retry_at = None;
    }

    /// A wake for the session that the member has failed: it is owed one.
    pub(crate) fn renewal_failed(&mut self, failure: WakeFailure, now: Instant) {
        self.renewing = None;
        if let LifecyclePhase::Member(it) = &mut self.phase {
            it.resting = true;
        }
        self.back_off(failure, now);
    }

    /// Another process answered in the member's place, with the member's session.
    ///
    /// The two could not be told apart by that, so the newer one gets a session of its own.
    pub(crate) fn replaced_by_other(&mut self, now: Instant) -> Option<LifecycleAction> {
        self.renewing = None;
        self.failure = Some(WakeFailure::OtherInstance);
        matches!(self.phase, LifecyclePhase::Member(_))
            .then(|| self.wake_replacement(now))
            .flatten()
    }

    fn back_off(&mut self, failure: WakeFailure, now: Instant) {
        // A node that another run leads is this one's as soon as that run has ended.
        let doublings = match failure {
            WakeFailure::OtherLeader => 1,
            _ => self.failures,
        };
        let backoff = Backoff::new(self.timing.wake_backoff, MOST_BACKOFF);
        self.retry_at = Some(now + backoff.jittered(doublings, self.random_bits()));
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure);
    }

    /// Other bits each time, and of each seed: the nodes of a platform that comes back are not all
    /// woken at once.
    fn random_bits(&mut self) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 32) as u32
    }

    fn renew(&mut self, now: Instant, action: LifecycleAction) -> LifecycleAction {
        self.renewing = Some(now);
        self.woken = Some(now);
        if let LifecyclePhase::Member(it) = &mut self.phase {
            it.resting = false;
        }
        action
    }

    /// The response to a wake is held open for its session: nothing else is needed to keep
    /// the platform from stopping the node.
    pub(crate) fn held_open(&mut self) {
        self.held += 1;
    }

    /// A response that was held open has ended, whatever the reason.
    pub(crate) fn let_go(&mut self, now: Instant) {
        self.held = self.held.saturating_sub(1);
        self.woken = Some(now);
        let is_last = self.held == 0 && self.renewing.is_none() && self.replacing.is_none();
        if let LifecyclePhase::Member(it) = &mut self.phase
            && is_last
        {
            it.resting = true;
        }
    }

    /// The member said that its session is over.
    pub(crate) fn rests(&mut self, member: MemberId) {
        let is_renewing = self.renewing.is_some();
        if let Some(it) = self.current(member) {
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
        let before = self.phase;
        // Who is about to go stays so, whatever wakes it.
        let draining =
            matches!(before, LifecyclePhase::Member(old) if old.member == member && old.draining);
        self.phase = LifecyclePhase::Member(CurrentMember {
            member,
            instance,
            heard: now,
            pinged: now,
            linked: true,
            draining,
            said_bye: false,
            resting: false,
            preflight: None,
        });
        self.replacing = None;
        self.failures = 0;
        self.failure = None;
        self.retry_at = None;
        if draining {
            // It was woken for a successor, and there is none yet.
            self.back_off(WakeFailure::OtherInstance, now);
        }
        match before {
            LifecyclePhase::Member(old) if old.member == member => None,
            LifecyclePhase::Member(old) if !old.linked => Some(LifecycleAction::Lost(old.member)),
            LifecyclePhase::Member(old) if !old.draining => {
                Some(LifecycleAction::Evacuate(old.member))
            }
            _ => None,
        }
    }

    /// Something came from the member, then; an answer to a preflight is as good as any other.
    pub(crate) fn heard_of(&mut self, member: MemberId, then: Instant) {
        if let Some(it) = self.current(member) {
            it.heard = it.heard.max(then);
            it.preflight = it.preflight.filter(|sent| *sent >= then);
        }
    }

    /// The member is about to go, as its platform says: its process may know nothing of it, and
    /// dial again if its link breaks.
    pub(crate) fn start_draining(&mut self, member: MemberId) {
        if let Some(it) = self.current(member) {
            it.draining = true;
        }
    }

    /// The member said itself that it is about to go.
    pub(crate) fn says_bye(&mut self, member: MemberId) {
        if let Some(it) = self.current(member) {
            it.draining = true;
            it.said_bye = true;
        }
    }

    /// Whether the member is the one behind the name, and is not known to be about to go.
    pub(crate) fn stays(&self, member: MemberId) -> bool {
        matches!(self.phase, LifecyclePhase::Member(it) if it.member == member && !it.draining)
    }

    /// Whether the member behind the name has given no sign of life for so long that it may be
    /// about to be suspected.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        let silent = |heard| now >= heard + self.timing.silent_after();
        self.heard().is_some_and(silent)
    }

    /// The pool can do without a member that was suspected; whether it still is silent, and lost
    /// by that.
    pub(crate) fn lost_in_silence(&mut self, member: MemberId, now: Instant) -> bool {
        let lost_after = self.timing.lost_after;
        let is_lost = self
            .current(member)
            .is_some_and(|it| now >= it.heard + lost_after);
        if is_lost {
            self.phase = LifecyclePhase::Asleep;
        }
        is_lost
    }

    /// The member's link broke.
    pub(crate) fn unlinked(&mut self, member: MemberId, now: Instant) -> Option<LifecycleAction> {
        let it = self.current(member)?;
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
        let overdue = |since: Instant| now >= since + self.timing.wake_deadline;
        let waking_overdue =
            matches!(self.phase, LifecyclePhase::Waking { since } if overdue(since));
        if waking_overdue || self.replacing.is_some_and(overdue) {
            self.wake_failed(WakeFailure::NeverDialled, now);
            actions.push(LifecycleAction::NeverDialled);
        }
        let is_backed_off = self.is_backed_off(now);
        let LifecyclePhase::Member(it) = &mut self.phase else {
            return actions;
        };

        if now >= it.heard + self.timing.dead_after {
            let lost = it.member;
            self.phase = LifecyclePhase::Asleep;
            actions.push(LifecycleAction::Lost(lost));
            return actions;
        }
        if now >= it.heard + self.timing.lost_after {
            let (member, is_linked) = (it.member, it.linked);
            actions.push(LifecycleAction::Suspect(member));
            // Its platform starts a successor if the process is gone, which tells that it is.
            if is_linked && holds_data {
                actions.extend(self.wake_replacement(now));
            }
        }
        let LifecyclePhase::Member(it) = &mut self.phase else {
            return actions;
        };
        if it.linked && now >= it.pinged + self.timing.ping_every {
            it.pinged = now;
            actions.push(LifecycleAction::Ping(it.member));
        }
        // A wake that met the dying process was in vain. Until one succeeds it is not known
        // whether what the member holds is lost.
        if !it.linked && holds_data {
            actions.extend(self.wanted(now));
            return actions;
        }
        let due = self
            .woken
            .is_none_or(|woken| now >= woken + self.timing.keep_awake_every);
        let is_free = self.held == 0 && self.renewing.is_none() && !is_backed_off;
        if it.linked && !it.draining && holds_data && due && is_free {
            actions.push(self.renew(now, LifecycleAction::KeepAwake));
        }
        actions
    }

    fn current(&mut self, member: MemberId) -> Option<&mut CurrentMember> {
        match &mut self.phase {
            LifecyclePhase::Member(it) if it.member == member => Some(it),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

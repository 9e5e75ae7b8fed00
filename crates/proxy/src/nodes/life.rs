//! The life of one node, as the pool sees it: a pure state machine.
//!
//! ```text
//!              wanted                    joined
//!   Asleep ────────────▶ Waking ───────────────────▶ Active
//!     ▲                    │ failed                    │ leaving        ▲
//!     │◀───────────────────┘                           ▼                │ joined (a newer instance)
//!     │                                             Draining ───────────┘
//!     └──────────── lost (silent or unlinked too long, or superseded) ◀─┘
//! ```
//!
//! It is told what happened and when, and says what to do. A member whose link
//! broke stays a member for a while: its process may be alive and dial again. It
//! is woken at once, which tells: a live process dials back, a dead one is
//! succeeded by a new instance, and then the old one's chunks are lost.

use std::time::{Duration, Instant};

use infinicache_wire::{InstanceId, MemberId, control::NodeState};

/// When to do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// A PING is sent this long after the last.
    pub(crate) ping_every: Duration,
    /// A member that was not heard of for this long is lost.
    pub(crate) lost_after: Duration,
    /// How long a woken node may take to dial back.
    pub(crate) wake_deadline: Duration,
    /// A failed wake is not repeated for this long, doubled for each further failure.
    pub(crate) wake_backoff: Duration,
    /// A node with data is woken again this long after its last wake, or the platform would stop it.
    pub(crate) keep_awake_every: Duration,
}

/// The longest back-off of failed wakes.
const MOST_BACKOFF: Duration = Duration::from_secs(30);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// POST a wake with a new session.
    Wake,
    /// POST a wake with the session that the member has.
    KeepAwake,
    /// Send a PING to the member.
    Ping(MemberId),
    /// The member is gone, with all that it held.
    Lost(MemberId),
    /// The member has a successor: what it holds is to be moved away.
    Vacate(MemberId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asleep,
    Waking { since: Instant },
    Member(Membership),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    member: MemberId,
    instance: InstanceId,
    heard: Instant,
    pinged: Instant,
    linked: bool,
    draining: bool,
}

/// The life of one node.
#[derive(Debug)]
pub(crate) struct Life {
    timing: Timing,
    phase: Phase,
    /// A wake for a successor, while an older member is still there.
    rousing: Option<Instant>,
    woken: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Life {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            phase: Phase::Asleep,
            rousing: None,
            woken: None,
            failures: 0,
            retry_at: None,
        }
    }

    /// The state in the words that everybody uses.
    pub(crate) fn state(&self) -> NodeState {
        match self.phase {
            Phase::Asleep if self.failures > 0 => NodeState::Lost,
            Phase::Asleep => NodeState::Asleep,
            Phase::Waking { .. } => NodeState::Waking,
            Phase::Member(Membership { draining: true, .. }) => NodeState::Draining,
            Phase::Member(_) => NodeState::Active,
        }
    }

    /// The member that takes chunks, if it is linked.
    pub(crate) fn active(&self) -> Option<MemberId> {
        match self.phase {
            Phase::Member(it) if it.linked && !it.draining => Some(it.member),
            _ => None,
        }
    }

    /// The member behind the name and its instance, linked or not.
    pub(crate) fn member(&self) -> Option<(MemberId, InstanceId)> {
        match self.phase {
            Phase::Member(it) => Some((it.member, it.instance)),
            _ => None,
        }
    }

    /// When it was last heard of.
    pub(crate) fn heard(&self) -> Option<Instant> {
        match self.phase {
            Phase::Member(it) => Some(it.heard),
            _ => None,
        }
    }

    /// Whether chunks can be placed on it, perhaps after a wake.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Member(it) if it.linked => !it.draining,
            _ => self.retry_at.is_none_or(|at| at <= now),
        }
    }

    /// Somebody wants to place chunks on it.
    pub(crate) fn wanted(&mut self, now: Instant) -> Option<Action> {
        if self.retry_at.is_some_and(|at| at > now) || self.rousing.is_some() {
            return None;
        }
        match self.phase {
            Phase::Asleep => self.phase = Phase::Waking { since: now },
            Phase::Member(it) if !it.linked || it.draining => self.rousing = Some(now),
            Phase::Waking { .. } | Phase::Member(_) => return None,
        }
        self.woken = Some(now);
        Some(Action::Wake)
    }

    /// A wake was refused, or could not be delivered.
    pub(crate) fn wake_failed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Waking { .. }) {
            self.phase = Phase::Asleep;
        }
        self.rousing = None;
        let backoff = self.timing.wake_backoff * 2u32.saturating_pow(self.failures.min(16));
        self.retry_at = Some(now + backoff.min(MOST_BACKOFF));
        self.failures += 1;
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
    ) -> Option<Action> {
        let before = self.phase;
        self.phase = Phase::Member(Membership {
            member,
            instance,
            heard: now,
            pinged: now,
            linked: true,
            draining: false,
        });
        self.rousing = None;
        self.failures = 0;
        self.retry_at = None;
        match before {
            Phase::Member(old) if old.member == member => None,
            Phase::Member(old) if !old.linked => Some(Action::Lost(old.member)),
            Phase::Member(old) if !old.draining => Some(Action::Vacate(old.member)),
            _ => None,
        }
    }

    /// The member answered.
    pub(crate) fn heard_of(&mut self, member: MemberId, now: Instant) {
        if let Some(it) = self.membership(member) {
            it.heard = now;
        }
    }

    /// The member said that it is about to go.
    pub(crate) fn leaving(&mut self, member: MemberId) {
        if let Some(it) = self.membership(member) {
            it.draining = true;
        }
    }

    /// The member's link broke.
    pub(crate) fn unlinked(&mut self, member: MemberId, now: Instant) -> Option<Action> {
        let it = self.membership(member)?;
        it.linked = false;
        if it.draining {
            self.phase = Phase::Asleep;
            return Some(Action::Lost(member));
        }
        self.wanted(now)
    }

    /// Time has passed. `holds_data`: whether the member is needed for what it holds.
    pub(crate) fn tick(&mut self, now: Instant, holds_data: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        let overdue = |since: Instant| now >= since + self.timing.wake_deadline;
        let waking_overdue = matches!(self.phase, Phase::Waking { since } if overdue(since));
        if waking_overdue || self.rousing.is_some_and(overdue) {
            self.wake_failed(now);
        }
        let Phase::Member(it) = &mut self.phase else {
            return actions;
        };

        if now >= it.heard + self.timing.lost_after {
            let lost = it.member;
            self.phase = Phase::Asleep;
            return vec![Action::Lost(lost)];
        }
        if it.linked && now >= it.pinged + self.timing.ping_every {
            it.pinged = now;
            actions.push(Action::Ping(it.member));
        }
        // A wake that met the dying process was in vain. Until one succeeds nobody knows
        // whether what the member holds is lost.
        if !it.linked && holds_data {
            actions.extend(self.wanted(now));
            return actions;
        }
        let due = self
            .woken
            .is_none_or(|woken| now >= woken + self.timing.keep_awake_every);
        if it.linked && !it.draining && holds_data && due {
            self.woken = Some(now);
            actions.push(Action::KeepAwake);
        }
        actions
    }

    fn membership(&mut self, member: MemberId) -> Option<&mut Membership> {
        match &mut self.phase {
            Phase::Member(it) if it.member == member => Some(it),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        ping_every: Duration::from_secs(1),
        lost_after: Duration::from_secs(10),
        wake_deadline: Duration::from_secs(5),
        wake_backoff: Duration::from_secs(1),
        keep_awake_every: Duration::from_secs(20),
    };
    const FIRST: MemberId = MemberId(1);
    const SECOND: MemberId = MemberId(2);
    const OLD: InstanceId = InstanceId(1);
    const NEW: InstanceId = InstanceId(2);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A node whose first instance has just joined.
    fn active() -> (Life, Instant) {
        let start = Instant::now();
        let mut life = Life::new(TIMING);
        assert_eq!(life.wanted(start), Some(Action::Wake));
        assert_eq!(life.joined(OLD, FIRST, start), None);
        (life, start)
    }

    #[test]
    fn however_many_want_a_sleeping_node_it_is_woken_once() {
        let now = Instant::now();
        let mut life = Life::new(TIMING);
        assert_eq!(life.state(), NodeState::Asleep);
        assert_eq!(life.wanted(now), Some(Action::Wake));
        assert_eq!(life.wanted(now), None);
        assert_eq!(life.state(), NodeState::Waking);
        life.joined(OLD, FIRST, now);
        assert_eq!(life.wanted(now), None);
        assert_eq!(life.active(), Some(FIRST));
    }

    #[test]
    fn a_wake_that_nobody_answers_fails_and_is_not_repeated_at_once() {
        let start = Instant::now();
        let mut life = Life::new(TIMING);
        life.wanted(start);
        assert!(life.tick(start + seconds(4), false).is_empty());
        life.tick(start + seconds(5), false);
        assert_eq!(life.state(), NodeState::Lost);
        assert!(!life.is_usable(start + seconds(5)));
        assert_eq!(life.wanted(start + seconds(5)), None);
        assert!(life.is_usable(start + seconds(6)));
        assert_eq!(life.wanted(start + seconds(6)), Some(Action::Wake));
        life.wake_failed(start + seconds(6));
        assert_eq!(
            life.wanted(start + seconds(7)),
            None,
            "the back-off doubles"
        );
        assert_eq!(life.wanted(start + seconds(8)), Some(Action::Wake));
    }

    #[test]
    fn a_silent_member_is_pinged_and_then_lost() {
        let (mut life, start) = active();
        assert_eq!(life.tick(start + seconds(1), false), [Action::Ping(FIRST)]);
        life.heard_of(FIRST, start + seconds(1));
        for second in 2..11 {
            assert_eq!(
                life.tick(start + seconds(second), false),
                [Action::Ping(FIRST)]
            );
        }
        assert_eq!(life.tick(start + seconds(11), false), [Action::Lost(FIRST)]);
        assert_eq!(life.state(), NodeState::Asleep);
    }

    #[test]
    fn only_a_node_with_data_is_kept_awake() {
        let (mut life, start) = active();
        life.heard_of(FIRST, start + seconds(30));
        let with_data = life.tick(start + seconds(20), true);
        assert!(with_data.contains(&Action::KeepAwake));
        assert!(
            !life
                .tick(start + seconds(21), true)
                .contains(&Action::KeepAwake)
        );
        assert!(
            !life
                .tick(start + seconds(40), false)
                .contains(&Action::KeepAwake)
        );
    }

    #[test]
    fn a_process_that_dials_again_is_the_member_that_it_was() {
        let (mut life, start) = active();
        assert_eq!(life.unlinked(FIRST, start), Some(Action::Wake));
        assert_eq!(life.active(), None);
        assert_eq!(life.member(), Some((FIRST, OLD)));
        assert_eq!(life.joined(OLD, FIRST, start), None);
        assert_eq!(life.active(), Some(FIRST));
    }

    #[test]
    fn a_successor_of_a_dead_process_ends_its_membership() {
        let (mut life, start) = active();
        life.unlinked(FIRST, start);
        assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Lost(FIRST)));
        assert_eq!(life.active(), Some(SECOND));
        life.heard_of(FIRST, start + seconds(5));
        assert_eq!(life.heard(), Some(start), "the old one has no say any more");
    }

    #[test]
    fn a_successor_of_a_live_process_takes_over_what_that_one_holds() {
        let (mut life, start) = active();
        assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Vacate(FIRST)));
        assert_eq!(life.active(), Some(SECOND));
    }

    #[test]
    fn an_unlinked_member_that_stays_away_is_lost() {
        let (mut life, start) = active();
        life.unlinked(FIRST, start);
        life.wake_failed(start);
        assert_eq!(life.tick(start + seconds(10), true), [Action::Lost(FIRST)]);
    }

    #[test]
    fn an_unlinked_member_with_data_is_woken_again_and_again() {
        let (mut life, start) = active();
        assert_eq!(life.unlinked(FIRST, start), Some(Action::Wake));
        assert!(life.tick(start + seconds(1), true).is_empty(), "under way");
        life.wake_failed(start + seconds(1));
        assert!(life.tick(start + seconds(1), true).is_empty(), "backed off");
        assert!(
            life.tick(start + seconds(2), false).is_empty(),
            "not needed"
        );
        assert_eq!(life.tick(start + seconds(2), true), [Action::Wake]);
        assert_eq!(life.joined(NEW, SECOND, start), Some(Action::Lost(FIRST)));
    }

    #[test]
    fn a_draining_member_takes_no_chunks_and_lives_beside_its_successor() {
        let (mut life, start) = active();
        life.leaving(FIRST);
        assert_eq!(life.state(), NodeState::Draining);
        assert_eq!(life.active(), None);
        assert!(!life.is_usable(start));
        assert_eq!(life.wanted(start), Some(Action::Wake));
        assert_eq!(life.joined(NEW, SECOND, start), None);
        assert_eq!(life.active(), Some(SECOND));
        assert_eq!(
            life.unlinked(FIRST, start),
            None,
            "no longer this life's concern"
        );
    }
}

//! Which proxy to be linked to: the decisions, without sockets or clocks.
//!
//! ```text
//!            woken                welcomed
//! (idle) -----------> pursuing -------------> linked
//!    ^                 |  ^  ^                   |
//!    |  out of         |  |  |       lost        |
//!    |  patience       |  |  +-------------------+
//!    +-----------------+  | failed: later, with back-off
//! ```
//!
//! A wake of the session that is linked changes nothing: it keeps the platform
//! from stopping the node. A wake of another one is pursued while the old link
//! lives on, until the new one replaces it. Of several the last is pursued, and
//! the one before it in turn: a platform that holds wakes back hands them over
//! in any order, and only the proxy knows which it sent last.
//!
//! A wake is only an invitation. Who leads is settled by the epochs of
//! welcomes: one below the highest so far comes from a proxy whose time is over,
//! and is not followed; nor is a wake of such an epoch, and its sender learns that.
//! While the node is linked to a run that [leads](crate::acceptor), it turns to no
//! other, and answers its wakes with that.

use std::time::{Duration, Instant};

use infinicache_backoff::Backoff;
use infinicache_host::fail_point;
use infinicache_wire::wake::Wake;

use crate::acceptor::Acceptor;

/// Waits between two attempts. A link that lasted longer than the longest counts as a
/// fresh start; one that breaks sooner, again and again, is not redialled faster.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// How long a proxy is dialled in vain before the next wake is waited for.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(crate) struct Session {
    dialling: Option<Dialling>,
    linked: Option<LinkedProxy>,
    epoch: u64,
}

/// A proxy that is being dialled.
#[derive(Debug)]
struct Dialling {
    wake: Wake,
    /// Another one of the same proxy, which is tried when this one has failed.
    other: Option<Wake>,
    /// When the next attempt is due.
    due: Instant,
    /// When to give up.
    until: Instant,
    /// In a row.
    failures: u32,
}

#[derive(Debug)]
struct LinkedProxy {
    wake: Wake,
    since: Instant,
    /// Before it was welcomed.
    failures: u32,
}

/// Why a wake or a welcome is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FencedError {
    /// It comes from a proxy that is fenced.
    #[error("epoch {epoch} is over, at least {highest} needed")]
    Fenced { epoch: u64, highest: u64 },
    /// Another run leads, and is heard from.
    #[error("epoch {epoch} is not followed while epoch {leader} leads")]
    OtherLeader { epoch: u64, leader: u64 },
}

impl Session {
    /// Takes a wake; `true` if its session is linked, so that nothing is to be done.
    ///
    /// # Errors
    ///
    /// If it must not be followed; then nothing changes.
    pub(crate) fn woken(
        &mut self,
        wake: Wake,
        acceptor: &Acceptor,
        now: Instant,
    ) -> Result<bool, FencedError> {
        self.follow(wake.epoch, acceptor, now)?;
        if self.is_linked(&wake.session) {
            return Ok(true);
        }
        let dialled = self.dialling.take();
        let other = dialled.and_then(|dialled| dialled.besides(&wake));
        self.dialling = Some(Dialling {
            wake,
            other,
            due: now,
            until: now + GIVE_UP_AFTER,
            failures: 0,
        });
        Ok(false)
    }

    fn follow(&self, epoch: u64, acceptor: &Acceptor, now: Instant) -> Result<(), FencedError> {
        let highest = self.epoch;
        let may_follow = acceptor.may_follow(highest, epoch, now) || fail_point("leader_is_kept");
        if self.linked.is_some() && !may_follow {
            let leader = highest;
            return Err(FencedError::OtherLeader { epoch, leader });
        }
        if epoch < highest && !fail_point("highest_epoch") {
            return Err(FencedError::Fenced { epoch, highest });
        }
        Ok(())
    }

    /// Whether there is a living link for that session.
    pub(crate) fn is_linked(&self, session: &str) -> bool {
        self.linked
            .as_ref()
            .is_some_and(|linked| linked.wake.session == session)
    }

    /// The proxy to dial next, and when.
    pub(crate) fn next(&self) -> Option<(&Wake, Instant)> {
        let dialling = self.dialling.as_ref()?;
        Some((&dialling.wake, dialling.due))
    }

    /// The highest epoch of a welcome so far.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// An attempt to reach the pursued proxy failed. `false` if it is given up with that.
    ///
    /// `random` spreads the next attempt, so that a proxy that comes back is
    /// not dialled by the whole pool at once.
    pub(crate) fn failed(&mut self, now: Instant, random: u64) -> bool {
        let Some(dialling) = &mut self.dialling else {
            return false;
        };
        if now >= dialling.until {
            self.dialling = None;
            return false;
        }
        dialling.due = now + BACKOFF.jittered(dialling.failures, random as u32);
        dialling.failures = dialling.failures.saturating_add(1);
        if let Some(other) = &mut dialling.other {
            std::mem::swap(&mut dialling.wake, other);
        }
        true
    }

    /// The pursued proxy welcomed the node: its link replaces any other. Gives the wake back.
    ///
    /// # Errors
    ///
    /// If it must not be followed; then nothing changes.
    pub(crate) fn welcomed(
        &mut self,
        epoch: u64,
        acceptor: &Acceptor,
        now: Instant,
    ) -> Result<Option<Wake>, FencedError> {
        self.follow(epoch, acceptor, now)?;
        self.epoch = epoch;
        let Some(Dialling { wake, failures, .. }) = self.dialling.take() else {
            return Ok(None);
        };
        self.linked = Some(LinkedProxy {
            wake: wake.clone(),
            since: now,
            failures,
        });
        Ok(Some(wake))
    }

    /// The link is gone. Its proxy is dialled again, unless another is pursued already.
    pub(crate) fn lost(&mut self, now: Instant, random: u64) {
        let Some(LinkedProxy {
            wake,
            since,
            failures,
        }) = self.linked.take()
        else {
            return;
        };
        if self.dialling.is_some() {
            return;
        }
        let lasted = now.saturating_duration_since(since) > BACKOFF.longest();
        let failures = if lasted { 0 } else { failures };
        self.dialling = Some(Dialling {
            wake,
            other: None,
            due: now + BACKOFF.jittered(failures, random as u32),
            until: now + GIVE_UP_AFTER,
            failures: failures.saturating_add(1),
        });
    }
}

impl Dialling {
    /// The wake that is still worth a try besides a newer one: of another session, and of the
    /// same proxy, for which of two proxies is meant is not for the order of wakes to say.
    fn besides(self, newer: &Wake) -> Option<Wake> {
        let wakes = [Some(self.wake), self.other];
        let is_another = |wake: &Wake| wake.session != newer.session && wake.proxy == newer.proxy;
        wakes.into_iter().flatten().find(is_another)
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{LeaseOffer, wake::Lifetimes};

    use super::*;

    fn wake(session: &str) -> Wake {
        Wake {
            version: 1,
            node: "n".into(),
            proxy: "127.0.0.1:1".into(),
            session: session.into(),
            epoch: 1,
            lifetimes: Lifetimes::default(),
            proof: String::new(),
        }
    }

    /// What a node remembers that has granted no lease.
    fn free() -> Acceptor {
        Acceptor::default()
    }

    fn of_epoch(epoch: u64, session: &str) -> Wake {
        Wake {
            epoch,
            ..wake(session)
        }
    }

    fn dialled(session: &Session) -> Option<&str> {
        session.next().map(|(wake, _)| wake.session.as_str())
    }

    fn linked(name: &str, now: Instant) -> Session {
        let mut session = Session::default();
        session.woken(wake(name), &free(), now).unwrap();
        session.welcomed(1, &free(), now).unwrap();
        session
    }

    #[test]
    fn a_wake_is_dialled_at_once() {
        let (mut session, now) = (Session::default(), Instant::now());
        assert!(session.next().is_none());
        assert_eq!(session.woken(wake("s"), &free(), now), Ok(false));
        assert_eq!(session.next(), Some((&wake("s"), now)));
    }

    #[test]
    fn a_wake_of_the_linked_session_changes_nothing() {
        let now = Instant::now();
        let mut session = linked("s", now);
        assert_eq!(session.woken(wake("s"), &free(), now), Ok(true));
        assert!(session.next().is_none());
    }

    #[test]
    fn another_session_is_pursued_while_the_old_link_lives() {
        let now = Instant::now();
        let mut session = linked("old", now);
        assert_eq!(session.woken(wake("new"), &free(), now), Ok(false));
        assert!(session.is_linked("old"));
        assert_eq!(dialled(&session), Some("new"));
        session.lost(now, 0);
        assert_eq!(
            dialled(&session),
            Some("new"),
            "the old one is not redialled"
        );

        session.welcomed(1, &free(), now).unwrap();
        assert!(session.is_linked("new"));
        assert!(!session.is_linked("old"));
    }

    #[test]
    fn wakes_that_come_in_any_order_are_tried_in_turn() {
        let (mut session, now) = (Session::default(), Instant::now());
        session.woken(wake("later"), &free(), now).unwrap();
        session.woken(wake("earlier"), &free(), now).unwrap();
        assert_eq!(dialled(&session), Some("earlier"));
        session.failed(now, 0);
        assert_eq!(dialled(&session), Some("later"));
        session.failed(now, 0);
        assert_eq!(dialled(&session), Some("earlier"));
        session.woken(wake("earlier"), &free(), now).unwrap();
        session.failed(now, 0);
        assert_eq!(dialled(&session), Some("later"), "it came again");

        session.welcomed(1, &free(), now).unwrap();
        session.lost(now, 0);
        session.failed(now, 0);
        assert_eq!(dialled(&session), Some("later"), "it was the one");
    }

    #[test]
    fn of_two_proxies_the_one_that_woke_last_is_pursued() {
        let (mut session, now) = (Session::default(), Instant::now());
        session.woken(wake("s"), &free(), now).unwrap();
        let elsewhere = Wake {
            proxy: "127.0.0.1:2".into(),
            ..wake("t")
        };
        session.woken(elsewhere, &free(), now).unwrap();
        session.failed(now, 0);
        assert_eq!(dialled(&session), Some("t"));
    }

    #[test]
    fn attempts_come_ever_later_up_to_a_limit_until_patience_ends() {
        let (mut session, start) = (Session::default(), Instant::now());
        session.woken(wake("s"), &free(), start).unwrap();
        let mut now = start;
        let mut waits = Vec::new();
        while session.failed(now, 0) {
            let due = session.next().unwrap().1;
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits[..7], [50, 100, 200, 400, 800, 1600, 2500]);
        assert!(waits[7..].iter().all(|&wait| wait == 2500));
        assert!(now >= start + GIVE_UP_AFTER);
        assert!(session.next().is_none());

        session.woken(wake("s"), &free(), now).unwrap();
        assert_eq!(
            session.next(),
            Some((&wake("s"), now)),
            "a wake starts anew"
        );
    }

    #[test]
    fn a_lost_link_is_redialled_and_faster_if_it_had_lasted() {
        let start = Instant::now();
        let mut session = linked("s", start);
        let mut waits = Vec::new();
        let mut now = start;
        for lasted in [0, 0, 0, 60, 0] {
            now += Duration::from_secs(lasted);
            session.lost(now, 0);
            let due = session.next().unwrap().1;
            waits.push((due - now).as_millis());
            session.welcomed(1, &free(), now).unwrap();
        }
        assert_eq!(waits, [50, 100, 200, 50, 100]);
    }

    #[test]
    fn a_proxy_of_an_earlier_epoch_is_not_followed() {
        let now = Instant::now();
        let mut session = linked("s", now);
        session.woken(of_epoch(7, "late"), &free(), now).unwrap();
        session.epoch = 7;
        let refused = FencedError::Fenced {
            epoch: 6,
            highest: 7,
        };
        assert_eq!(session.welcomed(6, &free(), now), Err(refused));
        assert!(session.is_linked("s"));
        assert_eq!(dialled(&session), Some("late"));
        assert_eq!(
            session.welcomed(7, &free(), now),
            Ok(Some(of_epoch(7, "late")))
        );
        assert!(session.is_linked("late"));
    }

    #[test]
    fn a_wake_of_an_earlier_epoch_is_refused_even_if_its_session_is_linked() {
        let now = Instant::now();
        let mut session = linked("s", now);
        session.welcomed(7, &free(), now).unwrap();
        let refused = FencedError::Fenced {
            epoch: 6,
            highest: 7,
        };
        for name in ["s", "other"] {
            assert_eq!(session.woken(of_epoch(6, name), &free(), now), Err(refused));
        }
        assert!(session.next().is_none());
        assert_eq!(session.woken(of_epoch(7, "s"), &free(), now), Ok(true));
        assert_eq!(session.woken(of_epoch(8, "next"), &free(), now), Ok(false));
    }

    #[test]
    fn a_node_that_hears_from_a_leader_turns_to_no_other_run_until_its_link_ends() {
        let now = Instant::now();
        let mut session = linked("s", now);
        let mut led = Acceptor::default();
        let lease = LeaseOffer {
            ms: 5_000,
            leads: true,
        };
        led.pinged(1, lease, now);
        let refused = Err(FencedError::OtherLeader {
            epoch: 2,
            leader: 1,
        });
        assert_eq!(session.woken(of_epoch(2, "other"), &led, now), refused);
        assert_eq!(session.woken(wake("s"), &led, now), Ok(true));
        assert_eq!(session.woken(wake("next"), &led, now), Ok(false));
        let refused = refused.map(|_| None);
        assert_eq!(session.welcomed(2, &led, now), refused);
        session.lost(now, 0);
        assert_eq!(session.woken(of_epoch(2, "other"), &led, now), Ok(false));
        assert!(session.welcomed(2, &led, now).is_ok());
    }
}

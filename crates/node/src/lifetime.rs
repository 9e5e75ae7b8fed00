//! How long a session lasts: the decisions, without sockets or clocks.
//!
//! ```text
//!   wake                        first cycle     second cycle            maximum
//!    ├─────────────────────────────────┬─┼───────────────┬─┼── ... ─┬─┼────┤
//!    0                                 guard             guard      guard
//!                                       ▲ ends here, unless a request came
//!                                         so late that its extension reaches further
//! ```
//!
//! Platforms bill by whole cycles, so a session that ends within one has paid
//! for time that it did not use, and one that ends a moment after its end pays
//! for a whole one more. Hence a session ends only a `guard` before the end of
//! a cycle: the first such moment that no request wants to go beyond. Each
//! request served is a reason to go on for an `extension`. A session never ends
//! while a request is being served; if its end passes meanwhile, it is over as
//! soon as the request is served, unless that extends it into the next cycle,
//! which has begun by then. Beyond its maximum nothing extends it.
//!
//! Without cycles a session lasts for its maximum. A wake begins it anew, as
//! whatever is billed is billed from that request on.

use std::time::{Duration, Instant};

use infinicache_wire::wake::Lifetimes;

/// The session that there is, if any, and whether a request is being served.
#[derive(Debug, Default)]
pub(crate) struct Lifetime {
    running: Option<Running>,
    serving: bool,
}

#[derive(Debug)]
struct Running {
    limits: Limits,
    began: Instant,
    /// Until when requests want it to last.
    needed: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    cycle: Duration,
    extension: Duration,
    guard: Duration,
    maximum: Duration,
}

impl Lifetime {
    /// A wake begins a session, or begins the one there is anew.
    pub(crate) fn woken(&mut self, now: Instant, lifetimes: &Lifetimes) {
        let needed = self.running.as_ref().map_or(now, |before| before.needed);
        self.running = Some(Running {
            limits: lifetimes.into(),
            began: now,
            needed: needed.max(now),
        });
    }

    /// A request is being served.
    pub(crate) fn serving(&mut self) {
        self.serving = true;
    }

    /// No request is being served any more. `extends`: one of them was a reason to go on.
    pub(crate) fn served(&mut self, now: Instant, extends: bool) {
        self.serving = false;
        if extends && let Some(running) = &mut self.running {
            running.needed = running.needed.max(now + running.limits.extension);
        }
    }

    /// When the session is over, unless something happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        let running = self.running.as_ref().filter(|_| !self.serving)?;
        Some(running.end())
    }

    /// Time has passed; whether the session is over with that.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        let over = self.due().is_some_and(|due| now >= due);
        if over {
            self.running = None;
        }
        over
    }

    /// Ends the session, whatever it is needed for; whether there was one.
    pub(crate) fn end(&mut self) -> bool {
        self.running.take().is_some()
    }
}

impl Running {
    fn end(&self) -> Instant {
        let Limits {
            cycle,
            guard,
            maximum,
            ..
        } = self.limits;
        if cycle.is_zero() {
            return self.began + maximum;
        }
        let needed = self.needed.saturating_duration_since(self.began);
        // Of the moments `guard` before the end of a cycle the first that is late
        // enough, but none beyond the maximum. The first cycle fits into that.
        let wanted = (needed + guard).as_nanos().div_ceil(cycle.as_nanos());
        let allowed = (maximum + guard).as_nanos() / cycle.as_nanos();
        let cycles = wanted.min(allowed).max(1);
        // A maximum of an hour is less than 2^32 cycles of a millisecond.
        self.began + cycle * cycles as u32 - guard
    }
}

impl From<&Lifetimes> for Limits {
    fn from(lifetimes: &Lifetimes) -> Self {
        let millis = |millis: u32| Duration::from_millis(millis.into());
        Self {
            cycle: millis(lifetimes.cycle_ms),
            extension: millis(lifetimes.extension_ms),
            guard: millis(lifetimes.guard_ms),
            maximum: millis(lifetimes.maximum_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// Cycles end at 100, 200, 300, ...; sessions at 90, 190, 290, ..., 490.
    const CYCLES: Lifetimes = Lifetimes {
        held: true,
        cycle_ms: 100,
        extension_ms: 30,
        guard_ms: 10,
        maximum_ms: 500,
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn woken() -> (Lifetime, Instant) {
        let (mut lifetime, start) = (Lifetime::default(), Instant::now());
        lifetime.woken(start, &CYCLES);
        (lifetime, start)
    }

    /// A request that was served at once.
    fn serve(lifetime: &mut Lifetime, now: Instant) {
        lifetime.serving();
        lifetime.served(now, true);
    }

    fn due(lifetime: &Lifetime, start: Instant) -> u128 {
        (lifetime.due().unwrap() - start).as_millis()
    }

    #[test]
    fn without_a_wake_there_is_no_session() {
        let (mut lifetime, now) = (Lifetime::default(), Instant::now());
        serve(&mut lifetime, now);
        assert_eq!(lifetime.due(), None);
        assert!(!lifetime.tick(now + millis(1_000_000)));
    }

    #[test]
    fn a_session_without_traffic_ends_before_its_first_cycle_does() {
        let (mut lifetime, start) = woken();
        assert!(!lifetime.tick(start));
        assert!(!lifetime.tick(start + millis(90) - TICK));
        assert!(lifetime.tick(start + millis(90)));
        assert!(!lifetime.tick(start + millis(91)), "it ends once");
        assert_eq!(lifetime.due(), None);
    }

    #[test]
    fn a_request_whose_extension_ends_with_the_cycle_costs_no_other() {
        let (mut lifetime, start) = woken();
        serve(&mut lifetime, start + millis(60) - TICK);
        assert_eq!(due(&lifetime, start), 90);
        serve(&mut lifetime, start + millis(60));
        assert_eq!(due(&lifetime, start), 90);
    }

    #[test]
    fn a_request_whose_extension_reaches_further_does() {
        let (mut lifetime, start) = woken();
        serve(&mut lifetime, start + millis(60) + TICK);
        assert_eq!(due(&lifetime, start), 190);
        assert!(!lifetime.tick(start + millis(100)));
        assert!(lifetime.tick(start + millis(190)));
    }

    #[test]
    fn traffic_extends_a_session_across_cycles_until_it_stops() {
        let (mut lifetime, start) = woken();
        for at in (0..=350).step_by(25) {
            assert!(!lifetime.tick(start + millis(at)));
            serve(&mut lifetime, start + millis(at));
        }
        assert_eq!(due(&lifetime, start), 390);
    }

    #[test]
    fn what_is_no_reason_to_go_on_does_not_extend() {
        let (mut lifetime, start) = woken();
        lifetime.serving();
        lifetime.served(start + millis(85), false);
        assert_eq!(due(&lifetime, start), 90);
    }

    #[test]
    fn nothing_extends_a_session_beyond_the_last_cycle_within_its_maximum() {
        let (mut lifetime, start) = woken();
        for at in (0..490).step_by(10) {
            assert!(!lifetime.tick(start + millis(at)));
            serve(&mut lifetime, start + millis(at));
        }
        assert_eq!(due(&lifetime, start), 490);
        assert!(!lifetime.tick(start + millis(490) - TICK));
        serve(&mut lifetime, start + millis(490) - TICK);
        assert!(lifetime.tick(start + millis(490)));
    }

    #[test]
    fn a_session_does_not_end_while_a_request_is_served() {
        let (mut lifetime, start) = woken();
        lifetime.serving();
        assert_eq!(lifetime.due(), None);
        assert!(!lifetime.tick(start + millis(90)));
        assert!(!lifetime.tick(start + millis(150)));
        lifetime.served(start + millis(150), true);
        assert_eq!(due(&lifetime, start), 190, "the second cycle has begun");
        assert!(lifetime.tick(start + millis(190)));
    }

    #[test]
    fn a_session_whose_end_passed_while_it_served_what_does_not_extend_it_is_over_then() {
        let (mut lifetime, start) = woken();
        lifetime.serving();
        lifetime.served(start + millis(95), false);
        assert!(lifetime.tick(start + millis(95)));
    }

    #[test]
    fn a_session_that_serves_beyond_its_maximum_is_over_as_soon_as_it_has() {
        let (mut lifetime, start) = woken();
        lifetime.serving();
        assert!(!lifetime.tick(start + millis(700)));
        lifetime.served(start + millis(700), true);
        assert!(lifetime.tick(start + millis(700)));
    }

    #[test]
    fn a_wake_during_a_session_begins_it_anew() {
        let (mut lifetime, start) = woken();
        lifetime.woken(start + millis(50), &CYCLES);
        assert_eq!(due(&lifetime, start), 140);
        serve(&mut lifetime, start + millis(125));
        assert_eq!(due(&lifetime, start), 240);
        lifetime.woken(start + millis(130), &CYCLES);
        assert_eq!(due(&lifetime, start), 220, "still needed until 155");
        for at in (130..=620).step_by(10) {
            assert!(!lifetime.tick(start + millis(at - 1)));
            serve(&mut lifetime, start + millis(at - 1));
        }
        assert!(lifetime.tick(start + millis(620)), "a new maximum");
    }

    #[test]
    fn a_wake_while_a_request_is_served_begins_a_session_that_waits_for_it() {
        let (mut lifetime, start) = (Lifetime::default(), Instant::now());
        lifetime.serving();
        lifetime.woken(start, &CYCLES);
        assert!(!lifetime.tick(start + millis(90)));
        lifetime.served(start + millis(90), false);
        assert!(lifetime.tick(start + millis(90)));
    }

    #[test]
    fn a_clock_that_jumps_ahead_ends_the_session() {
        let (mut lifetime, start) = woken();
        serve(&mut lifetime, start + millis(10));
        assert!(lifetime.tick(start + Duration::from_secs(86_400)));
    }

    #[test]
    fn a_clock_that_jumps_back_takes_nothing_away() {
        let (mut lifetime, start) = woken();
        serve(&mut lifetime, start + millis(80));
        assert_eq!(due(&lifetime, start), 190);
        let before = start.checked_sub(millis(50)).unwrap();
        serve(&mut lifetime, before);
        assert!(!lifetime.tick(before));
        assert_eq!(due(&lifetime, start), 190);
        lifetime.woken(before, &CYCLES);
        assert_eq!(lifetime.due(), Some(before + millis(190)));
    }

    #[test]
    fn without_cycles_a_session_lasts_for_its_maximum() {
        let (mut lifetime, start) = (Lifetime::default(), Instant::now());
        let limits = Lifetimes::default();
        let maximum = millis(limits.maximum_ms.into());
        lifetime.woken(start, &limits);
        serve(&mut lifetime, start + maximum - TICK);
        assert!(!lifetime.tick(start + maximum - TICK));
        assert!(lifetime.tick(start + maximum));
    }

    #[test]
    fn a_maximum_within_the_first_guard_is_no_cycle_too_many() {
        let (mut lifetime, start) = (Lifetime::default(), Instant::now());
        let one_cycle = Lifetimes {
            maximum_ms: 100,
            ..CYCLES
        };
        lifetime.woken(start, &one_cycle);
        serve(&mut lifetime, start + millis(89));
        assert_eq!(due(&lifetime, start), 90);
    }

    #[test]
    fn a_session_can_be_ended_at_any_time() {
        let (mut lifetime, start) = woken();
        lifetime.serving();
        assert!(lifetime.end());
        assert!(!lifetime.end());
        lifetime.served(start, true);
        assert_eq!(lifetime.due(), None);
    }
}

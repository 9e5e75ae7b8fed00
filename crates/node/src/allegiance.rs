//! What a node remembers of the proxies that it has obeyed, for the next one.
//!
//! A proxy that starts knows nothing. Its nodes tell it whose chunks count, what
//! time it was, and how long ago they last answered the proxy before it, whose
//! lease has to end before there may be another.
//!
//! A run that leads, and that the node hears from, is not left for another,
//! whatever its epoch: a second proxy that is started by mistake cannot take the
//! pool away from the first. Of runs that do not lead yet the later one is obeyed.

use std::time::{Duration, Instant};

use infinicache_wire::{LeaseTerms, Roster, roster::Testimony};

/// What is remembered.
#[derive(Debug, Default)]
pub struct Allegiance {
    roster: Option<Roster>,
    told_ms: u64,
    /// When the run that is obeyed could last rely on this node.
    obeyed: Option<Instant>,
    /// The same of the runs before.
    obeyed_before: Option<Instant>,
    /// The lease that the run that is obeyed was granted last.
    granted: Option<Grant>,
}

/// A lease that the node has granted.
#[derive(Clone, Copy, Debug)]
struct Grant {
    until: Instant,
    leads: bool,
}

impl Allegiance {
    /// A proxy welcomed the node and may rely on it for a while; `later` if it is a later run
    /// than the one that was obeyed, and takes its place.
    pub fn welcomed(&mut self, later: bool, now: Instant) {
        if later {
            self.obeyed_before = self.obeyed.max(self.obeyed_before);
        }
        self.obeyed = Some(now);
        if later {
            self.granted = None;
        }
    }

    /// A ping is answered: its sender may rely on this node for a while.
    pub fn pinged(&mut self, now_ms: u64, lease: LeaseTerms, now: Instant) {
        self.told_ms = self.told_ms.max(now_ms);
        self.obeyed = Some(now);
        self.granted = Some(Grant {
            until: now + Duration::from_millis(lease.ms.into()),
            leads: lease.leads,
        });
    }

    /// Whether the node, which is linked to a run of epoch `obeyed`, may turn to one of epoch
    /// `other`.
    pub fn yields(&self, obeyed: u64, other: u64, now: Instant) -> bool {
        match self.granted.filter(|grant| now < grant.until) {
            None => true,
            Some(Grant { leads: true, .. }) => other == obeyed,
            Some(Grant { leads: false, .. }) => other >= obeyed,
        }
    }

    /// Keeps a roster, unless a later one is known; whether it is kept now.
    pub fn enrol(&mut self, roster: Roster) -> bool {
        match &self.roster {
            Some(known) if known.supersedes(&roster) => known.id == roster.id,
            _ => {
                self.roster = Some(roster);
                true
            }
        }
    }

    /// What a run that was welcomed later than those before can be told of them.
    pub fn testimony(&self, now: Instant) -> Testimony {
        let ago = |at: Instant| {
            let ago = now.saturating_duration_since(at);
            u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)
        };
        Testimony {
            roster: self.roster.clone(),
            told_ms: self.told_ms,
            obeyed_ms: self.obeyed_before.map(ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use infinicache_wire::RosterId;

    use super::*;

    const LEADS: LeaseTerms = LeaseTerms {
        ms: 5_000,
        leads: true,
    };
    const CANDIDATE: LeaseTerms = LeaseTerms {
        leads: false,
        ..LEADS
    };

    fn roster(epoch: u64, number: u64) -> Roster {
        Roster {
            id: RosterId { epoch, number },
            parity: 2,
            members: Vec::new(),
            before: Vec::new(),
        }
    }

    #[test]
    fn the_latest_roster_is_kept() {
        let mut allegiance = Allegiance::default();
        assert!(allegiance.enrol(roster(1, 5)));
        assert!(allegiance.enrol(roster(2, 1)));
        assert!(
            allegiance.enrol(roster(2, 1)),
            "a repeated one is kept already"
        );
        assert!(!allegiance.enrol(roster(1, 6)));
        let told = allegiance.testimony(Instant::now()).roster;
        assert_eq!(told, Some(roster(2, 1)));
    }

    #[test]
    fn time_never_goes_back() {
        let (mut allegiance, now) = (Allegiance::default(), Instant::now());
        allegiance.pinged(7, LEADS, now);
        allegiance.pinged(5, LEADS, now);
        assert_eq!(allegiance.testimony(now).told_ms, 7);
    }

    #[test]
    fn a_run_that_leads_is_not_left_for_another_while_its_lease_lasts() {
        let (mut allegiance, start) = (Allegiance::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(allegiance.yields(0, 7, at(0)), "no run was obeyed yet");
        allegiance.welcomed(true, at(0));
        assert!(allegiance.yields(7, 8, at(0)), "no lease was granted yet");
        allegiance.pinged(1, LEADS, at(1));
        assert!(!allegiance.yields(7, 8, at(5)) && !allegiance.yields(7, 6, at(5)));
        assert!(allegiance.yields(7, 7, at(5)), "its own wakes are obeyed");
        assert!(allegiance.yields(7, 8, at(6)), "the lease has ended");
        allegiance.pinged(1, LEADS, at(7));
        allegiance.welcomed(true, at(8));
        assert!(allegiance.yields(8, 9, at(8)), "that was another's lease");
    }

    #[test]
    fn of_runs_that_do_not_lead_yet_the_later_one_is_obeyed() {
        let (mut allegiance, now) = (Allegiance::default(), Instant::now());
        allegiance.welcomed(true, now);
        allegiance.pinged(1, CANDIDATE, now);
        assert!(allegiance.yields(7, 8, now));
        assert!(!allegiance.yields(7, 6, now));
    }

    #[test]
    fn it_knows_how_long_ago_an_earlier_run_could_rely_on_it() {
        let (mut allegiance, start) = (Allegiance::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        allegiance.welcomed(true, at(0));
        allegiance.pinged(1, LEADS, at(1));
        assert_eq!(allegiance.testimony(at(2)).obeyed_ms, None);
        allegiance.welcomed(true, at(3));
        allegiance.pinged(1, LEADS, at(4));
        assert_eq!(allegiance.testimony(at(5)).obeyed_ms, Some(4000));
        allegiance.welcomed(false, at(6));
        assert_eq!(allegiance.testimony(at(6)).obeyed_ms, Some(5000));
    }
}

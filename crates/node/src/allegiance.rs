//! What a node remembers of the proxies that it has obeyed, for the next one.
//!
//! A proxy that starts knows nothing. Its nodes tell it whose chunks count, what
//! time it was, and how long ago they last answered the proxy before it, whose
//! lease has to end before there may be another.

use std::time::{Duration, Instant};

use infinicache_wire::Roster;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Allegiance {
    roster: Option<Roster>,
    told_ms: u64,
    answered: Option<Instant>,
}

impl Allegiance {
    /// A ping is answered: whoever sent it may rely on this node for a while.
    pub(crate) fn pinged(&mut self, now_ms: u64, now: Instant) {
        self.told_ms = self.told_ms.max(now_ms);
        self.answered = Some(now);
    }

    /// Keeps a roster, unless a later one is known; whether it is kept now.
    pub(crate) fn enrol(&mut self, roster: Roster) -> bool {
        match &self.roster {
            Some(known) if known.supersedes(&roster) => known.id == roster.id,
            _ => {
                self.roster = Some(roster);
                true
            }
        }
    }

    /// The latest roster.
    pub(crate) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// The highest time that it was told, in milliseconds since 1970.
    pub(crate) fn told_ms(&self) -> u64 {
        self.told_ms
    }

    /// How long ago it last answered a ping.
    pub(crate) fn answered_ago(&self, now: Instant) -> Option<Duration> {
        let answered = self.answered?;
        Some(now.saturating_duration_since(answered))
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::RosterId;

    use super::*;

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
        assert_eq!(allegiance.roster(), Some(&roster(2, 1)));
    }

    #[test]
    fn time_never_goes_back() {
        let (mut allegiance, now) = (Allegiance::default(), Instant::now());
        allegiance.pinged(7, now);
        allegiance.pinged(5, now);
        assert_eq!(allegiance.told_ms(), 7);
    }

    #[test]
    fn it_knows_how_long_ago_it_answered() {
        let (mut allegiance, start) = (Allegiance::default(), Instant::now());
        assert_eq!(allegiance.answered_ago(start), None);
        allegiance.pinged(1, start);
        let later = start + Duration::from_secs(3);
        assert_eq!(allegiance.answered_ago(later), Some(Duration::from_secs(3)));
    }
}

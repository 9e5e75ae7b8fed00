//! The acceptor: what a node has promised to the proxies that it followed, and stored for the next
//! one.
//!
//! A proxy that starts knows nothing. Its nodes tell it whose chunks count, what
//! time it was, and how long ago they last answered the proxy before it, whose
//! lease has to end before there may be another.
//!
//! A run that leads, and that the node hears from, is not left for another,
//! whatever its epoch: a second proxy that is started by mistake cannot take the
//! pool away from the first. Of runs that do not lead yet the later one is followed.

use std::time::{Duration, Instant};

use infinicache_wire::{LeaseOffer, MembershipView, view::PromiseInfo};

/// What is remembered.
#[derive(Debug, Default)]
pub struct Acceptor {
    view: Option<MembershipView>,
    told_ms: u64,
    /// When the run that is followed could last rely on this node.
    followed: Option<Instant>,
    /// The same of the runs before.
    followed_before: Option<Instant>,
    /// The lease that the run that is followed was granted last.
    granted: Option<LeaseGrant>,
}

/// A lease that the node has granted.
#[derive(Clone, Copy, Debug)]
struct LeaseGrant {
    until: Instant,
    leads: bool,
}

impl Acceptor {
    /// A proxy welcomed the node and may rely on it for a while; `later` if it is a later run
    /// than the one that was followed, and takes its place.
    pub fn welcomed(&mut self, later: bool, now: Instant) {
        if later {
            self.followed_before = self.followed.max(self.followed_before);
        }
        self.followed = Some(now);
        if later {
            self.granted = None;
        }
    }

    /// A ping is answered: its sender may rely on this node for a while.
    pub fn pinged(&mut self, now_ms: u64, lease: LeaseOffer, now: Instant) {
        self.told_ms = self.told_ms.max(now_ms);
        self.followed = Some(now);
        self.granted = Some(LeaseGrant {
            until: now + Duration::from_millis(lease.ms.into()),
            leads: lease.leads,
        });
    }

    /// Whether the node, which is linked to a run of epoch `followed`, may turn to one of epoch
    /// `other`.
    pub fn may_follow(&self, followed: u64, other: u64, now: Instant) -> bool {
        match self.granted.filter(|grant| now < grant.until) {
            None => true,
            Some(LeaseGrant { leads: true, .. }) => other == followed,
            Some(LeaseGrant { leads: false, .. }) => other >= followed,
        }
    }

    /// Keeps a view, unless a later one is known; whether it is kept now.
    pub fn store_view(&mut self, view: MembershipView) -> bool {
        match &self.view {
            Some(known) if known.supersedes(&view) => known.id == view.id,
            _ => {
                self.view = Some(view);
                true
            }
        }
    }

    /// What a later run learns of those before it.
    pub fn promise(&self, now: Instant) -> PromiseInfo {
        let ago = |at: Instant| {
            let ago = now.saturating_duration_since(at);
            u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)
        };
        PromiseInfo {
            view: self.view.clone(),
            told_ms: self.told_ms,
            followed_ms: self.followed_before.map(ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use infinicache_wire::ViewId;

    use super::*;

    const LEADS: LeaseOffer = LeaseOffer {
        ms: 5_000,
        leads: true,
    };
    const CANDIDATE: LeaseOffer = LeaseOffer {
        leads: false,
        ..LEADS
    };

    fn view(epoch: u64, number: u64) -> MembershipView {
        MembershipView {
            id: ViewId { epoch, number },
            parity: 2,
            members: Vec::new(),
            old_members: Vec::new(),
        }
    }

    #[test]
    fn the_latest_view_is_kept() {
        let mut acceptor = Acceptor::default();
        assert!(acceptor.store_view(view(1, 5)));
        assert!(acceptor.store_view(view(2, 1)));
        assert!(
            acceptor.store_view(view(2, 1)),
            "a repeated one is kept already"
        );
        assert!(!acceptor.store_view(view(1, 6)));
        let told = acceptor.promise(Instant::now()).view;
        assert_eq!(told, Some(view(2, 1)));
    }

    #[test]
    fn time_never_goes_back() {
        let (mut acceptor, now) = (Acceptor::default(), Instant::now());
        acceptor.pinged(7, LEADS, now);
        acceptor.pinged(5, LEADS, now);
        assert_eq!(acceptor.promise(now).told_ms, 7);
    }

    #[test]
    fn a_run_that_leads_is_not_left_for_another_while_its_lease_lasts() {
        let (mut acceptor, start) = (Acceptor::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(acceptor.may_follow(0, 7, at(0)), "no run was followed yet");
        acceptor.welcomed(true, at(0));
        assert!(acceptor.may_follow(7, 8, at(0)), "no lease was granted yet");
        acceptor.pinged(1, LEADS, at(1));
        assert!(!acceptor.may_follow(7, 8, at(5)) && !acceptor.may_follow(7, 6, at(5)));
        assert!(
            acceptor.may_follow(7, 7, at(5)),
            "its own wakes are followed"
        );
        assert!(acceptor.may_follow(7, 8, at(6)), "the lease has ended");
        acceptor.pinged(1, LEADS, at(7));
        acceptor.welcomed(true, at(8));
        assert!(acceptor.may_follow(8, 9, at(8)), "that was another's lease");
    }

    #[test]
    fn of_runs_that_do_not_lead_yet_the_later_one_is_followed() {
        let (mut acceptor, now) = (Acceptor::default(), Instant::now());
        acceptor.welcomed(true, now);
        acceptor.pinged(1, CANDIDATE, now);
        assert!(acceptor.may_follow(7, 8, now));
        assert!(!acceptor.may_follow(7, 6, now));
    }

    #[test]
    fn it_knows_how_long_ago_an_earlier_run_could_rely_on_it() {
        let (mut acceptor, start) = (Acceptor::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        acceptor.welcomed(true, at(0));
        acceptor.pinged(1, LEADS, at(1));
        assert_eq!(acceptor.promise(at(2)).followed_ms, None);
        acceptor.welcomed(true, at(3));
        acceptor.pinged(1, LEADS, at(4));
        assert_eq!(acceptor.promise(at(5)).followed_ms, Some(4000));
        acceptor.welcomed(false, at(6));
        assert_eq!(acceptor.promise(at(6)).followed_ms, Some(5000));
    }
}

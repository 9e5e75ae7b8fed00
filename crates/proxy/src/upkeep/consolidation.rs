//! Consolidation: when the pool needs fewer nodes than are awake. Decisions only, without nodes or clocks.
//!
//! Writes wake more nodes once those awake are filled to a high watermark. The
//! other way round, when all that is held would fill one node less no further
//! than a lower watermark, and that has been so for a while, the least filled
//! one becomes *surplus*: it takes no new chunks, what it holds moves to the
//! others, and nothing keeps its platform from stopping it then. One at a time,
//! and never below the nodes that the widest object needs. Between the two
//! marks nothing happens, so neither undoes what the other did.

use std::time::{Duration, Instant};

use infinicache_wire::MemberId;

/// When the pool is too large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The nodes that stay are to be filled no further than this; 0 is never.
    pub(crate) low_percent: u64,
    /// For how long that has to be so.
    pub(crate) calm: Duration,
    /// How long a surplus node may take to be empty.
    pub(crate) drain_timeout: Duration,
}

/// A node that is awake and takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awake {
    pub(crate) member: MemberId,
    /// Bytes that are placed on it.
    pub(crate) used: u64,
    /// Bytes that can be.
    pub(crate) capacity: u64,
    pub(crate) surplus: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Nothing,
    /// Make it surplus, and move what it holds.
    Release(MemberId),
    /// It is needed after all.
    Keep(MemberId),
}

/// What has been so, and for how long.
#[derive(Debug, Default)]
pub(crate) struct Consolidation {
    low_since: Option<Instant>,
    releasing: Option<(MemberId, Instant)>,
}

impl Consolidation {
    /// Looks at the nodes that are awake, of which at least `floor` are to stay.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        policy: &Policy,
        awake: &[Awake],
        floor: usize,
    ) -> Decision {
        if let Some((member, since)) = self.releasing {
            let surplus = awake.iter().find(|it| it.member == member && it.surplus);
            match surplus {
                // It may have gone, been emptied, or be needed by a write.
                None => self.rest(),
                Some(it) if it.used == 0 => self.rest(),
                Some(_) if now >= since + policy.drain_timeout => {
                    self.rest();
                    return Decision::Keep(member);
                }
                Some(_) => return Decision::Nothing,
            }
        }
        let staying: Vec<&Awake> = awake.iter().filter(|it| !it.surplus).collect();
        let least = staying.iter().min_by_key(|it| (it.used, it.member));
        let Some(least) = least.filter(|_| staying.len() > floor) else {
            self.low_since = None;
            return Decision::Nothing;
        };
        let used: u64 = awake.iter().map(|it| it.used).sum();
        let others = staying.iter().filter(|it| it.member != least.member);
        let left: u64 = others.map(|it| it.capacity).sum();
        // A node that holds nothing is let go by itself.
        let fits = used <= left / 100 * policy.low_percent && left > 0;
        if !fits || least.used == 0 {
            self.low_since = None;
            return Decision::Nothing;
        }
        let since = *self.low_since.get_or_insert(now);
        if now < since + policy.calm {
            return Decision::Nothing;
        }
        self.releasing = Some((least.member, now));
        Decision::Release(least.member)
    }

    /// Whether there is nothing to look at.
    pub(crate) fn is_needless(policy: &Policy, awake: &[Awake]) -> bool {
        policy.low_percent == 0 || awake.len() < 2
    }

    /// Begins anew.
    fn rest(&mut self) {
        self.releasing = None;
        self.low_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        low_percent: 50,
        calm: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(300),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Nodes of 1000 bytes that are so full.
    fn nodes(used: &[u64]) -> Vec<Awake> {
        let node = |(number, &used)| Awake {
            member: MemberId(number),
            used,
            capacity: 1000,
            surplus: false,
        };
        (0..).zip(used).map(node).collect()
    }

    /// A pool that has looked the same for `calm`.
    fn calm(nodes: &[Awake], floor: usize) -> (Consolidation, Instant, Decision) {
        let (mut pool, start) = (Consolidation::default(), Instant::now());
        let first = pool.observe(start, &POLICY, nodes, floor);
        assert_eq!(first, Decision::Nothing);
        let now = start + POLICY.calm;
        let decision = pool.observe(now, &POLICY, nodes, floor);
        (pool, now, decision)
    }

    #[test]
    fn the_least_filled_node_is_released_once_the_pool_has_been_too_large_for_a_while() {
        let nodes = nodes(&[400, 300, 350]);
        let (mut pool, start) = (Consolidation::default(), Instant::now());
        assert_eq!(pool.observe(start, &POLICY, &nodes, 2), Decision::Nothing);
        let early = start + POLICY.calm - seconds(1);
        assert_eq!(pool.observe(early, &POLICY, &nodes, 2), Decision::Nothing);
        let (_, _, decision) = calm(&nodes[..2], 1);
        assert_eq!(
            decision,
            Decision::Nothing,
            "700 are more than half of 1000"
        );
        let lighter = self::nodes(&[200, 150, 350]);
        let (_, _, decision) = calm(&lighter, 2);
        assert_eq!(decision, Decision::Release(MemberId(1)));
    }

    #[test]
    fn a_pool_that_fills_in_between_is_given_the_whole_time_again() {
        let (low, high) = (nodes(&[100, 100, 100]), nodes(&[900, 900, 900]));
        let (mut pool, start) = (Consolidation::default(), Instant::now());
        pool.observe(start, &POLICY, &low, 1);
        pool.observe(start + seconds(59), &POLICY, &high, 1);
        let again = start + seconds(60);
        assert_eq!(pool.observe(again, &POLICY, &low, 1), Decision::Nothing);
        let late = again + seconds(59);
        assert_eq!(pool.observe(late, &POLICY, &low, 1), Decision::Nothing);
        let due = again + seconds(60);
        let decision = pool.observe(due, &POLICY, &low, 1);
        assert_eq!(decision, Decision::Release(MemberId(0)));
    }

    #[test]
    fn no_fewer_nodes_stay_than_the_widest_object_needs() {
        let (_, _, decision) = calm(&nodes(&[1, 1, 1]), 3);
        assert_eq!(decision, Decision::Nothing);
        let (_, _, decision) = calm(&nodes(&[1, 1, 1, 1]), 3);
        assert_eq!(decision, Decision::Release(MemberId(0)));
    }

    #[test]
    fn one_node_is_released_at_a_time() {
        let mut nodes = nodes(&[100, 50, 100, 100]);
        let (mut pool, now, decision) = calm(&nodes, 1);
        assert_eq!(decision, Decision::Release(MemberId(1)));
        nodes[1].surplus = true;
        let later = now + seconds(100);
        assert_eq!(pool.observe(later, &POLICY, &nodes, 1), Decision::Nothing);
        nodes[1].used = 0;
        assert_eq!(pool.observe(later, &POLICY, &nodes, 1), Decision::Nothing);
        let due = later + POLICY.calm;
        let decision = pool.observe(due, &POLICY, &nodes, 1);
        assert_eq!(decision, Decision::Release(MemberId(0)));
    }

    #[test]
    fn a_spare_node_that_is_not_emptied_in_time_is_kept() {
        let mut nodes = nodes(&[100, 50, 100]);
        let (mut pool, now, decision) = calm(&nodes, 1);
        assert_eq!(decision, Decision::Release(MemberId(1)));
        nodes[1].surplus = true;
        let late = now + POLICY.drain_timeout;
        let decision = pool.observe(late, &POLICY, &nodes, 1);
        assert_eq!(decision, Decision::Keep(MemberId(1)));
        nodes[1].surplus = false;
        let soon = late + seconds(1);
        assert_eq!(pool.observe(soon, &POLICY, &nodes, 1), Decision::Nothing);
    }

    #[test]
    fn a_spare_node_that_a_write_took_back_counts_as_any_other() {
        let mut nodes = nodes(&[100, 50, 100]);
        let (mut pool, now, _) = calm(&nodes, 1);
        nodes[1].used = 500;
        let decision = pool.observe(now, &POLICY, &nodes, 1);
        assert_eq!(decision, Decision::Nothing);
        let due = now + POLICY.calm;
        let decision = pool.observe(due, &POLICY, &nodes, 1);
        assert_eq!(decision, Decision::Release(MemberId(0)));
    }

    #[test]
    fn releasing_and_waking_do_not_undo_each_other() {
        // Whatever is released leaves the others at most half full: far from where more are woken.
        for used in (0..1000).step_by(50) {
            let nodes = nodes(&[used; 5]);
            if let (_, _, Decision::Release(_)) = calm(&nodes, 1) {
                assert!(used * 5 <= 4 * 1000 / 2, "{used}");
            }
        }
    }

    #[test]
    fn a_policy_of_never_has_nothing_to_look_at() {
        let never = Policy {
            low_percent: 0,
            ..POLICY
        };
        assert!(Consolidation::is_needless(&never, &nodes(&[1, 1])));
        assert!(!Consolidation::is_needless(&POLICY, &nodes(&[1, 1])));
    }
}

//! Which units to ask for to get one stripe: a pure plan.
//!
//! A read *wants* some of a stripe's units, usually those of the data chunks.
//! They are asked first, all at once. When one is missing, broken or late, more
//! are asked until the stripe can be reconstructed from any k. A member that is
//! known to be slow is asked last. Events go into the plan, and the next members
//! to ask come out; sockets and timers are the caller's.

use std::time::Instant;

/// What is known of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// It can be asked for. `slow`: its member is better asked last.
    Untried { slow: bool },
    /// It was asked for and counts as late from then on.
    Asked { late_at: Instant },
    /// It was asked for and did not come in time; it may come yet.
    Late,
    /// It is here. Units without bytes always are.
    Here,
    /// It cannot be had.
    Gone,
}

/// Who can give a unit, as far as the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// No member needs to: the unit has no bytes.
    Empty,
    /// A member that answers in time.
    Quick,
    /// A member that was late recently.
    Slow,
}

/// The state of a stripe that is being fetched.
#[derive(Debug)]
pub(crate) struct FetchPlan {
    units: Vec<Unit>,
    wanted: Vec<usize>,
    need: usize,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchStatus {
    /// Everything wanted is here.
    Whole,
    /// Enough is here to reconstruct what is wanted.
    Reconstructible,
    /// More has to come.
    Waiting,
    /// Too little can still come.
    Lost {
        /// Units that are here or may yet come.
        have: usize,
    },
}

impl FetchPlan {
    /// A plan for a stripe of which any `need` units are enough, and `wanted` are wanted.
    pub(crate) fn new(holders: &[Holder], wanted: &[usize], need: usize) -> Self {
        let units = holders
            .iter()
            .map(|holder| match holder {
                Holder::Nobody => Unit::Gone,
                Holder::Empty => Unit::Here,
                Holder::Quick => Unit::Untried { slow: false },
                Holder::Slow => Unit::Untried { slow: true },
            })
            .collect();
        Self {
            units,
            wanted: wanted.to_vec(),
            need,
        }
    }

    /// Whom to ask now; they count as asked, and as late from `late_at` on.
    pub(crate) fn asks(&mut self, late_at: Instant) -> Vec<usize> {
        let mut asks: Vec<usize> = Vec::new();
        let direct = |unit: Unit| {
            matches!(
                unit,
                Unit::Untried { slow: false } | Unit::Asked { .. } | Unit::Here
            )
        };
        if self.wanted.iter().all(|&index| direct(self.units[index])) {
            asks.extend(self.wanted.iter().filter(|&&index| self.is_untried(index)));
        } else {
            let promising = |unit: &&Unit| matches!(unit, Unit::Asked { .. } | Unit::Here);
            let promised = self.units.iter().filter(promising).count();
            asks.extend(self.candidates().take(self.need.saturating_sub(promised)));
        }
        for &index in &asks {
            self.units[index] = Unit::Asked { late_at };
        }
        asks
    }

    /// Untried units, in the order in which they are worth asking for.
    fn candidates(&self) -> impl Iterator<Item = usize> {
        let of = |wanted: bool, slow: bool| {
            (0..self.units.len()).filter(move |&index| {
                self.units[index] == Unit::Untried { slow }
                    && self.wanted.contains(&index) == wanted
            })
        };
        of(true, false)
            .chain(of(false, false))
            .chain(of(true, true))
            .chain(of(false, true))
    }

    fn is_untried(&self, index: usize) -> bool {
        matches!(self.units[index], Unit::Untried { .. })
    }

    /// A unit came and is sound.
    pub(crate) fn came(&mut self, index: usize) {
        self.units[index] = Unit::Here;
    }

    /// A unit cannot be had.
    pub(crate) fn failed(&mut self, index: usize) {
        self.units[index] = Unit::Gone;
    }

    /// Which units have become late by `now`.
    pub(crate) fn late(&mut self, now: Instant) -> Vec<usize> {
        let is_late = |unit: &Unit| matches!(unit, Unit::Asked { late_at } if *late_at <= now);
        let late: Vec<usize> = (0..self.units.len())
            .filter(|&index| is_late(&self.units[index]))
            .collect();
        for &index in &late {
            self.units[index] = Unit::Late;
        }
        late
    }

    /// When the next unit becomes late, if nothing comes before.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        let late_at = |unit: &Unit| match unit {
            Unit::Asked { late_at } => Some(*late_at),
            _ => None,
        };
        self.units.iter().filter_map(late_at).min()
    }

    /// Whether a unit is here.
    pub(crate) fn is_here(&self, index: usize) -> bool {
        self.units[index] == Unit::Here
    }

    /// Where the plan stands.
    pub(crate) fn standing(&self) -> FetchStatus {
        if self.wanted.iter().all(|&index| self.is_here(index)) {
            return FetchStatus::Whole;
        }
        if self
            .units
            .iter()
            .filter(|unit| **unit == Unit::Here)
            .count()
            >= self.need
        {
            return FetchStatus::Reconstructible;
        }
        let have = self
            .units
            .iter()
            .filter(|unit| **unit != Unit::Gone)
            .count();
        let wanted_may_come = self
            .wanted
            .iter()
            .all(|&index| self.units[index] != Unit::Gone);
        if have < self.need && !wanted_may_come {
            return FetchStatus::Lost { have };
        }
        FetchStatus::Waiting
    }

    /// The first `need` units that are here: enough to reconstruct the others.
    pub(crate) fn basis(&self) -> Vec<usize> {
        let here = (0..self.units.len()).filter(|&index| self.is_here(index));
        here.take(self.need).collect()
    }

    /// Which of the wanted units are not here.
    pub(crate) fn missing(&self) -> Vec<usize> {
        let is_missing = |index: &usize| !self.is_here(*index);
        self.wanted.iter().copied().filter(is_missing).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const DATA: [usize; 4] = [0, 1, 2, 3];

    fn plan(holders: [Holder; 6]) -> FetchPlan {
        FetchPlan::new(&holders, &DATA, 4)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(10)
    }

    #[test]
    fn a_healthy_stripe_takes_its_data_units_and_no_more() {
        let mut plan = plan([Holder::Quick; 6]);
        assert_eq!(plan.asks(soon()), DATA);
        for index in DATA {
            assert_eq!(plan.standing(), FetchStatus::Waiting);
            plan.came(index);
            assert_eq!(plan.asks(soon()), [0; 0]);
        }
        assert_eq!(plan.standing(), FetchStatus::Whole);
    }

    #[test]
    fn a_lost_chunk_is_made_up_for_by_one_parity_unit_at_once() {
        let mut plan = plan([
            Holder::Quick,
            Holder::Nobody,
            Holder::Quick,
            Holder::Quick,
            Holder::Quick,
            Holder::Quick,
        ]);
        assert_eq!(plan.asks(soon()), [0, 2, 3, 4]);
        for index in [0, 2, 3, 4] {
            plan.came(index);
        }
        assert_eq!(plan.standing(), FetchStatus::Reconstructible);
        assert_eq!(plan.basis(), [0, 2, 3, 4]);
        assert_eq!(plan.missing(), [1]);
    }

    #[test]
    fn a_late_unit_is_hedged_and_may_still_win() {
        let mut plan = plan([Holder::Quick; 6]);
        let late_at = soon();
        plan.asks(late_at);
        for index in [0, 1, 2] {
            plan.came(index);
        }
        assert_eq!(plan.late(late_at - Duration::from_millis(1)), [0; 0]);
        assert_eq!(plan.next_late(), Some(late_at));
        assert_eq!(plan.late(late_at), [3]);
        assert_eq!(plan.asks(soon()), [4]);
        plan.came(3);
        assert_eq!(plan.standing(), FetchStatus::Whole);
    }

    #[test]
    fn a_slow_member_is_asked_only_when_there_is_no_other_way() {
        let mut plan = plan([
            Holder::Slow,
            Holder::Quick,
            Holder::Quick,
            Holder::Quick,
            Holder::Quick,
            Holder::Nobody,
        ]);
        assert_eq!(plan.asks(soon()), [1, 2, 3, 4]);
        plan.failed(4);
        assert_eq!(plan.asks(soon()), [0]);
    }

    #[test]
    fn a_part_of_a_stripe_asks_for_that_part_only_until_it_fails() {
        let mut plan = FetchPlan::new(&[Holder::Quick; 6], &[2], 4);
        assert_eq!(plan.asks(soon()), [2]);
        plan.failed(2);
        assert_eq!(plan.asks(soon()), [0, 1, 3, 4]);
    }

    #[test]
    fn units_without_bytes_are_never_asked_for() {
        let mut plan = plan([
            Holder::Quick,
            Holder::Empty,
            Holder::Empty,
            Holder::Empty,
            Holder::Quick,
            Holder::Quick,
        ]);
        assert_eq!(plan.asks(soon()), [0]);
        plan.failed(0);
        assert_eq!(plan.asks(soon()), [4]);
        plan.came(4);
        assert_eq!(plan.standing(), FetchStatus::Reconstructible);
    }

    #[test]
    fn too_many_failures_are_a_loss() {
        let mut plan = plan([Holder::Quick; 6]);
        plan.asks(soon());
        plan.failed(0);
        plan.failed(1);
        plan.asks(soon());
        assert_eq!(plan.standing(), FetchStatus::Waiting);
        plan.failed(5);
        assert_eq!(plan.standing(), FetchStatus::Lost { have: 3 });
    }

    proptest! {
        /// Whatever fails, is late or comes: the plan ends with the stripe if k units
        /// came, and with a loss only if fewer than k could.
        #[test]
        fn a_plan_always_ends_and_never_gives_up_early(
            fates in prop::collection::vec((0u8..4, any::<bool>()), 6),
            wanted in prop::sample::subsequence(vec![0usize, 1, 2, 3], 1..=4),
        ) {
            let holders: Vec<Holder> = fates
                .iter()
                .map(|(fate, slow)| match (fate, slow) {
                    (0, _) => Holder::Nobody,
                    (_, true) => Holder::Slow,
                    (_, false) => Holder::Quick,
                })
                .collect();
            let mut plan = FetchPlan::new(&holders, &wanted, 4);
            let mut asked = Vec::new();
            for _round in 0..20 {
                let now = Instant::now();
                let asks = plan.asks(now);
                plan.late(now);
                for index in asks {
                    prop_assert!(!asked.contains(&index), "nobody is asked twice");
                    asked.push(index);
                    match fates[index].0 {
                        1 => plan.failed(index),
                        2 => {} // stays late
                        _ => plan.came(index),
                    }
                }
                match plan.standing() {
                    FetchStatus::Waiting => continue,
                    FetchStatus::Lost { have } => {
                        prop_assert!(have < 4);
                        return Ok(());
                    }
                    FetchStatus::Whole | FetchStatus::Reconstructible => return Ok(()),
                }
            }
            // Still waiting: only because late units are waited for and all others were tried.
            let pending = fates.iter().filter(|(fate, _)| *fate == 2).count();
            prop_assert!(pending > 0);
        }
    }
}

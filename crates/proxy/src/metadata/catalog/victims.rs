//! Which objects are to be evicted.
//!
//! CLOCK says in which order they go. How many go is decided for a whole write
//! at once: if what may go cannot make enough room on every one of its members,
//! nothing does, and what turns out not to be needed stays.

use std::sync::Arc;

use infinicache_wire::MemberId;

use super::{object::Object, ring::Ring, shortfall::Shortfall};

/// Whether an object may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvictionClass {
    /// In its turn.
    Now,
    /// If none of those that may go in their turn will do.
    Last,
    /// If there is no other way, but then before the others, which would not help.
    Replaced,
    /// Not at this moment: its memory would not be freed, or something else keeps it for a while.
    Later,
    Never,
}

/// The room that is to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// What is lacking at this moment.
    pub(crate) now: Shortfall,
    /// What will be lacking in the end: nothing is evicted for something that cannot fit.
    pub(crate) in_all: Shortfall,
    /// The same, if all that readers hold of removed objects comes back.
    pub(crate) at_best: Shortfall,
}

/// What may be evicted does not make enough room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotEnough {
    /// On a member where it does not.
    pub(crate) on: MemberId,
    /// There would be enough if what is held for a while went too.
    pub(crate) soon: bool,
}

/// What may be evicted, in the order of CLOCK.
struct Candidates {
    /// Each with the number of steps that the hand takes to it.
    unused: Vec<(usize, usize)>,
    used: Vec<(usize, usize)>,
    last: Vec<(usize, usize)>,
    replaced: Option<usize>,
    in_all: Shortfall,
    at_best: Shortfall,
}

impl Ring {
    /// The victims that have to go so that enough is freed; none if none have to.
    ///
    /// # Errors
    ///
    /// [`NotEnough`]; nothing has changed then.
    pub(super) fn victims(
        &mut self,
        wanted: &Wanted,
        eviction_class: impl Fn(&Arc<Object>) -> EvictionClass,
    ) -> Result<Vec<Arc<Object>>, NotEnough> {
        let mut candidates = self.candidates(wanted, eviction_class);
        if candidates.in_all.is_met() {
            candidates.replaced = None;
        } else if let Some(replaced) = candidates.replaced.and_then(|slot| self.at(slot)) {
            candidates.in_all.add(replaced);
        }
        if let Some(on) = candidates.in_all.unmet_on() {
            let soon = candidates.at_best.is_met();
            return Err(NotEnough { on, soon });
        }
        Ok(self.choose(wanted.now.clone(), &candidates))
    }

    fn candidates(
        &self,
        wanted: &Wanted,
        eviction_class: impl Fn(&Arc<Object>) -> EvictionClass,
    ) -> Candidates {
        let mut candidates = Candidates {
            unused: Vec::new(),
            used: Vec::new(),
            last: Vec::new(),
            replaced: None,
            in_all: wanted.in_all.clone(),
            at_best: wanted.at_best.clone(),
        };
        let mut in_all_unused = wanted.in_all.clone();
        for (step, (slot, object)) in self.ahead().enumerate() {
            if in_all_unused.is_met() {
                break;
            }
            if !wanted.in_all.needs(object) {
                continue;
            }
            match eviction_class(object) {
                EvictionClass::Never => continue,
                EvictionClass::Later => {
                    candidates.at_best.add(object);
                    continue;
                }
                EvictionClass::Replaced => {
                    candidates.at_best.add(object);
                    candidates.replaced = Some(slot);
                    continue;
                }
                EvictionClass::Now if object.reference_bit().is_set() => {
                    if candidates.in_all.add(object) {
                        candidates.used.push((step, slot));
                    }
                }
                EvictionClass::Now => {
                    candidates.in_all.add(object);
                    if in_all_unused.add(object) {
                        candidates.unused.push((step, slot));
                    }
                }
                EvictionClass::Last => {
                    if candidates.in_all.add(object) {
                        candidates.last.push((step, slot));
                    }
                }
            }
            candidates.at_best.add(object);
        }
        candidates
    }

    /// Takes as many as it takes, and turns the hand.
    fn choose(&mut self, mut short: Shortfall, candidates: &Candidates) -> Vec<Arc<Object>> {
        let mut victims: Vec<Arc<Object>> = Vec::new();
        let mut add = |ring: &Self, slot: usize| {
            let victim = ring.at(slot).filter(|object| short.add(object));
            victims.extend(victim.cloned());
            victim.is_some()
        };
        if let Some(slot) = candidates.replaced {
            add(self, slot);
        }
        // Those in the hand's way that were used are spared once; if there are not enough others,
        // it goes round once more, and takes them too.
        let mut route = None;
        for &(step, slot) in &candidates.unused {
            if add(self, slot) {
                route = Some((step, slot));
            }
        }
        for &(_, slot) in candidates.used.iter().chain(&candidates.last) {
            if add(self, slot) {
                route = Some((usize::MAX, slot));
            }
        }
        if let Some((steps, hand)) = route {
            let passed = candidates.used.iter().filter(|(step, _)| *step <= steps);
            for &(_, slot) in passed {
                if let Some(object) = self.at(slot) {
                    object.reference_bit().clear();
                }
            }
            self.turn_to(hand);
        }
        // A large one that came late may make small ones before it unnecessary.
        let mut kept = Vec::with_capacity(victims.len());
        for object in victims.into_iter().rev() {
            if !short.spare(&object) {
                kept.push(object);
            }
        }
        kept.reverse();
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metadata::catalog::fixture;

    fn ring(objects: &[Arc<Object>]) -> Ring {
        let mut ring = Ring::default();
        objects.iter().for_each(|object| ring.insert(object));
        ring
    }

    /// Objects of these sizes, a byte each if not said otherwise, on as many members as told.
    fn objects(sizes: &[(u64, usize)]) -> Vec<Arc<Object>> {
        let object = |(number, &(size, width)): (usize, &(u64, usize))| {
            fixture::object(&number.to_string(), size, (1, width - 1), None)
        };
        sizes.iter().enumerate().map(object).collect()
    }

    /// So much is lacking on members 0, 1 and so on.
    fn lacking(bytes: &[u64]) -> Wanted {
        let lacking = Shortfall::new((0..).map(MemberId).zip(bytes.iter().copied()));
        Wanted {
            now: lacking.clone(),
            in_all: lacking.clone(),
            at_best: lacking,
        }
    }

    fn names(victims: &[Arc<Object>]) -> Vec<String> {
        let name = |object: &Arc<Object>| String::from_utf8(object.key().to_vec()).unwrap();
        victims.iter().map(name).collect()
    }

    #[test]
    fn what_was_used_since_the_hand_passed_is_spared_once() {
        let objects = objects(&[(10, 1); 3]);
        let mut ring = ring(&objects);
        objects[1].reference_bit().set();
        let mut evict = || {
            let victims = ring
                .victims(&lacking(&[1]), |_| EvictionClass::Now)
                .unwrap();
            victims.iter().for_each(|victim| ring.remove(victim));
            names(&victims).concat()
        };
        let mut first = [evict(), evict()];
        first.sort();
        assert_eq!(first, ["0", "2"]);
        assert_eq!(evict(), "1");
        assert_eq!((ring.len(), ring.bytes()), (0, 0));
        let none = ring.victims(&lacking(&[1]), |_| EvictionClass::Now);
        let (on, soon) = (MemberId(0), false);
        assert_eq!(none.unwrap_err(), NotEnough { on, soon });
    }

    #[test]
    fn the_hand_clears_the_marks_that_it_passes_and_no_others() {
        let objects = objects(&[(10, 1); 4]);
        let mut ring = ring(&objects);
        ring.turn_to(3);
        for used in [0, 2] {
            objects[used].reference_bit().set();
        }
        let victims = ring
            .victims(&lacking(&[1]), |_| EvictionClass::Now)
            .unwrap();
        assert_eq!(names(&victims), ["1"]);
        assert!(!objects[0].reference_bit().is_set() && objects[2].reference_bit().is_set());
    }

    #[test]
    fn a_large_one_spares_the_small_ones_that_it_makes_unnecessary() {
        let objects = objects(&[(10, 1), (10, 1), (100_000, 1), (10, 1)]);
        let mut ring = ring(&objects);
        let victims = ring.victims(&lacking(&[100_000]), |_| EvictionClass::Now);
        assert_eq!(names(&victims.unwrap()), ["2"]);
    }

    #[test]
    fn nothing_goes_if_one_member_lacks_more_than_may_go() {
        let objects = objects(&[(1000, 1), (1000, 2)]);
        objects[0].reference_bit().set();
        let mut ring = ring(&objects);
        let held = |object: &Arc<Object>| match object.key() {
            b"1" => EvictionClass::Later,
            _ => EvictionClass::Now,
        };
        let lacking = lacking(&[500, 500]);
        let found = ring.victims(&lacking, held).unwrap_err();
        let (on, soon) = (MemberId(1), true);
        assert_eq!(found, NotEnough { on, soon });
        assert!(objects[0].reference_bit().is_set(), "the hand did not move");
        let never = |object: &Arc<Object>| match held(object) {
            EvictionClass::Later => EvictionClass::Never,
            other => other,
        };
        let soon = false;
        let found = ring.victims(&lacking, never).unwrap_err();
        assert_eq!(found, NotEnough { on, soon });
    }

    #[test]
    fn what_is_replaced_goes_only_if_it_must_and_then_first() {
        let objects = objects(&[(1000, 1), (1000, 1), (1000, 1)]);
        let mut ring = ring(&objects);
        let eviction_class = |object: &Arc<Object>| match object.key() {
            b"2" => EvictionClass::Replaced,
            _ => EvictionClass::Now,
        };
        let mut victims = |bytes| {
            let victims = ring.victims(&lacking(&[bytes]), eviction_class).unwrap();
            names(&victims).concat()
        };
        let both = objects[0].footprint(0) + objects[1].footprint(0);
        assert!(!victims(both).contains('2'));
        let wanted = Wanted {
            now: lacking(&[1]).now,
            ..lacking(&[both + 1])
        };
        let victims = ring.victims(&wanted, eviction_class).unwrap();
        assert_eq!(names(&victims), ["2"], "for now it is enough");
    }

    #[test]
    fn what_remote_reads_hold_goes_last() {
        let objects = objects(&[(1000, 1), (1000, 1)]);
        let mut ring = ring(&objects);
        objects[1].reference_bit().set();
        let eviction_class = |object: &Arc<Object>| match object.key() {
            b"0" => EvictionClass::Last,
            _ => EvictionClass::Now,
        };
        let victims = ring.victims(&lacking(&[1]), eviction_class).unwrap();
        assert_eq!(names(&victims), ["1"]);
        let two = objects[0].footprint(0) + 1;
        assert_eq!(
            ring.victims(&lacking(&[two]), eviction_class)
                .unwrap()
                .len(),
            2
        );
    }

    fn eviction_class() -> impl Strategy<Value = EvictionClass> {
        prop_oneof![
            4 => Just(EvictionClass::Now),
            1 => Just(EvictionClass::Last),
            1 => Just(EvictionClass::Later),
            1 => Just(EvictionClass::Never),
        ]
    }

    proptest! {
        #[test]
        fn victims_are_enough_and_none_of_them_is_needless(
            made in prop::collection::vec((1u64..5000, 1usize..4, any::<bool>(), eviction_class()), 0..20),
            bytes in prop::collection::vec(0u64..12_000, 3),
            more in prop::collection::vec(0u64..6_000, 3),
        ) {
            let sizes: Vec<_> = made.iter().map(|it| (it.0, it.1)).collect();
            let objects = objects(&sizes);
            let mut ring = ring(&objects);
            objects.iter().zip(&made).filter(|(_, it)| it.2).for_each(|(object, _)| object.reference_bit().set());
            let of = |object: &Object| {
                let number: usize = str::from_utf8(object.key()).unwrap().parse().unwrap();
                made[number].3
            };
            let all: Vec<u64> = bytes.iter().zip(&more).map(|(now, more)| now + more).collect();
            let wanted = Wanted { now: lacking(&bytes).now, ..lacking(&all) };
            let meets = |short: &Shortfall, objects: &mut dyn Iterator<Item = &Arc<Object>>| {
                let mut short = short.clone();
                objects.for_each(|object| { short.add(object); });
                short.is_met()
            };
            let going = |object: &&Arc<Object>| matches!(of(object), EvictionClass::Now | EvictionClass::Last);
            let in_the_end = |object: &&Arc<Object>| of(object) != EvictionClass::Never;
            match ring.victims(&wanted, |object| of(object)) {
                Ok(victims) => {
                    prop_assert!(meets(&wanted.in_all, &mut objects.iter().filter(going)));
                    prop_assert!(victims.iter().all(|victim| going(&victim)));
                    prop_assert!(meets(&wanted.now, &mut victims.iter()));
                    for needed in 0..victims.len() {
                        let others = victims.iter().enumerate().filter(|(at, _)| *at != needed);
                        let mut others = others.map(|(_, victim)| victim);
                        prop_assert!(!meets(&wanted.now, &mut others));
                    }
                }
                Err(found) => {
                    prop_assert!(!meets(&wanted.in_all, &mut objects.iter().filter(going)));
                    let at_best = meets(&wanted.at_best, &mut objects.iter().filter(in_the_end));
                    prop_assert_eq!(found.soon, at_best);
                }
            }
        }
    }
}

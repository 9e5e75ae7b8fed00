//! Histories of a register that is right by construction are accepted.

use std::time::Duration;

use proptest::prelude::*;

use super::{Event, Only, Operation, Outcome, check};
use crate::values::Value;

/// What one client asks, and how it fares.
#[derive(Clone, Copy, Debug)]
struct Plan {
    kind: Kind,
    ttl: Option<u64>,
    invoked: u64,
    /// How much later it takes effect.
    effect: u64,
    /// How much later than that it is answered.
    answer: u64,
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Set(Option<Only>),
    Get,
    Delete,
    Expire,
    /// Not asked by anybody: the cache removes the value.
    Evict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Told,
    /// Takes effect so much after the client has given up.
    TakenUntold(u64),
    LostUntold,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let kind = prop_oneof![
        4 => Just(Kind::Set(None)),
        1 => Just(Kind::Set(Some(Only::Absent))),
        1 => Just(Kind::Set(Some(Only::Present))),
        6 => Just(Kind::Get),
        2 => Just(Kind::Delete),
        1 => Just(Kind::Expire),
        1 => Just(Kind::Evict),
    ];
    let fate = prop_oneof![
        8 => Just(Fate::Told),
        1 => (0..2_000u64).prop_map(Fate::TakenUntold),
        1 => Just(Fate::LostUntold),
    ];
    let plan = (
        kind,
        prop::option::weighted(0.3, 1..1_500u64),
        0..5_000u64,
        0..300u64,
        0..300u64,
        fate,
    );
    let plan = plan.prop_map(|(kind, ttl, invoked, effect, answer, fate)| Plan {
        kind,
        ttl,
        invoked,
        effect,
        answer,
        fate,
    });
    prop::collection::vec(plan, 1..60)
}

/// What a register that does one thing after another makes of the plans, and how often it evicted.
fn run(plans: &[Plan]) -> (Vec<Event>, u64) {
    // No two effects at once, and all of them between what is told of their times.
    let effect = |index: usize, plan: &Plan| {
        let late = match plan.fate {
            Fate::TakenUntold(late) => plan.answer + late,
            Fate::Told | Fate::LostUntold => 0,
        };
        (plan.invoked + plan.effect + late) * 1_000 + index as u64
    };
    let mut order: Vec<(usize, &Plan)> = plans.iter().enumerate().collect();
    order.sort_by_key(|(index, plan)| effect(*index, plan));

    let mut current: Option<(Value, Option<u64>)> = None;
    let (mut events, mut evicted) = (Vec::new(), 0);
    for (index, plan) in order {
        let now = effect(index, plan);
        current = current.filter(|(_, end)| end.is_none_or(|end| now < end));
        let end = plan.ttl.map(|ttl| now + ttl * 1_000);
        let ttl = plan.ttl.map(Duration::from_millis);
        let was_there = current.is_some();
        let found = |is: bool| if is { Outcome::Done } else { Outcome::Not };
        let taken = plan.fate != Fate::LostUntold;
        let (operation, outcome) = match plan.kind {
            Kind::Evict => {
                evicted += u64::from(current.take().is_some());
                continue;
            }
            Kind::Set(only_if) => {
                let value = Value::new(index as u32, 100);
                let holds = only_if.is_none_or(|only| (only == Only::Present) == was_there);
                if holds && taken {
                    current = Some((value, end));
                }
                let set = Operation::Set {
                    value,
                    only_if,
                    ttl,
                };
                (set, found(holds))
            }
            Kind::Get => {
                let read = |(value, _)| Outcome::Read(Ok(value));
                (Operation::Get, current.map_or(Outcome::Not, read))
            }
            Kind::Delete => {
                if taken {
                    current = None;
                }
                (Operation::Delete, found(was_there))
            }
            Kind::Expire => {
                if let (Some((_, until)), true) = (&mut current, taken) {
                    *until = Some(now + 700_000);
                }
                let ttl = Duration::from_millis(700);
                (Operation::Expire(ttl), found(was_there))
            }
        };
        let outcome = match plan.fate {
            Fate::Told => outcome,
            _ => Outcome::Unknown,
        };
        let completed = plan.invoked + plan.effect + plan.answer;
        events.push(Event {
            key: "key".into(),
            operation,
            invoked: Duration::from_millis(plan.invoked),
            completed: Duration::from_millis(completed) + Duration::from_micros(999),
            outcome,
        });
    }
    (events, evicted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_register_does_is_right(plans in plans()) {
        let (events, evicted) = run(&plans);
        let checked = check(&events, evicted);
        prop_assert!(checked.is_ok(), "{checked:?} of {events:#?}");
    }

    #[test]
    fn a_value_that_is_read_though_nobody_wrote_it_is_found_in_any_of_them(
        plans in plans(),
        at in any::<prop::sample::Index>(),
    ) {
        let (mut events, evicted) = run(&plans);
        prop_assume!(!events.is_empty());
        let event = at.get(&events).clone();
        events.push(Event {
            operation: Operation::Get,
            outcome: Outcome::Read(Ok(Value::new(1_000, 100))),
            ..event
        });
        prop_assert!(check(&events, evicted).is_err());
    }
}

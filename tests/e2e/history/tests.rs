//! Histories that must not be, and some that may.

use std::time::Duration;

use super::{check::Violation, *};

/// A history of one key, written by hand in milliseconds.
#[derive(Default)]
struct Story(Vec<Event>);

impl Story {
    fn then(
        mut self,
        (invoked, completed): (u64, u64),
        operation: Operation,
        outcome: Outcome,
    ) -> Self {
        self.0.push(Event {
            key: "key".into(),
            operation,
            invoked: Duration::from_millis(invoked),
            completed: Duration::from_millis(completed),
            outcome,
        });
        self
    }

    fn set(self, at: (u64, u64), number: u32, outcome: Outcome) -> Self {
        self.then(at, set(number), outcome)
    }

    fn get(self, at: (u64, u64), number: u32) -> Self {
        self.then(at, Operation::Get, Outcome::Read(Ok(value(number))))
    }

    fn miss(self, at: (u64, u64)) -> Self {
        self.then(at, Operation::Get, Outcome::Not)
    }

    fn delete(self, at: (u64, u64), outcome: Outcome) -> Self {
        self.then(at, Operation::Delete, outcome)
    }

    fn wrong(self, at: (u64, u64), bytes: &[u8]) -> Self {
        let read = Outcome::Read(Value::tell(bytes));
        self.then(at, Operation::Get, read)
    }

    #[track_caller]
    fn is_right(&self) {
        assert_eq!(check(&self.0, 0).map(drop), Ok(()));
    }

    /// The one violation that there is.
    #[track_caller]
    fn violation(&self) -> Violation {
        let mut violations = check(&self.0, 0).expect_err("a violation");
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations.remove(0)
    }

    #[track_caller]
    fn came_back(&self) {
        let violation = self.violation();
        let came_back = matches!(violation, Violation::CameBack { .. });
        assert!(came_back, "{violation}");
    }
}

fn value(number: u32) -> Value {
    Value {
        writer: 1,
        number,
        size: 1000,
    }
}

fn set(number: u32) -> Operation {
    Operation::Set {
        value: value(number),
        only_if: None,
        ttl: None,
    }
}

fn set_for(number: u32, millis: u64) -> Operation {
    Operation::Set {
        value: value(number),
        only_if: None,
        ttl: Some(Duration::from_millis(millis)),
    }
}

fn set_only_if(number: u32, only: Only) -> Operation {
    Operation::Set {
        value: value(number),
        only_if: Some(only),
        ttl: None,
    }
}

fn begin() -> Story {
    Story::default().set((0, 10), 1, Outcome::Done)
}

#[test]
fn a_read_gives_the_value_before_a_write_or_after_it_while_it_is_under_way() {
    begin()
        .set((20, 60), 2, Outcome::Done)
        .get((22, 30), 1)
        .get((24, 50), 2)
        .get((25, 55), 1)
        .get((70, 80), 2)
        .is_right();
}

#[test]
fn a_stale_read_after_an_acknowledged_overwrite_is_found() {
    begin()
        .set((20, 30), 2, Outcome::Done)
        .get((40, 50), 1)
        .came_back();
}

#[test]
fn an_older_value_after_a_newer_one_was_read_is_found_though_its_write_goes_on() {
    begin()
        .set((20, 100), 2, Outcome::Done)
        .get((30, 40), 2)
        .get((50, 60), 1)
        .came_back();
}

#[test]
fn a_read_after_an_acknowledged_delete_is_found() {
    begin()
        .delete((20, 30), Outcome::Done)
        .get((40, 50), 1)
        .came_back();
}

#[test]
fn a_value_that_returns_after_a_miss_is_found() {
    begin()
        .delete((20, 200), Outcome::Done)
        .miss((40, 50))
        .get((60, 70), 1)
        .came_back();
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    let violation = begin().get((20, 30), 7).violation();
    assert!(matches!(violation, Violation::NeverWritten { .. }));
    let early = Story::default()
        .get((0, 10), 1)
        .set((20, 30), 1, Outcome::Done);
    assert!(matches!(early.violation(), Violation::NeverWritten { .. }));
}

#[test]
fn mixed_bytes_and_short_values_are_found() {
    let (one, two) = (value(1).bytes(), value(2).bytes());
    let mixed = [&one[..500], &two[500..]].concat();
    for bytes in [&mixed[..], &one[..999], &one[..10], &[]] {
        let violation = begin().wrong((20, 30), bytes).violation();
        assert!(matches!(violation, Violation::Wrong { .. }), "{violation}");
    }
}

#[test]
fn a_miss_is_explained_by_what_came_before_or_at_the_same_time_or_was_counted() {
    Story::default().miss((0, 10)).is_right();
    begin().miss((5, 20)).is_right();
    begin()
        .delete((20, 30), Outcome::Done)
        .miss((40, 50))
        .is_right();
    begin()
        .delete((20, 60), Outcome::Done)
        .miss((30, 50))
        .is_right();
    let unexplained = begin().miss((20, 30)).miss((40, 50));
    let violation = unexplained.violation();
    assert!(matches!(
        violation,
        Violation::Unexplained { vanished: 1, .. }
    ));
    assert_eq!(check(&unexplained.0, 1).unwrap().vanished, 1);
    // Written anew and gone anew takes another.
    let twice = unexplained.set((60, 70), 2, Outcome::Done).miss((80, 90));
    assert!(check(&twice.0, 1).is_err());
    assert!(check(&twice.0, 2).is_ok());
}

#[test]
fn a_delete_before_a_write_does_not_explain_a_miss_after_it() {
    let violation = Story::default()
        .delete((0, 5), Outcome::Not)
        .set((10, 20), 1, Outcome::Done)
        .miss((30, 40))
        .violation();
    assert!(matches!(violation, Violation::Unexplained { .. }));
}

#[test]
fn an_expired_value_that_comes_back_is_found() {
    let story = Story::default().then((0, 10), set_for(1, 500), Outcome::Done);
    story.get((1000, 1010), 1).violation();
    let story = Story::default()
        .then((0, 10), set_for(1, 500), Outcome::Done)
        .get((400, 410), 1)
        .miss((600, 610));
    story.is_right();
    let violation = begin()
        .then(
            (20, 30),
            Operation::Expire(Duration::from_millis(200)),
            Outcome::Done,
        )
        .get((500, 510), 1)
        .violation();
    assert!(matches!(violation, Violation::Outlived { .. }));
    begin()
        .then(
            (20, 30),
            Operation::Expire(Duration::from_millis(200)),
            Outcome::Done,
        )
        .then(
            (40, 50),
            Operation::Expire(Duration::from_millis(900)),
            Outcome::Done,
        )
        .get((500, 510), 1)
        .is_right();
}

#[test]
fn a_value_whose_time_is_not_over_does_not_explain_a_miss() {
    let violation = Story::default()
        .then((0, 10), set_for(1, 5_000), Outcome::Done)
        .miss((600, 610))
        .violation();
    assert!(matches!(violation, Violation::Unexplained { .. }));
}

#[test]
fn a_refused_or_failed_write_that_appears_is_found() {
    let refused = set_only_if(2, Only::Absent);
    let violation = begin()
        .then((20, 30), refused, Outcome::Not)
        .get((40, 50), 2)
        .violation();
    assert!(matches!(violation, Violation::NeverWritten { .. }));
    let violation = begin()
        .set((20, 30), 2, Outcome::Failed)
        .get((40, 50), 2)
        .violation();
    assert!(matches!(violation, Violation::NeverWritten { .. }));
}

#[test]
fn a_condition_that_cannot_have_held_is_found() {
    let violation = begin()
        .then((20, 30), set_only_if(2, Only::Absent), Outcome::Done)
        .violation();
    assert!(matches!(violation, Violation::Unexplained { .. }));
    let violation = Story::default()
        .then((20, 30), set_only_if(2, Only::Present), Outcome::Done)
        .violation();
    assert!(matches!(violation, Violation::FromNowhere { .. }));
    let violation = begin()
        .delete((20, 30), Outcome::Done)
        .delete((40, 50), Outcome::Done)
        .violation();
    assert!(matches!(violation, Violation::FromNowhere { .. }));
}

#[test]
fn a_write_of_unknown_outcome_may_appear_late_or_never() {
    let story = || begin().set((20, 30), 2, Outcome::Unknown);
    story().get((40, 50), 1).get((60, 70), 1).is_right();
    story().get((40, 50), 1).get((60, 70), 2).is_right();
    story().get((40, 50), 2).get((60, 70), 1).came_back();
    begin()
        .delete((20, 30), Outcome::Unknown)
        .get((40, 50), 1)
        .miss((60, 70))
        .is_right();
}

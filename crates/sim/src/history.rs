//! What clients asked and were answered, and whether a sound cache can have done so.
//!
//! For each key there is a set of states that explain all answers so far. What is
//! asked may take effect at any moment until it is answered; what was never
//! answered may do so late, or never. An answer that no state explains is a
//! violation.
//!
//! A value that was evicted, lost for a counted reason, or is being deleted may be
//! seen or not, until something newer was acknowledged: it is *faint*.

use std::collections::{BTreeMap, BTreeSet};

use infinicache_host::simulation::elapsed;

/// Virtual milliseconds since the start.
pub(crate) type Millis = u64;

/// Milliseconds since the beginning.
pub(crate) fn now() -> Millis {
    elapsed().map_or(0, |it| it.as_millis() as u64)
}

/// The name of a key.
pub(crate) fn name(key: u8) -> String {
    format!("k{key}")
}

/// The key of a name.
pub(crate) fn key_of(name: &str) -> Option<u8> {
    name.strip_prefix('k')?.parse().ok()
}

/// Something that was asked.
pub(crate) type Operation = u64;

/// How far clocks may be from each other when something expires.
pub(crate) const CLOCK_TOLERANCE: Millis = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    Get {
        key: u8,
    },
    Set {
        key: u8,
        value: u64,
        if_absent: bool,
    },
    Delete {
        key: u8,
    },
    /// 0 is never.
    Expire {
        key: u8,
        at: u64,
    },
}

impl Invocation {
    pub(crate) fn key(self) -> u8 {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Expire { key, .. } => key,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Completion {
    Value(u64),
    /// No value, or no value that the command could be about.
    Absent,
    /// Done.
    Done,
    /// A condition did not hold.
    Refused,
    /// Nothing was changed.
    Failed,
    /// Told that nobody knows: it has happened, or has not, once something later is acknowledged.
    Unsure,
    /// There was no answer.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    id: u64,
    is_faint: bool,
    /// Who made it faint by deleting it.
    deleter: Option<Operation>,
    /// Between which times it expires.
    expires: (u64, u64),
    expirer: Option<(Operation, u64)>,
}

/// A way how everything may have been so far.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyState {
    value: Option<Value>,
    /// What took effect and is yet to be answered.
    answers: BTreeMap<Operation, Completion>,
    /// What took effect and will never be answered.
    used: BTreeSet<Operation>,
}

impl KeyState {
    /// Whether it explains whatever the other does.
    fn covers(&self, other: &Self) -> bool {
        self.value == other.value
            && self.answers == other.answers
            && self.used.is_subset(&other.used)
    }
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    command: Invocation,
    at: Millis,
    /// Its outcome will never be known.
    is_open: bool,
    /// When it was told that its outcome is not known.
    unsure_since: Option<Millis>,
}

#[derive(Clone, Debug)]
struct Key {
    states: Vec<KeyState>,
    pending: BTreeMap<Operation, Asked>,
}

impl Default for Key {
    fn default() -> Self {
        Self {
            states: vec![KeyState {
                value: None,
                answers: BTreeMap::new(),
                used: BTreeSet::new(),
            }],
            pending: BTreeMap::new(),
        }
    }
}

/// Everything that clients saw, and what the proxies counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    keys: BTreeMap<u8, Key>,
    pub(crate) asked: Operation,
    pub(crate) violations: Vec<String>,
    /// Why values may have vanished: counted by the proxies.
    pub(crate) losses: u64,
    pub(crate) undecided: u64,
    pub(crate) forced: u64,
    pub(crate) acknowledged: u64,
    pub(crate) hits: u64,
}

impl History {
    pub(crate) fn ask(&mut self, command: Invocation, at: Millis) -> Operation {
        self.asked += 1;
        let key = self.keys.entry(command.key()).or_default();
        key.pending.insert(
            self.asked,
            Asked {
                command,
                at,
                is_open: false,
                unsure_since: None,
            },
        );
        self.asked
    }

    /// What is asked turns out to be this.
    pub(crate) fn name(&mut self, operation: Operation, command: Invocation) {
        let key = self.keys.entry(command.key()).or_default();
        if let Some(asked) = key.pending.get_mut(&operation) {
            asked.command = command;
        }
    }

    pub(crate) fn answer(
        &mut self,
        operation: Operation,
        command: Invocation,
        answer: Completion,
        at: Millis,
    ) {
        match answer {
            Completion::Done => self.acknowledged += 1,
            Completion::Value(_) => self.hits += 1,
            _ => {}
        }
        let key = self.keys.entry(command.key()).or_default();
        let before = format!(
            "{:?}",
            key.states.iter().map(|it| it.value).collect::<Vec<_>>()
        );
        if !key.answer(operation, answer, at) {
            self.violations.push(format!(
                "{command:?} (asked as {operation}) cannot be answered {answer:?} by {before}"
            ));
            // One violation is enough: start over.
            *key = Key::default();
        }
    }

    /// The value of a key, if it is this one, may be gone without having been deleted.
    pub(crate) fn may_vanish(&mut self, key: u8, id: Option<u64>, at: Millis) {
        let key = self.keys.entry(key).or_default();
        key.take_effect(at);
        for state in &mut key.states {
            if let Some(value) = &mut state.value
                && id.is_none_or(|id| id == value.id)
            {
                value.is_faint = true;
                value.deleter = None;
            }
        }
    }

    /// So may all values.
    pub(crate) fn all_may_vanish(&mut self, at: Millis) {
        let keys: Vec<u8> = self.keys.keys().copied().collect();
        for key in keys {
            self.may_vanish(key, None, at);
        }
    }
}

impl Key {
    fn answer(&mut self, operation: Operation, answer: Completion, at: Millis) -> bool {
        let Some(asked) = self.pending.get_mut(&operation) else {
            return true;
        };
        if matches!(answer, Completion::Unknown | Completion::Unsure) {
            if let Invocation::Get { .. } = asked.command {
                self.pending.remove(&operation);
                self.states.iter_mut().for_each(|it| {
                    it.answers.remove(&operation);
                });
            } else {
                asked.is_open = true;
                asked.unsure_since = (answer == Completion::Unsure).then_some(at);
                for state in &mut self.states {
                    if state.answers.remove(&operation).is_some() {
                        state.used.insert(operation);
                    }
                }
            }
            self.prune();
            return true;
        }
        if answer == Completion::Failed {
            self.pending.remove(&operation);
            self.states
                .retain(|it| !it.answers.contains_key(&operation));
            return !self.states.is_empty();
        }
        let asked = *asked;
        self.take_effect(at);
        self.pending.remove(&operation);
        self.states
            .retain_mut(|state| state.answers.remove(&operation) == Some(answer));
        for state in &mut self.states {
            state.acknowledge(operation);
        }
        self.close(asked, answer);
        self.prune();
        !self.states.is_empty()
    }

    /// Lets what is pending take effect in every order in which it can.
    fn take_effect(&mut self, now: Millis) {
        let mut index = 0;
        while index < self.states.len() {
            let state = self.states[index].clone();
            index += 1;
            for (&operation, asked) in &self.pending {
                if state.answers.contains_key(&operation) || state.used.contains(&operation) {
                    continue;
                }
                for next in state.after(operation, asked, now) {
                    if !self.states.iter().any(|known| known.covers(&next)) {
                        self.states.push(next);
                    }
                }
            }
        }
    }

    /// What was unsure when something later was asked cannot come back once that is acknowledged.
    fn close(&mut self, by: Asked, answer: Completion) {
        let is_set = matches!(by.command, Invocation::Set { .. }) && answer == Completion::Done;
        if is_set || matches!(by.command, Invocation::Delete { .. }) {
            let is_over = |it: &Asked| it.unsure_since.is_some_and(|since| since < by.at);
            self.pending.retain(|_, asked| !is_over(asked));
        }
    }

    fn prune(&mut self) {
        let mut kept: Vec<KeyState> = Vec::new();
        for state in std::mem::take(&mut self.states) {
            if !kept.iter().any(|it| it.covers(&state)) {
                kept.retain(|it| !state.covers(it));
                kept.push(state);
            }
        }
        self.states = kept;
    }
}

impl KeyState {
    /// The states that an operation may lead to.
    fn after(&self, operation: Operation, asked: &Asked, now: Millis) -> Vec<Self> {
        let may_be_present = self
            .value
            .is_some_and(|value| asked.at <= value.expires.1.saturating_add(CLOCK_TOLERANCE));
        let may_be_absent = self.value.is_none_or(|value| {
            value.is_faint || now.saturating_add(CLOCK_TOLERANCE) >= value.expires.0
        });
        let with = |value: Option<Value>, answer: Completion| {
            let mut next = self.clone();
            next.value = value;
            match asked.is_open {
                true => {
                    next.used.insert(operation);
                }
                false => {
                    next.answers.insert(operation, answer);
                }
            }
            next
        };
        let mut next = Vec::new();
        match asked.command {
            Invocation::Get { .. } => {
                if let Some(value) = self.value.filter(|_| may_be_present) {
                    next.push(with(self.value, Completion::Value(value.id)));
                }
                if may_be_absent {
                    next.push(with(self.value, Completion::Absent));
                }
            }
            Invocation::Set {
                value, if_absent, ..
            } => {
                if !if_absent || may_be_absent {
                    let value = Value {
                        id: value,
                        is_faint: false,
                        deleter: None,
                        expires: (u64::MAX, u64::MAX),
                        expirer: None,
                    };
                    next.push(with(Some(value), Completion::Done));
                }
                if if_absent && may_be_present {
                    next.push(with(self.value, Completion::Refused));
                }
            }
            Invocation::Delete { .. } => {
                let faint = self.value.map(|value| Value {
                    is_faint: true,
                    deleter: Some(operation),
                    ..value
                });
                if may_be_present {
                    next.push(with(faint, Completion::Done));
                }
                if may_be_absent {
                    next.push(with(faint, Completion::Absent));
                }
            }
            Invocation::Expire { at, .. } => {
                let at = if at == 0 { u64::MAX } else { at };
                if let Some(value) = self.value.filter(|_| may_be_present) {
                    let (from, to) = value.expires;
                    let value = Value {
                        expires: (from.min(at), to.max(at)),
                        expirer: Some((operation, at)),
                        ..value
                    };
                    next.push(with(Some(value), Completion::Done));
                }
                if may_be_absent {
                    next.push(with(self.value, Completion::Absent));
                }
            }
        }
        next
    }

    /// What was answered cannot be taken back.
    fn acknowledge(&mut self, operation: Operation) {
        self.value = self
            .value
            .filter(|value| value.deleter != Some(operation))
            .map(|value| match value.expirer {
                Some((by, at)) if by == operation => Value {
                    expires: (at, at),
                    expirer: None,
                    ..value
                },
                _ => value,
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Invocation = Invocation::Get { key: 0 };
    const DELETE: Invocation = Invocation::Delete { key: 0 };

    fn set(value: u64) -> Invocation {
        Invocation::Set {
            key: 0,
            value,
            if_absent: false,
        }
    }

    /// Whether a sequence of answers, each to what was asked just before, can be.
    fn is_sound(steps: &[(Invocation, Completion)]) -> bool {
        let mut history = History::default();
        for (at, &(command, answer)) in (0..).zip(steps) {
            let operation = history.ask(command, at);
            history.answer(operation, command, answer, at);
        }
        history.violations.is_empty()
    }

    #[test]
    fn a_read_gives_the_last_value() {
        use Completion::{Absent, Done, Value};
        assert!(is_sound(&[(GET, Absent), (set(1), Done), (GET, Value(1))]));
        assert!(!is_sound(&[(set(1), Done), (GET, Absent)]));
        assert!(!is_sound(&[
            (set(1), Done),
            (set(2), Done),
            (GET, Value(1))
        ]));
        assert!(!is_sound(&[
            (set(1), Done),
            (DELETE, Done),
            (GET, Value(1))
        ]));
    }

    #[test]
    fn what_is_unknown_takes_effect_late_or_never_but_once() {
        use Completion::{Absent, Done, Unknown, Value};
        assert!(is_sound(&[
            (set(1), Unknown),
            (GET, Absent),
            (GET, Value(1))
        ]));
        assert!(is_sound(&[
            (set(1), Done),
            (DELETE, Unknown),
            (GET, Value(1))
        ]));
        assert!(!is_sound(&[
            (set(1), Unknown),
            (GET, Value(1)),
            (set(2), Done),
            (GET, Value(1))
        ]));
    }

    #[test]
    fn what_overlaps_may_take_effect_in_any_order() {
        for seen in [1, 2] {
            let mut history = History::default();
            let first = history.ask(set(1), 0);
            history.answer(first, set(1), Completion::Done, 1);
            let read = history.ask(GET, 2);
            let second = history.ask(set(2), 3);
            history.answer(second, set(2), Completion::Done, 4);
            history.answer(read, GET, Completion::Value(seen), 5);
            assert!(history.violations.is_empty());
        }
    }
}

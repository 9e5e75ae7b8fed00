//! What was asked of the cache and what it answered, and whether it may have.
//!
//! The rule: a read gives a value that was current at some moment between its
//! invocation and its completion, or nothing where that is explained: by a
//! delete, by expiry, or by a removal that the cache has counted. A write of
//! unknown outcome may have taken effect at any moment after its invocation,
//! or never.
//!
//! Each value is written once and tells which it is. That makes the question
//! an easy one (Gibbons and Korach, *Testing Shared Memories*, 1997): all
//! operations that saw a value span a *zone*. From the first that is over to
//! the last that begins the value was current all the time, and so nothing
//! else was. If there is no such time, all of them overlap, and the value was
//! current at one moment that they share.
//!
//! - [`check`]: the rule;
//! - `tests`: what it must find; `simulated`: what it must accept.

mod check;
mod simulated;
mod tests;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

pub(crate) use check::{Violation, check};

use crate::values::Value;

/// Since the history began.
pub(crate) type Time = Duration;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set {
        value: Value,
        only_if: Option<Only>,
        ttl: Option<Duration>,
    },
    Get,
    Delete,
    Expire(Duration),
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    /// There is no value.
    Absent,
    /// There is one.
    Present,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done: written, deleted, given another time to live.
    Done,
    /// Nothing was there, or the condition of the write did not hold.
    Not,
    /// This was read, or bytes that are wrong: how.
    Read(Result<Value, String>),
    /// It was not done, and will not be.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// An operation and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) key: String,
    pub(crate) operation: Operation,
    pub(crate) invoked: Time,
    pub(crate) completed: Time,
    pub(crate) outcome: Outcome,
}

/// All that happens from its creation on.
#[derive(Debug)]
pub(crate) struct History {
    begun: Instant,
    events: Mutex<Vec<Event>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: Mutex::default(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Time {
        self.begun.elapsed()
    }

    /// Notes what was answered now to what was asked at `invoked`.
    pub(crate) fn note(&self, key: &str, operation: Operation, invoked: Time, outcome: Outcome) {
        let event = Event {
            key: key.to_owned(),
            operation,
            invoked,
            completed: self.now(),
            outcome,
        };
        self.events.lock().unwrap().push(event);
    }

    /// What has happened so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }
}

//! The rule, one key at a time.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use super::{Event, Only, Operation, Outcome, Time};
use crate::values::Value;

/// What the clocks of two processes may be apart, and how late an expiry may be noticed.
const SKEW: Duration = Duration::from_millis(100);

/// A time that does not come.
const NEVER: Time = Duration::MAX;

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Bytes were read that are no value: how.
    Wrong { key: String, how: String },
    /// A value was read that nobody wrote, or whose write was refused or came later.
    NeverWritten { key: String, value: Value },
    /// A value was seen before and after something else was.
    CameBack {
        key: String,
        value: Value,
        between: String,
    },
    /// A value was read when its time was over.
    Outlived { key: String, value: Value },
    /// Something was there when nothing can have been.
    FromNowhere { key: String, at: Time },
    /// More values vanished than the cache has counted.
    Unexplained {
        vanished: u64,
        counted: u64,
        first: String,
    },
}

impl Violation {
    /// Of which key, if of one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Wrong { key, .. }
            | Self::NeverWritten { key, .. }
            | Self::CameBack { key, .. }
            | Self::Outlived { key, .. }
            | Self::FromNowhere { key, .. } => Some(key),
            Self::Unexplained { .. } => None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { key, how } => write!(f, "{key}: wrong bytes: {how}"),
            Self::NeverWritten { key, value } => write!(f, "{key}: nobody wrote {value:?}"),
            Self::CameBack {
                key,
                value,
                between,
            } => write!(f, "{key}: {value:?} was there before and after {between}"),
            Self::Outlived { key, value } => write!(f, "{key}: {value:?} outlived its time"),
            Self::FromNowhere { key, at } => {
                write!(
                    f,
                    "{key}: found at {at:?}, when nothing can have been there"
                )
            }
            Self::Unexplained {
                vanished,
                counted,
                first,
            } => write!(
                f,
                "{vanished} values vanished, {counted} removals counted; first: {first}"
            ),
        }
    }
}

/// What a history that is right has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Values that vanished without having been deleted or having expired: at least so many.
    pub(crate) vanished: u64,
}

/// Checks a history in which the cache has counted so many removals of its own accord.
///
/// # Errors
///
/// All violations.
pub(crate) fn check(events: &[Event], removals: u64) -> Result<Verdict, Vec<Violation>> {
    let mut by_key: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_key.entry(&event.key).or_default().push(event);
    }
    let mut violations = Vec::new();
    let mut vanished = Vec::new();
    for (key, events) in by_key {
        let mut key = Key::new(key, events, &mut violations);
        key.check_zones(&mut violations);
        key.check_times(&mut violations);
        key.check_presence(&mut violations);
        vanished.extend(key.vanished());
    }
    if vanished.len() as u64 > removals {
        violations.push(Violation::Unexplained {
            vanished: vanished.len() as u64,
            counted: removals,
            first: vanished.swap_remove(0),
        });
    }
    match violations.is_empty() {
        true => Ok(Verdict {
            vanished: vanished.len() as u64,
        }),
        false => Err(violations),
    }
}

/// A value that was or may have been current, and all that saw it.
struct Version<'a> {
    value: Value,
    write: &'a Event,
    reads: Vec<&'a Event>,
    /// When the first is over that saw it: it is in effect. Never, if nobody is known to have.
    first_over: Time,
    /// When the last began that saw it.
    last_begun: Time,
}

impl Version<'_> {
    fn ttl(&self) -> Option<Duration> {
        match self.write.operation {
            Operation::Set { ttl, .. } => ttl,
            _ => None,
        }
    }

    /// Whether it surely took effect after `time`, and before `end`.
    fn is_between(&self, time: Time, end: Time) -> bool {
        self.write.invoked > time && self.first_over < end
    }
}

/// What happened to a key.
struct Key<'a> {
    name: &'a str,
    versions: Vec<Version<'a>>,
    /// Those that found nothing.
    absences: Vec<&'a Event>,
    /// Those that found something, and did not tell what.
    presences: Vec<&'a Event>,
    /// Those that were or may have been done.
    deletes: Vec<&'a Event>,
    expires: Vec<(&'a Event, Duration)>,
}

impl<'a> Key<'a> {
    fn new(name: &'a str, events: Vec<&'a Event>, violations: &mut Vec<Violation>) -> Self {
        let mut key = Self {
            name,
            versions: Vec::new(),
            absences: Vec::new(),
            presences: Vec::new(),
            deletes: Vec::new(),
            expires: Vec::new(),
        };
        for &event in &events {
            key.sort(event);
        }
        let index: HashMap<Value, usize> = key.versions.iter().map(|v| v.value).zip(0..).collect();
        for &event in &events {
            match &event.outcome {
                Outcome::Read(Ok(value)) => match index.get(value).copied() {
                    Some(at) if key.versions[at].write.invoked <= event.completed => {
                        let version = &mut key.versions[at];
                        version.reads.push(event);
                        version.first_over = version.first_over.min(event.completed);
                        version.last_begun = version.last_begun.max(event.invoked);
                    }
                    _ => violations.push(Violation::NeverWritten {
                        key: name.to_owned(),
                        value: *value,
                    }),
                },
                Outcome::Read(Err(how)) => violations.push(Violation::Wrong {
                    key: name.to_owned(),
                    how: how.clone(),
                }),
                _ => {}
            }
        }
        key.absences.sort_by_key(|absence| absence.invoked);
        key
    }

    fn sort(&mut self, event: &'a Event) {
        let may_be_done = matches!(event.outcome, Outcome::Done | Outcome::Unknown);
        match event.operation {
            Operation::Set { value, only_if, .. } => {
                if may_be_done {
                    let is_done = event.outcome == Outcome::Done;
                    self.versions.push(Version {
                        value,
                        write: event,
                        reads: Vec::new(),
                        first_over: if is_done { event.completed } else { NEVER },
                        last_begun: event.invoked,
                    });
                }
                match (only_if, &event.outcome) {
                    (Some(Only::Absent), Outcome::Done) | (Some(Only::Present), Outcome::Not) => {
                        self.absences.push(event);
                    }
                    (Some(Only::Present), Outcome::Done) | (Some(Only::Absent), Outcome::Not) => {
                        self.presences.push(event);
                    }
                    _ => {}
                }
            }
            Operation::Delete if may_be_done => self.deletes.push(event),
            Operation::Expire(ttl) if may_be_done => self.expires.push((event, ttl)),
            _ => {}
        }
        match (event.operation, &event.outcome) {
            (Operation::Get | Operation::Delete | Operation::Expire(_), Outcome::Not) => {
                self.absences.push(event);
            }
            (Operation::Delete | Operation::Expire(_), Outcome::Done) => {
                self.presences.push(event);
            }
            _ => {}
        }
    }

    /// While a value is current, nothing else is.
    fn check_zones(&mut self, violations: &mut Vec<Violation>) {
        let mut came_back = |version: &Version<'_>, between: String| {
            violations.push(Violation::CameBack {
                key: self.name.to_owned(),
                value: version.value,
                between,
            });
        };
        let lasting = |version: &&Version<'_>| version.first_over < version.last_begun;
        for version in self.versions.iter().filter(lasting) {
            let (from, to) = (version.first_over, version.last_begun);
            for other in &self.versions {
                if other.value == version.value || other.first_over == NEVER {
                    continue;
                }
                let (start, end) = (other.first_over, other.last_begun);
                let is_wrong = match start < end {
                    // Both lasted, at the same time; told once.
                    true => from.max(start) < to.min(end) && (from, start) <= (start, from),
                    false => from < end && start < to,
                };
                if is_wrong {
                    came_back(version, format!("{:?}", other.value));
                }
            }
            let is_inside = |event: &&&Event| from < event.invoked && event.completed < to;
            let is_gone = |event: &&&Event| event.outcome == Outcome::Done;
            let own = |event: &&&Event| std::ptr::eq(**event, version.write);
            for delete in self.deletes.iter().filter(is_gone).filter(is_inside) {
                came_back(version, format!("a delete at {:?}", delete.completed));
            }
            let absences = self.absences.iter().filter(|event| !own(event));
            for absence in absences.filter(is_inside) {
                came_back(version, format!("nothing at {:?}", absence.completed));
            }
        }
    }

    /// No value is read when its time is over.
    fn check_times(&mut self, violations: &mut Vec<Violation>) {
        for version in &self.versions {
            let outlived = |read: &&&Event| self.latest_end(version, read) + SKEW < read.invoked;
            if version.reads.iter().any(|read| outlived(&read)) {
                violations.push(Violation::Outlived {
                    key: self.name.to_owned(),
                    value: version.value,
                });
            }
        }
    }

    /// The latest time when a version can have ended that `read` saw.
    fn latest_end(&self, version: &Version<'_>, read: &Event) -> Time {
        let after = |start: Time, ttl: Duration| start.checked_add(ttl).unwrap_or(NEVER - SKEW);
        // Whether what was set by `time` was surely set anew since.
        let is_superseded = |time: Time| {
            self.expires.iter().any(|(expire, _)| {
                expire.outcome == Outcome::Done
                    && expire.invoked > time.max(version.first_over)
                    && expire.completed < read.invoked
            })
        };
        let mut latest = Time::ZERO;
        if !is_superseded(version.first_over) {
            latest = match version.ttl() {
                None => return NEVER - SKEW,
                Some(ttl) => after(version.first_over, ttl),
            };
        }
        for (expire, ttl) in &self.expires {
            let is_before = expire.completed < version.write.invoked;
            if expire.invoked > read.completed {
                continue;
            }
            match expire.outcome {
                Outcome::Unknown => return NEVER - SKEW,
                _ if is_before || is_superseded(expire.completed) => {}
                _ => latest = latest.max(after(expire.completed, *ttl)),
            }
        }
        latest
    }

    /// What finds something needs something that can be there.
    fn check_presence(&mut self, violations: &mut Vec<Violation>) {
        for presence in &self.presences {
            let can_be_found = |version: &Version<'_>| {
                let since = version.first_over;
                let is_gone = |event: &&&Event| {
                    event.invoked > since
                        && event.completed < presence.invoked
                        && event.outcome != Outcome::Unknown
                };
                version.write.invoked < presence.completed
                    && !std::ptr::eq(version.write, *presence)
                    && !self.versions_between(since, presence.invoked)
                    && self.deletes.iter().find(is_gone).is_none()
                    && self.absences.iter().find(is_gone).is_none()
            };
            if !self.versions.iter().any(can_be_found) {
                violations.push(Violation::FromNowhere {
                    key: self.name.to_owned(),
                    at: presence.completed,
                });
            }
        }
    }

    /// Whether a version surely took effect between these times.
    fn versions_between(&self, time: Time, end: Time) -> bool {
        self.versions.iter().any(|it| it.is_between(time, end))
    }

    /// The absences that only a removal explains. Those that one removal can
    /// explain together are named once: so there were at least so many.
    fn vanished(&self) -> Vec<String> {
        let mut vanished = Vec::new();
        let mut last: Option<&Event> = None;
        for absence in &self.absences {
            let same = |last: &Event| !self.versions_between(last.completed, absence.invoked);
            if self.is_explained(absence) || last.is_some_and(same) {
                continue;
            }
            last = Some(absence);
            vanished.push(format!("{} at {:?}", self.name, absence.completed));
        }
        vanished
    }

    fn is_explained(&self, absence: &Event) -> bool {
        let was_never_set = !self
            .versions
            .iter()
            .any(|version| version.first_over < absence.invoked);
        let was_deleted = self.deletes.iter().any(|delete| {
            let over = match delete.outcome {
                Outcome::Done => delete.completed,
                _ => NEVER,
            };
            delete.invoked < absence.completed && !self.versions_between(over, absence.invoked)
        });
        let has_expired = self.versions.iter().any(|version| {
            version.write.invoked < absence.completed
                && !self.versions_between(version.first_over, absence.invoked)
                && self
                    .earliest_end(version, absence)
                    .is_some_and(|end| end <= absence.completed + SKEW)
        });
        was_never_set || was_deleted || has_expired
    }

    /// The earliest time when a version can have expired, if it can before `absence` is over.
    fn earliest_end(&self, version: &Version<'_>, absence: &Event) -> Option<Time> {
        let own = version.ttl().map(|ttl| version.write.invoked + ttl);
        let changed = self.expires.iter().filter_map(|(expire, ttl)| {
            let can_be_its =
                expire.completed >= version.write.invoked || expire.outcome == Outcome::Unknown;
            let is_early = expire.invoked <= absence.completed;
            (can_be_its && is_early).then_some(expire.invoked + *ttl)
        });
        own.into_iter().chain(changed).min()
    }
}

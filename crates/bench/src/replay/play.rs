//! Requests of a trace are made again, each when its time has come.
//!
//! Each of some users takes the next request, waits until it is due, makes it,
//! and if a GET misses sets what it would have fetched from elsewhere. How long
//! a request takes counts from when it was due if no user was free then: so that
//! the ones that had to wait behind slow ones are not forgotten.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::time;

use super::{
    holdings::Holdings,
    trace::{Entry, Trace},
};
use crate::{
    keys::Keys,
    link::Link,
    random::Random,
    request::{Failure, Operation, Request, RequestOutcome},
    session::{SessionError, TargetSession},
    tally::Tally,
    target::Target,
    value::{Pattern, VERSIONS},
    workload::{OutOfBounds, within},
};

/// How a trace is replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// By whom.
    pub target: Target,
    /// How many times as fast as it was recorded; `None` if as fast as possible.
    pub speed: Option<f64>,
    /// How many requests can be under way at once.
    pub connections: u64,
    /// How long a request may take.
    pub timeout: Duration,
    /// The part of the values got of which every byte is checked.
    pub verified: f64,
    /// Threads that ask; see [`TargetSession::open`].
    pub threads: Option<usize>,
    /// What the names of keys begin with.
    pub prefix: String,
    /// Whether values are left where they are.
    pub keep: bool,
    /// What all that looks random follows from.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// How long it took.
    pub took: Duration,
    /// What happened, by the size up to which values belong together.
    pub by_size: BTreeMap<u64, Tally>,
    /// Bytes of the values that were missed.
    pub missed_bytes: u64,
    /// Requests that no user was free for when they were due, and how late the latest was.
    pub late: u64,
    /// How late the latest of them was.
    pub latest: Duration,
    /// The most bytes that were held at once.
    pub most_held: u64,
    /// Bytes that were held, times seconds.
    pub byte_seconds: f64,
    /// What failed when keys were deleted afterwards.
    pub around: Tally,
}

/// Why a trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It would take too long.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// The target.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// The sizes up to which values belong together.
const CLASSES: [u64; 6] = [1 << 10, 16 << 10, 256 << 10, 1 << 20, 10 << 20, 100 << 20];

/// The size up to which a value belongs together with others.
pub fn class_of(bytes: u64) -> u64 {
    CLASSES
        .into_iter()
        .find(|class| bytes <= *class)
        .unwrap_or(u64::MAX)
}

impl Replay {
    /// Checks that it ends.
    ///
    /// # Errors
    ///
    /// The first limit that it does not keep.
    pub fn check(&self, trace: &Trace) -> Result<(), OutOfBounds> {
        within("the number of connections", self.connections, 1, 10_000)?;
        within("the speed", self.speed.unwrap_or(1.0), 1e-6, 1e9)?;
        let seconds = trace.span().as_secs_f64() / self.speed.unwrap_or(f64::INFINITY);
        within(
            "the time that the replay takes, in seconds,",
            seconds,
            0.0,
            86_400.0,
        )?;
        within("the verified part", self.verified, 0.0, 1.0)?;
        within(
            "the timeout in seconds",
            self.timeout.as_secs_f64(),
            0.001,
            3_600.0,
        )?;
        within("the number of threads", self.threads.unwrap_or(1), 1, 256)?;
        within("the length of the prefix", self.prefix.len(), 1, 200)
    }

    /// Replays a trace to its end.
    ///
    /// # Errors
    ///
    /// If that takes too long, or the target cannot be reached. Requests that
    /// fail are counted, and are no error.
    pub fn run(&self, trace: Trace) -> Result<Played, ReplayError> {
        self.check(&trace)?;
        let keys = u64::from(trace.keys);
        let pattern = Pattern::up_to(trace.largest());
        let mut session = TargetSession::open(
            &self.target,
            self.threads,
            self.connections,
            self.timeout,
            Keys::new(&self.prefix),
            pattern,
        )?;
        let stage = Arc::new(Stage {
            trace,
            speed: self.speed,
            verified: self.verified,
            next: AtomicUsize::new(0),
            began: Instant::now(),
            ledger: Mutex::default(),
        });
        let (shared, seed) = (stage.clone(), self.seed);
        let took = session.all(move |mut link, user| {
            let stage = shared.clone();
            async move {
                stage.play(&mut link, Random::new(seed, user)).await;
                link
            }
        })?;
        let Ledger {
            mut played,
            mut holdings,
        } = std::mem::take(&mut *stage.ledger());
        played.took = took;
        played.byte_seconds = holdings.byte_seconds(took);
        played.most_held = holdings.most();
        if !self.keep {
            played.around = session.delete(keys)?;
        }
        Ok(played)
    }
}

/// What all users share.
struct Stage {
    trace: Trace,
    speed: Option<f64>,
    verified: f64,
    next: AtomicUsize,
    began: Instant,
    ledger: Mutex<Ledger>,
}

/// What has happened so far.
#[derive(Default)]
struct Ledger {
    played: Played,
    holdings: Holdings,
}

impl Stage {
    async fn play(&self, link: &mut Link, mut random: Random) {
        while let Some(entry) = self.trace.entries.get(self.next.fetch_add(1, Relaxed)) {
            let since = self.wait_for(entry).await;
            let is_get = entry.operation == Operation::Get;
            let is_verified = is_get && random.unit() < self.verified;
            let version = random.below(VERSIONS);
            let outcome = self
                .ask(link, entry, entry.operation, version, is_verified, since)
                .await;
            if outcome == Ok(RequestOutcome::Miss) {
                // Fetched from elsewhere in no time.
                let since = self.began.elapsed();
                let _ = self
                    .ask(link, entry, Operation::Set, version, false, since)
                    .await;
            }
        }
    }

    /// Waits until a request is due, and tells from when its time counts.
    async fn wait_for(&self, entry: &Entry) -> Duration {
        let Some(speed) = self.speed else {
            return self.began.elapsed();
        };
        let due = entry.at.div_f64(speed);
        let late = self.began.elapsed().saturating_sub(due);
        if late.is_zero() {
            time::sleep_until((self.began + due).into()).await;
            // That a timer was late is not the cache's fault.
            return self.began.elapsed();
        }
        let mut ledger = self.ledger();
        ledger.played.late += 1;
        ledger.played.latest = ledger.played.latest.max(late);
        due
    }

    async fn ask(
        &self,
        link: &mut Link,
        entry: &Entry,
        operation: Operation,
        version: u64,
        is_verified: bool,
        since: Duration,
    ) -> Result<RequestOutcome, Failure> {
        let request = Request {
            operation,
            key: entry.key.into(),
            version,
            // What is got may have been set with another size.
            size: (operation == Operation::Set).then_some(entry.bytes),
            is_verified,
        };
        let mut answer = Err(Failure::Protocol);
        link.exchange(&[request], |_, outcome| {
            answer = outcome;
            self.note(entry, &request, &answer, since);
        })
        .await;
        answer
    }

    fn note(
        &self,
        entry: &Entry,
        request: &Request,
        answer: &Result<RequestOutcome, Failure>,
        since: Duration,
    ) {
        let now = self.began.elapsed();
        let mut ledger = self.ledger();
        let Ledger { played, holdings } = &mut *ledger;
        let size = match answer {
            Ok(RequestOutcome::Hit(bytes)) => *bytes,
            _ => entry.bytes,
        };
        let tally = played.by_size.entry(class_of(size)).or_default();
        let is_value = matches!(
            answer,
            Ok(RequestOutcome::Hit(_)) | Err(Failure::WrongBytes)
        );
        tally.verified += u64::from(request.is_verified && is_value);
        match answer {
            Ok(outcome) => tally.answer(*outcome, now.saturating_sub(since).as_nanos() as u64),
            Err(failure) => tally.fail(failure, 1),
        }
        match answer {
            Ok(RequestOutcome::Miss) => {
                played.missed_bytes += entry.bytes;
                holdings.unset(entry.key, now);
            }
            Ok(RequestOutcome::Deleted) => holdings.unset(entry.key, now),
            Ok(RequestOutcome::Stored(bytes)) => holdings.set(entry.key, *bytes, now),
            Ok(RequestOutcome::Hit(_)) | Err(_) => {}
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::TraceLimits;

    #[test]
    fn sizes_belong_to_the_least_class_that_holds_them() {
        assert_eq!(
            [0, 1024, 1025, 1 << 20, 1 << 40].map(class_of),
            [1 << 10, 1 << 10, 16 << 10, 1 << 20, u64::MAX]
        );
    }

    #[test]
    fn a_replay_that_would_take_days_is_refused_before_anything_is_asked() {
        let text = "timestamp_ms,op,key,bytes\n0,GET,a,1\n604800000,GET,a,1\n";
        let limits = TraceLimits {
            requests: 10,
            largest: 10,
        };
        let trace = Trace::read(text.as_bytes(), limits).unwrap();
        let replay = |speed| Replay {
            target: "redis://127.0.0.1:1".parse().unwrap(),
            speed,
            connections: 1,
            timeout: Duration::from_secs(1),
            verified: 1.0,
            threads: None,
            prefix: "replay:".into(),
            keep: false,
            seed: 1,
        };
        for speed in [1.0, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = replay(Some(speed)).run(trace.clone());
            assert!(
                matches!(refused, Err(ReplayError::OutOfBounds(_))),
                "{speed}"
            );
        }
        assert_eq!(replay(Some(100.0)).check(&trace), Ok(()));
        assert_eq!(replay(None).check(&trace), Ok(()));
    }
}

//! One user at work: closed loop, or open.
//!
//! In a *closed loop* a user asks again once the last answers have come, as
//! often as possible. In an *open loop* requests are due at a rate (see
//! [`crate::schedule`]); those that come late are late from when they were due.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{
    link::Link,
    popularity::Draw,
    random::Random,
    request::{Failure, Operation, Request, RequestOutcome},
    schedule::Schedule,
    tally::Tally,
    ticker::Ticks,
    value::VERSIONS,
    workload::Workload,
};

/// Answers that are noted before they are counted with those of others.
const NOTES: usize = 512;

/// What all users of a run share.
#[derive(Debug)]
pub struct Run {
    workload: Workload,
    draw: Draw,
    /// Which run it is: no two draw the same.
    number: u64,
    began: Instant,
    /// Requests that were claimed, of those that may be made.
    claimed: AtomicU64,
    tally: Mutex<Tally>,
}

impl Run {
    /// A run that begins now.
    pub fn begin(workload: Workload, number: u64) -> Self {
        Self {
            draw: workload.popularity.of(workload.key_count()),
            workload,
            number,
            began: Instant::now(),
            claimed: AtomicU64::new(0),
            tally: Mutex::default(),
        }
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// What happened, once all users have ended.
    pub fn tally(self) -> Tally {
        self.tally
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// User number `user` at work until the end. `ticks` come when requests are due, if they are sent at a rate.
    pub async fn drive(&self, link: &mut Link, user: u64, ticks: Option<Ticks>) {
        let mut user = User {
            run: self,
            random: Random::new(self.workload.seed ^ (self.number << 32), user),
            number: user,
            requests: Vec::new(),
            since: Vec::new(),
        };
        match (self.workload.due(), ticks) {
            (Some(due), Some(ticks)) => user.open_loop(link, due, ticks).await,
            _ => user.closed_loop(link).await,
        }
    }

    /// How many requests may be made, of so many that are wanted.
    fn claim(&self, wanted: u64) -> u64 {
        let most = self.workload.requests.unwrap_or(u64::MAX);
        let before = self.claimed.fetch_add(wanted, Relaxed);
        most.saturating_sub(before).min(wanted)
    }
}

struct User<'a> {
    run: &'a Run,
    number: u64,
    random: Random,
    requests: Vec<Request>,
    /// From when the time of each request counts, after the start of the run.
    since: Vec<Duration>,
}

impl User<'_> {
    async fn closed_loop(&mut self, link: &mut Link) {
        let run = self.run;
        let mut notes = Notes::new(&run.tally);
        loop {
            let now = run.began.elapsed();
            if now >= run.workload.duration {
                break;
            }
            let count = run.claim(run.workload.pipeline);
            if count == 0 {
                break;
            }
            self.clear();
            (0..count).for_each(|_| self.add(now));
            self.exchange(link, &mut notes).await;
        }
    }

    async fn open_loop(&mut self, link: &mut Link, due: u64, mut ticks: Ticks) {
        let run = self.run;
        let Workload {
            rate,
            connections,
            pipeline,
            duration,
            timeout,
            ..
        } = run.workload;
        let mut schedule = Schedule::new(rate.unwrap_or(1.0), due, self.number, connections);
        let mut notes = Notes::new(&run.tally);
        while let Some(due) = schedule.next_due() {
            let now = run.began.elapsed();
            if now < due {
                ticks.next().await;
                continue;
            }
            if now >= duration + timeout {
                notes.unstarted += schedule.left();
                break;
            }
            self.clear();
            while (self.requests.len() as u64) < pipeline {
                let Some(due) = schedule.take(now) else { break };
                self.add(due);
            }
            self.exchange(link, &mut notes).await;
        }
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.since.clear();
    }

    /// Makes up a request whose time counts from `since`.
    fn add(&mut self, since: Duration) {
        let Self { run, random, .. } = self;
        let workload = &run.workload;
        let operation = workload.mix.choose(random.number());
        let key = run.draw.draw(random);
        self.requests.push(Request {
            operation,
            key,
            version: random.below(VERSIONS),
            size: Some(workload.size_of(key)),
            is_verified: operation == Operation::Get && random.unit() < workload.verified,
        });
        self.since.push(since);
    }

    async fn exchange(&self, link: &mut Link, notes: &mut Notes<'_>) {
        let began = self.run.began;
        link.exchange(&self.requests, |place, outcome| {
            let took = began.elapsed().saturating_sub(self.since[place]);
            notes.add(&self.requests[place], outcome, took);
        })
        .await;
    }
}

/// What happened lately, and was not counted with the rest yet.
pub(crate) struct Notes<'a> {
    tally: &'a Mutex<Tally>,
    answers: Vec<(RequestOutcome, u64)>,
    failures: Vec<Failure>,
    verified: u64,
    unstarted: u64,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(tally: &'a Mutex<Tally>) -> Self {
        Self {
            tally,
            answers: Vec::with_capacity(NOTES),
            failures: Vec::new(),
            verified: 0,
            unstarted: 0,
        }
    }

    pub(crate) fn add(
        &mut self,
        request: &Request,
        outcome: Result<RequestOutcome, Failure>,
        took: Duration,
    ) {
        let is_value = matches!(
            outcome,
            Ok(RequestOutcome::Hit(_)) | Err(Failure::WrongBytes)
        );
        self.verified += u64::from(request.is_verified && is_value);
        match outcome {
            Ok(outcome) => self.answers.push((outcome, took.as_nanos() as u64)),
            Err(failure) => self.failures.push(failure),
        }
        if self.answers.len() + self.failures.len() >= NOTES {
            self.count();
        }
    }

    fn count(&mut self) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for (outcome, nanos) in self.answers.drain(..) {
            tally.answer(outcome, nanos);
        }
        for failure in self.failures.drain(..) {
            tally.fail(&failure, 1);
        }
        tally.verified += std::mem::take(&mut self.verified);
        tally.unstarted += std::mem::take(&mut self.unstarted);
    }
}

impl Drop for Notes<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

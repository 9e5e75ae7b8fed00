//! A target in use: its users, who stay connected between runs.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    drive::{Notes, Run},
    keys::Keys,
    link::{Door, Link},
    memory::Memory,
    request::{Failure, Operation, Request, RequestOutcome},
    tally::Tally,
    target::Target,
    ticker::Ticker,
    value::Pattern,
    workload::Workload,
};

/// Requests that are sent at once to fill and to clear, and bytes of their values.
const BATCH: (usize, u64) = (64, 1 << 20);

/// After so many batches in a row of which nothing succeeded a user stops to fill or clear.
const GIVE_UP: u32 = 8;

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No threads or no sockets.
    #[error("cannot start")]
    Start(#[from] io::Error),
    /// The target.
    #[error("{0}: {1}")]
    Connect(Target, #[source] Failure),
    /// A user ended that should not have.
    #[error("a user of the target failed")]
    User(#[from] tokio::task::JoinError),
}

/// A target in use.
#[derive(Debug)]
pub struct TargetSession {
    runtime: Runtime,
    links: Vec<Link>,
    runs: u64,
}

impl TargetSession {
    /// Connects all users, who share `threads`; as many as fit if not told.
    ///
    /// A server that speaks RESP is asked from a single thread, as one is
    /// enough and hands nothing over; our client, which codes, from all cores.
    ///
    /// # Errors
    ///
    /// If that fails for any of them.
    pub fn open(
        target: &Target,
        threads: Option<usize>,
        users: u64,
        timeout: Duration,
        keys: Keys,
        pattern: Pattern,
    ) -> Result<Self, SessionError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = match (target, threads) {
            (Target::Redis(_), None | Some(1)) => {
                Builder::new_current_thread().enable_all().build()
            }
            (_, threads) => Builder::new_multi_thread()
                .worker_threads(threads.unwrap_or(cores.min(4)))
                .enable_all()
                .build(),
        }?;
        let links = runtime.block_on(async {
            let door = Door::open(target.clone(), users as usize, timeout, keys, pattern).await?;
            let door = Arc::new(door);
            let mut links = Vec::new();
            for _ in 0..users {
                links.push(Link::open(door.clone()).await?);
            }
            Ok(links)
        });
        let links = links.map_err(|failure| SessionError::Connect(target.clone(), failure))?;
        Ok(Self {
            runtime,
            links,
            runs: 0,
        })
    }

    /// Asks what the workload says, to its end; tells how long that took, and what happened.
    ///
    /// # Errors
    ///
    /// If it cannot be done, not if requests fail.
    pub fn measure(&mut self, workload: &Workload) -> Result<(Duration, Tally), SessionError> {
        self.runs += 1;
        let run = Arc::new(Run::begin(workload.clone(), self.runs));
        let due = workload.rate.zip(workload.due());
        let users = self.links.len() as u64;
        let ticker = due.map(|(rate, due)| Ticker::start(run.began(), rate, due, users));
        let (_metronome, ticks) = ticker.transpose()?.unzip();
        let mut ticks = ticks.map(Vec::into_iter);
        let shared = run.clone();
        let took = self.all(move |mut link, user| {
            let run = shared.clone();
            let ticks = ticks.as_mut().and_then(Iterator::next);
            async move {
                run.drive(&mut link, user, ticks).await;
                drop(run);
                link
            }
        })?;
        let run = Arc::into_inner(run).expect("all users have ended");
        Ok((took, run.tally()))
    }

    /// Gives every key of the workload a value.
    ///
    /// # Errors
    ///
    /// As of [`TargetSession::measure`].
    pub fn fill(&mut self, workload: &Workload) -> Result<Tally, SessionError> {
        let sizes = workload.clone();
        self.every_key(workload.key_count(), Operation::Set, move |key| {
            sizes.size_of(key)
        })
    }

    /// How much memory the target uses, as far as it tells.
    pub fn memory(&self, target: &Target, timeout: Duration) -> Memory {
        // Not every server tells, and what is measured does not depend on it.
        let asked = self.runtime.block_on(Memory::of(target, timeout));
        asked.unwrap_or_default()
    }

    /// Takes the values of the first `keys` keys away.
    ///
    /// # Errors
    ///
    /// As of [`TargetSession::measure`].
    pub fn delete(&mut self, keys: u64) -> Result<Tally, SessionError> {
        self.every_key(keys, Operation::Delete, |_| 0)
    }

    fn every_key(
        &mut self,
        keys: u64,
        operation: Operation,
        size_of: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> Result<Tally, SessionError> {
        let users = self.links.len();
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (shared, size_of) = (tally.clone(), Arc::new(size_of));
        self.all(move |mut link, user| {
            let (tally, size_of) = (shared.clone(), size_of.clone());
            let request = move |key| Request {
                operation,
                key,
                version: 0,
                size: Some(size_of(key)),
                is_verified: false,
            };
            async move {
                let requests = (user..keys).step_by(users).map(request);
                in_batches(&mut link, requests, &tally).await;
                link
            }
        })?;
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *tally))
    }

    /// Has all users do something at once, and takes the time.
    pub(crate) fn all<Work: Future<Output = Link> + Send + 'static>(
        &mut self,
        mut work: impl FnMut(Link, u64) -> Work,
    ) -> Result<Duration, SessionError> {
        let links = std::mem::take(&mut self.links);
        let begun = Instant::now();
        self.links = self.runtime.block_on(async {
            let mut users: JoinSet<Link> = JoinSet::new();
            for (user, link) in links.into_iter().enumerate() {
                users.spawn(work(link, user as u64));
            }
            let mut links = Vec::new();
            while let Some(link) = users.join_next().await {
                links.push(link?);
            }
            Ok::<_, SessionError>(links)
        })?;
        Ok(begun.elapsed())
    }
}

/// Makes requests, some at once; fewer if nothing comes of any.
async fn in_batches(
    link: &mut Link,
    requests: impl Iterator<Item = Request> + Send,
    tally: &Mutex<Tally>,
) {
    let mut notes = Notes::new(tally);
    let mut requests = requests.peekable();
    let mut failed = 0;
    while requests.peek().is_some() && failed < GIVE_UP {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH.0 && bytes < BATCH.1 {
            let Some(request) = requests.next() else {
                break;
            };
            bytes += request.size.unwrap_or(0);
            batch.push(request);
        }
        failed += 1;
        let begun = Instant::now();
        let told = |place: usize, outcome: Result<RequestOutcome, Failure>| {
            if outcome.is_ok() {
                failed = 0;
            }
            notes.add(&batch[place], outcome, begun.elapsed());
        };
        link.exchange(&batch, told).await;
    }
    // What was not even tried has failed too.
    let rest = requests.count() as u64;
    if rest > 0 {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.fail(&Failure::GivenUp, rest);
    }
}

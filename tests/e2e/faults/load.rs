//! Clients of both kinds, at work on the same keys.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{self, Instant},
};

use super::way::Way;
use crate::{
    cluster::{Cluster, PATIENCE},
    history::{History, Only, Operation, Outcome},
    random::Random,
    values::Value,
};

/// Clients of each kind.
const CLIENTS: u32 = 2;

const SIZES: [u64; 8] = [
    100, 1_000, 5_000, 33_000, 100_000, 300_000, 700_000, 2_500_000,
];

/// What a client does after a failure, lest it fails a thousand times a second.
const PAUSE: Duration = Duration::from_millis(20);

/// The work, and what has become of it so far.
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    history: History,
    keys: u64,
    stop: AtomicBool,
    /// Each client is a writer, and so is each that begins anew.
    writers: AtomicU32,
    operations: AtomicU64,
    failed: AtomicU64,
    worst: Mutex<Worst>,
    progress: Notify,
}

/// The operation that took longest.
#[derive(Clone, Debug, Default)]
pub(super) struct Worst {
    pub(super) elapsed: Duration,
    pub(super) what: String,
}

impl Load {
    /// Writes each key once, and then begins to work.
    pub(super) async fn start(cluster: &Cluster, keys: u64, random: &mut Random) -> Self {
        let shared = Arc::new(Shared {
            history: History::new(),
            keys,
            stop: AtomicBool::new(false),
            writers: AtomicU32::new(0),
            operations: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            worst: Mutex::default(),
            progress: Notify::new(),
        });
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            for way in Way::all(cluster).await {
                clients.push(Worker::new(way, shared.clone(), random.fork()));
            }
        }
        for key in 0..keys {
            let index = key as usize % clients.len();
            let worker = &mut clients[index];
            let operation = worker.write(None, None);
            worker.run(key, operation).await;
        }
        let mut tasks = JoinSet::new();
        for mut worker in clients {
            tasks.spawn(async move {
                while !worker.shared.stop.load(Relaxed) {
                    worker.step().await;
                }
            });
        }
        Self { shared, tasks }
    }

    /// Waits until so many more operations have been done.
    pub(super) async fn goes_on(&self, operations: u64) {
        let enough = self.operations() + operations;
        let shared = &self.shared;
        let done = async {
            while shared.operations.load(Relaxed) < enough {
                shared.progress.notified().await;
            }
        };
        let in_time = time::timeout(2 * PATIENCE, done).await;
        in_time.expect("the cache does not get on with its work");
    }

    /// Ends the work, and reads every key once more in both ways.
    pub(super) async fn stop(&mut self, cluster: &Cluster) {
        self.shared.stop.store(true, Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        for way in Way::all(cluster).await {
            let mut worker = Worker::new(way, self.shared.clone(), Random::new("last"));
            for key in 0..self.shared.keys {
                worker.run(key, Operation::Get).await;
            }
        }
    }

    pub(super) fn history(&self) -> &History {
        &self.shared.history
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.shared.keys).map(name)
    }

    pub(super) fn operations(&self) -> u64 {
        self.shared.operations.load(Relaxed)
    }

    /// Those that were answered with an error, or not at all.
    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(Relaxed)
    }

    /// The operation that took longest.
    pub(super) fn worst(&self) -> Worst {
        self.shared.worst.lock().unwrap().clone()
    }
}

fn name(key: u64) -> String {
    format!("key-{key}")
}

/// One client, that does one thing after another.
struct Worker {
    way: Way,
    shared: Arc<Shared>,
    random: Random,
    last: Value,
}

impl Worker {
    fn new(way: Way, shared: Arc<Shared>, random: Random) -> Self {
        let writer = shared.writers.fetch_add(1, Relaxed);
        Self {
            way,
            shared,
            random,
            last: Value::new(writer, 0),
        }
    }

    async fn step(&mut self) {
        let key = self.random.below(self.shared.keys);
        let ttl = Duration::from_millis(100 + self.random.below(2_000));
        let operation = match self.random.below(100) {
            0..30 => self.write(None, None),
            30..35 => self.write(None, Some(ttl)),
            35..40 => self.write(Some(Only::Absent), None),
            40..45 => self.write(Some(Only::Present), None),
            45..90 => Operation::Get,
            90..96 => Operation::Delete,
            _ => Operation::Expire(ttl),
        };
        self.run(key, operation).await;
    }

    fn write(&mut self, only_if: Option<Only>, ttl: Option<Duration>) -> Operation {
        self.last = self.last.next(*self.random.pick(&SIZES));
        Operation::Set {
            value: self.last,
            only_if,
            ttl,
        }
    }

    async fn run(&mut self, key: u64, operation: Operation) {
        let key = name(key);
        let bytes = match operation {
            Operation::Set { value, .. } => value.bytes(),
            _ => Vec::new(),
        };
        let (invoked, begun) = (self.shared.history.now(), Instant::now());
        let Some(outcome) = self.way.run(&key, operation, bytes).await else {
            return;
        };
        let shared = &self.shared;
        let elapsed = begun.elapsed();
        if elapsed > shared.worst.lock().unwrap().elapsed {
            let what = format!("{operation:?} {}: {outcome:?}", self.way.name());
            *shared.worst.lock().unwrap() = Worst { elapsed, what };
        }
        shared.operations.fetch_add(1, Relaxed);
        let failed = matches!(outcome, Outcome::Failed | Outcome::Unknown);
        shared.history.note(&key, operation, invoked, outcome);
        shared.progress.notify_waiters();
        if failed {
            shared.failed.fetch_add(1, Relaxed);
            time::sleep(PAUSE).await;
        }
    }
}

//! A light load of Redis clients that notice every request that fails and every value that is lost.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::{task::JoinHandle, time};

use crate::{cluster::until, values::Value};

/// From a replicated value to several stripes.
const SIZES: [u64; 4] = [2_000, 50_000, 400_000, 2_000_000];

/// Keys of each client.
const KEYS: u32 = 12;

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that write and read until they are stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

/// How many requests there have to be, however soon it is over.
const ENOUGH: u64 = 100;

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failed: Vec<String>,
    pub(crate) lost: Vec<String>,
    pub(crate) slowest: Duration,
}

impl Traffic {
    /// One client on each connection, with keys of its own.
    pub(crate) fn start(connections: Vec<MultiplexedConnection>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let clients = (0..).zip(connections).map(|(number, connection)| {
            tokio::spawn(client(number, connection, stop.clone(), asked.clone()))
        });
        Self {
            clients: clients.collect(),
            stop: stop.clone(),
            asked: asked.clone(),
        }
    }

    /// Ends it; what all clients saw, after each has read all its values once more.
    pub(crate) async fn stop(self) -> Tally {
        until("clients have asked enough", async || {
            (self.asked.load(Relaxed) > ENOUGH).then_some(())
        })
        .await;
        self.stop.store(true, Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.await.unwrap();
            all.requests += tally.requests;
            all.failed.extend(tally.failed);
            all.lost.extend(tally.lost);
            all.slowest = all.slowest.max(tally.slowest);
        }
        all
    }
}

impl Tally {
    /// No request failed and no value was lost.
    pub(crate) fn assert_clean(&self) {
        assert!(self.failed.is_empty(), "{self:?}");
        assert!(self.lost.is_empty(), "{self:?}");
        assert!(self.requests > ENOUGH, "{self:?}");
    }
}

async fn client(
    number: u32,
    mut redis: MultiplexedConnection,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) -> Tally {
    let (mut tally, mut written) = (Tally::default(), HashMap::new());
    let mut turn = 0;
    while !stop.load(Relaxed) {
        let before = tally.requests;
        let key = format!("traffic-{number}-{}", turn * 7 % KEYS);
        if turn % 4 == 0 {
            let size = SIZES[turn as usize / 4 % SIZES.len()];
            let value = Value::new(number << 20 | turn, size);
            let began = time::Instant::now();
            let set: Result<(), _> = redis.set(&key, value.bytes()).await;
            tally.note(began, &key, set.err());
            written.insert(key, value);
        } else if let Some(value) = written.get(&key) {
            read(&mut redis, &key, value, &mut tally).await;
        }
        turn += 1;
        asked.fetch_add(tally.requests - before, Relaxed);
        time::sleep(PAUSE).await;
    }
    for (key, value) in &written {
        read(&mut redis, key, value, &mut tally).await;
    }
    tally
}

async fn read(redis: &mut MultiplexedConnection, key: &str, value: &Value, tally: &mut Tally) {
    let began = time::Instant::now();
    let found: Result<Option<Vec<u8>>, _> = redis.get(key).await;
    match found {
        Ok(Some(bytes)) => {
            value.assert_is(&bytes);
            tally.note(began, key, None);
        }
        Ok(None) => tally.lost.push(key.to_owned()),
        Err(error) => tally.note(began, key, Some(error)),
    }
}

impl Tally {
    fn note(&mut self, began: time::Instant, key: &str, error: Option<redis::RedisError>) {
        self.requests += 1;
        self.slowest = self.slowest.max(began.elapsed());
        self.failed
            .extend(error.map(|error| format!("{key}: {error}")));
    }
}

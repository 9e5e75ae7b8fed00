//! Values that are there, and must stay.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use infinicache_client::{Client, Error};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::task::JoinHandle;

use crate::{cluster::Cluster, values::Value};

/// From a replicated value to several stripes.
pub(crate) const SIZES: [u64; 7] = [16, 5_000, 40_000, 200_000, 400_000, 1_310_721, 4_000_000];

/// Values, and both kinds of client to read them.
#[derive(Clone)]
pub(crate) struct Stored {
    values: Vec<(String, Value)>,
    redis: MultiplexedConnection,
    client: Client,
}

impl Stored {
    /// Stores so many values of each size, by both kinds of client in turn.
    pub(crate) async fn new(cluster: &Cluster, of_each: u32) -> Self {
        Self::through(cluster.redis().await, cluster.client().await, of_each).await
    }

    /// The same through these.
    pub(crate) async fn through(
        redis: MultiplexedConnection,
        client: Client,
        of_each: u32,
    ) -> Self {
        let mut stored = Self {
            values: Vec::new(),
            redis,
            client,
        };
        for number in 0..of_each * SIZES.len() as u32 {
            let size = SIZES[number as usize % SIZES.len()];
            stored.add(Value::new(number, size)).await;
        }
        stored
    }

    /// Reads by new connections from now on.
    pub(crate) async fn reconnect(&mut self, cluster: &Cluster) {
        self.reconnect_by(cluster.redis().await, cluster.client().await);
    }

    /// The same by these.
    pub(crate) fn reconnect_by(&mut self, redis: MultiplexedConnection, client: Client) {
        (self.redis, self.client) = (redis, client);
    }

    /// Stores one more value, under a key of its own.
    pub(crate) async fn add(&mut self, value: Value) {
        let key = format!("stored-{}", self.values.len());
        match self.values.len() % 2 {
            0 => drop(self.client.put(&key, value.bytes()).await.unwrap()),
            _ => self.redis.set(&key, value.bytes()).await.unwrap(),
        }
        self.values.push((key, value));
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(key, _)| key.as_str())
    }

    /// The keys that have no value any more, for both kinds of client.
    ///
    /// # Panics
    ///
    /// If a value is not what was stored.
    pub(crate) async fn missing(&mut self) -> Vec<&str> {
        let mut missing = Vec::new();
        for (key, value) in &self.values {
            let by_redis: Option<Vec<u8>> = self.redis.get(key).await.unwrap();
            let by_client = match self.client.get(key).await {
                Ok(bytes) => Some(bytes),
                Err(Error::Miss | Error::Lost { .. }) => None,
                Err(error) => panic!("{key}: {error}"),
            };
            assert_eq!(by_redis.is_some(), by_client.is_some(), "{key}");
            by_redis.iter().for_each(|bytes| value.assert_is(bytes));
            by_client.iter().for_each(|bytes| value.assert_is(bytes));
            if by_redis.is_none() {
                missing.push(key.as_str());
            }
        }
        missing
    }

    /// Every value is what was stored, for both kinds of client.
    pub(crate) async fn assert_all(&mut self) {
        assert!(self.missing().await.is_empty());
    }

    /// Reads all values again and again beside the test.
    pub(crate) fn keep_reading(&self) -> KeptReading {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut stored, stopped) = (self.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Relaxed) {
                stored.assert_all().await;
            }
        });
        KeptReading { stop, task }
    }
}

/// Reads beside a test.
pub(crate) struct KeptReading {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl KeptReading {
    /// Ends it, and fails if any of it has failed.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Relaxed);
        self.task.await.unwrap();
    }
}

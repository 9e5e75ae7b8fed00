//! Whoever reads while others write gets one value, never parts of several.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use infinicache_client::{Client, Error};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::{task::JoinSet, time};

use crate::{
    cluster::Cluster,
    random::Random,
    values::{Check, Value},
};

const SIZES: [u64; 6] = [16, 5_000, 100_000, 700_000, 1_310_720, 3_000_000];

/// How long a slow reader pauses after each piece.
const PAUSE: Duration = Duration::from_millis(1);

/// Values that each of the writers stores.
const WRITES: u32 = 40;

/// What becomes known of a key while one writer overwrites it.
#[derive(Default)]
struct Progress {
    /// The number of the last value that was begun.
    begun: AtomicU32,
    /// The number of the last value that was acknowledged.
    acknowledged: AtomicU32,
}

/// The ways to write.
#[derive(Clone)]
struct Writer {
    redis: MultiplexedConnection,
    client: Client,
}

impl Writer {
    async fn new(cluster: &Cluster) -> Self {
        Self {
            redis: cluster.redis().await,
            client: cluster.client().await,
        }
    }

    async fn set(&mut self, key: &str, value: &Value, smart: bool) {
        match smart {
            true => drop(self.client.put(key, value.bytes()).await.unwrap()),
            false => self.redis.set(key, value.bytes()).await.unwrap(),
        }
    }
}

/// Reads a value in one of the ways there are; `None` if there is none.
async fn read(cluster: &Cluster, client: &Client, key: &str, way: u64) -> Option<Value> {
    match way {
        0 => {
            let mut raw = cluster.raw().await;
            let length = raw.begin_get(key).await?;
            Some(raw.end_get(length, async || time::sleep(PAUSE).await).await)
        }
        1 => {
            let mut download = match client.open(key).await {
                Err(Error::Miss) => return None,
                opened => opened.unwrap(),
            };
            let mut check = Check::default();
            while let Some(piece) = download.next().await.unwrap() {
                check.feed(&piece);
                time::sleep(PAUSE).await;
            }
            Some(check.finish())
        }
        2 => match client.get(key).await {
            Err(Error::Miss) => None,
            got => Some(Value::of(&got.unwrap())),
        },
        _ => {
            let bytes: Option<Vec<u8>> = cluster.redis().await.get(key).await.unwrap();
            bytes.map(|bytes| Value::of(&bytes))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_a_whole_value_that_is_no_older_than_the_last_acknowledged() {
    const KEYS: u32 = 3;
    let cluster = Arc::new(Cluster::start(|up| up).await);
    let writer = Writer::new(&cluster).await;
    let progress: Arc<Vec<Progress>> = Arc::new((0..KEYS).map(|_| Progress::default()).collect());
    for key in 0..KEYS {
        let value = Value::new(key, 100_000);
        writer
            .clone()
            .set(&format!("key-{key}"), &value, true)
            .await;
    }

    let mut writing = JoinSet::new();
    for key in 0..KEYS {
        let (mut writer, progress) = (writer.clone(), progress.clone());
        let mut random = Random::new(&format!("writer-{key}"));
        writing.spawn(async move {
            let mut value = Value::new(key, 100_000);
            for _ in 0..WRITES {
                value = value.next(*random.pick(&SIZES));
                let progress = &progress[key as usize];
                progress.begun.store(value.number, SeqCst);
                let smart = random.below(2) == 0;
                writer.set(&format!("key-{key}"), &value, smart).await;
                progress.acknowledged.store(value.number, SeqCst);
            }
        });
    }

    let done = Arc::new(AtomicBool::new(false));
    let mut reading = JoinSet::new();
    for way in 0..4 {
        let (cluster, progress, done) = (cluster.clone(), progress.clone(), done.clone());
        let mut random = Random::new(&format!("reader-{way}"));
        reading.spawn(async move {
            let client = cluster.client().await;
            let mut reads = 0;
            while !done.load(SeqCst) {
                let key = random.below(KEYS.into()) as u32;
                let progress = &progress[key as usize];
                let least = progress.acknowledged.load(SeqCst);
                let value = read(&cluster, &client, &format!("key-{key}"), way).await;
                let value = value.expect("it is never deleted");
                let most = progress.begun.load(SeqCst);
                assert_eq!(value.writer, key);
                let number = value.number;
                assert!(
                    (least..=most).contains(&number),
                    "{number}, not {least} to {most}"
                );
                reads += 1;
            }
            assert!(reads > 0);
        });
    }
    while let Some(ended) = writing.join_next().await {
        ended.unwrap();
    }
    done.store(true, SeqCst);
    while let Some(ended) = reading.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_overwrite_each_other_every_reader_gets_one() {
    const KEYS: u64 = 2;
    const WRITERS: u32 = 4;
    let cluster = Arc::new(Cluster::start(|up| up).await);
    let writer = Writer::new(&cluster).await;
    let mut writing = JoinSet::new();
    for number in 0..WRITERS {
        let mut writer = writer.clone();
        let mut random = Random::new(&format!("shared-writer-{number}"));
        writing.spawn(async move {
            let mut value = Value::new(number, 0);
            for _ in 0..WRITES {
                let key = format!("key-{}", random.below(KEYS));
                if random.below(8) == 0 {
                    let () = writer.redis.del(key).await.unwrap();
                    continue;
                }
                value = value.next(*random.pick(&SIZES));
                writer.set(&key, &value, number % 2 == 0).await;
            }
        });
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut reading = JoinSet::new();
    for way in 0..4 {
        let (cluster, done) = (cluster.clone(), done.clone());
        let mut random = Random::new(&format!("shared-reader-{way}"));
        reading.spawn(async move {
            let client = cluster.client().await;
            while !done.load(SeqCst) {
                let key = format!("key-{}", random.below(KEYS));
                if let Some(value) = read(&cluster, &client, &key, way).await {
                    assert!(
                        value.writer < WRITERS && value.number <= WRITES,
                        "{value:?}"
                    );
                }
            }
        });
    }
    while let Some(ended) = writing.join_next().await {
        ended.unwrap();
    }
    done.store(true, SeqCst);
    while let Some(ended) = reading.join_next().await {
        ended.unwrap();
    }
    // Now that nobody writes, all ways lead to the same.
    let client = cluster.client().await;
    for key in 0..KEYS {
        let key = format!("key-{key}");
        let first = read(&cluster, &client, &key, 0).await;
        for way in 1..4 {
            assert_eq!(read(&cluster, &client, &key, way).await, first);
        }
    }
}

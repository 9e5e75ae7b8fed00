//! The cache against a map: whatever is done to it, in whatever order, a read
//! gives the last value, or nothing where that is explained.
//!
//! Nodes are killed, frozen and thawed meanwhile, no more than the parity of
//! the code between repairs: so nothing may be lost. The pool is too small for
//! all values: so some are evicted, and the counters say how many.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use infinicache_client::{Client, Error, PutOptions};
use infinicache_wire::{InstanceId, control::NodeState};
use redis::{AsyncCommands, SetExpiry, SetOptions, aio::MultiplexedConnection};

use crate::{
    cluster::{Cluster, Node, until},
    random::Random,
    values::Value,
};

/// What is done in all.
const STEPS: u32 = 500;

const KEYS: u64 = 60;

const PARITY: usize = 2;

const SIZES: [u64; 9] = [
    0, 1, 16, 5_000, 33_000, 150_000, 700_000, 1_310_721, 3_000_000,
];

/// What the clocks of two processes may be apart.
const SKEW: Duration = Duration::from_millis(50);

/// What a key should have.
#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Value,
    /// It expires at some time between these.
    expires: Option<(Instant, Instant)>,
}

/// What a node suffers.
struct Hurt {
    node: Node,
    /// The instance that it was when it happened.
    instance: InstanceId,
    frozen: bool,
}

struct Test {
    cluster: Cluster,
    redis: MultiplexedConnection,
    client: Client,
    random: Random,
    entries: HashMap<String, Entry>,
    hurt: Vec<Hurt>,
    /// Values that were missing without having been deleted or having expired.
    missed: u32,
    last: Value,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_gives_the_last_value_or_nothing_where_that_is_explained() {
    let cluster = Cluster::start(|up| up.memory("2MiB").lost_after("3s")).await;
    let mut test = Test {
        redis: cluster.redis().await,
        client: cluster.client().await,
        cluster,
        random: Random::new("model"),
        entries: HashMap::new(),
        hurt: Vec::new(),
        missed: 0,
        last: Value::new(1, 0),
    };
    for step in 0..STEPS {
        test.step().await;
        if step % 50 == 0 {
            test.check_counters().await;
        }
    }
    test.recover().await;
    for key in 0..KEYS {
        test.get(&format!("key-{key}")).await;
    }
    test.check_counters().await;
    assert!(
        test.missed > 0,
        "the pool is too large: nothing was evicted"
    );
}

impl Test {
    async fn step(&mut self) {
        let key = format!("key-{}", self.random.below(KEYS));
        match self.random.below(100) {
            0..40 => self.set(&key).await,
            40..65 => self.get(&key).await,
            65..75 => self.get_range(&key).await,
            75..82 => self.delete(&key).await,
            82..90 => self.expire(&key).await,
            90..93 => self.persist(&key).await,
            _ => self.disturb().await,
        }
    }

    async fn set(&mut self, key: &str) {
        let value = self.last.next(*self.random.pick(&SIZES));
        self.last = value;
        let ttl = Duration::from_millis(50 + self.random.below(2_000));
        let ttl = (self.random.below(4) == 0).then_some(ttl);
        let before = Instant::now();
        if self.random.below(2) == 0 {
            let options = PutOptions {
                ttl,
                ..PutOptions::default()
            };
            let put = self.client.put_with(key, value.bytes(), options);
            assert!(put.await.unwrap().is_some());
        } else if let Some(ttl) = ttl {
            let expiry = SetExpiry::PX(ttl.as_millis() as u64);
            let options = SetOptions::default().with_expiration(expiry);
            let set = self.redis.set_options(key, value.bytes(), options);
            let () = set.await.unwrap();
        } else {
            let () = self.redis.set(key, value.bytes()).await.unwrap();
        }
        let expires = ttl.map(|ttl| (before + ttl, Instant::now() + ttl));
        self.entries
            .insert(key.to_owned(), Entry { value, expires });
    }

    async fn get(&mut self, key: &str) {
        let before = Instant::now();
        let got = match self.random.below(2) {
            0 => self.redis.get::<_, Option<Vec<u8>>>(key).await.unwrap(),
            _ => match self.client.get(key).await {
                Ok(bytes) => Some(bytes.to_vec()),
                Err(Error::Miss) => None,
                Err(error) => panic!("{key}: {error}"),
            },
        };
        if let Some(entry) = self.expected(key, before, got.is_some()).await {
            entry.value.assert_is(&got.expect("it is there"));
        }
    }

    async fn get_range(&mut self, key: &str) {
        let size = self.entries.get(key).map_or(1, |entry| entry.value.size);
        let start = self.random.below(size + 1);
        let end = start + 1 + self.random.below(size + 1);
        let before = Instant::now();
        let got = match self.client.get_range(key, start..end).await {
            Ok(bytes) => Some(bytes),
            Err(Error::Miss) => None,
            Err(error) => panic!("{key}: {error}"),
        };
        let Some(entry) = self.expected(key, before, got.is_some()).await else {
            return;
        };
        let part = entry.value.part(start, end);
        assert!(
            got.expect("it is there") == part,
            "{start}..{end} of {entry:?}"
        );
        let (first, last) = (start as isize, end as isize - 1);
        let before = Instant::now();
        let got: Vec<u8> = self.redis.getrange(key, first, last).await.unwrap();
        // A range of nothing is empty, too.
        if got != part {
            assert!(got.is_empty(), "{start}..{end} of {entry:?}");
            self.expected(key, before, false).await;
        }
    }

    async fn delete(&mut self, key: &str) {
        let before = Instant::now();
        let existed = match self.random.below(2) {
            0 => self.redis.del::<_, u64>(key).await.unwrap() == 1,
            _ => self.client.delete(key).await.unwrap(),
        };
        self.expected(key, before, existed).await;
        self.entries.remove(key);
    }

    async fn expire(&mut self, key: &str) {
        let millis = 1 + self.random.below(1_500);
        let before = Instant::now();
        let existed = self
            .redis
            .pexpire::<_, bool>(key, millis as i64)
            .await
            .unwrap();
        if self.expected(key, before, existed).await.is_some() {
            let ttl = Duration::from_millis(millis);
            let expires = Some((before + ttl, Instant::now() + ttl));
            self.entries.get_mut(key).expect("expected").expires = expires;
        }
    }

    async fn persist(&mut self, key: &str) {
        let before = Instant::now();
        let persisted = self.redis.persist::<_, bool>(key).await.unwrap();
        let there = persisted || self.redis.exists::<_, bool>(key).await.unwrap();
        if self.expected(key, before, there).await.is_some() {
            let entry = self.entries.get_mut(key).expect("expected");
            assert_eq!(persisted, entry.expires.is_some(), "{key}");
            entry.expires = None;
        }
    }

    /// What a key should have, after an operation that began at `before` found it or did not.
    ///
    /// # Panics
    ///
    /// If it should not have been found.
    async fn expected(&mut self, key: &str, before: Instant, found: bool) -> Option<Entry> {
        let Some(entry) = self.entries.get(key).copied() else {
            assert!(!found, "{key} is there");
            return None;
        };
        if found {
            let outlived = entry.expires.is_some_and(|(_, last)| before > last + SKEW);
            assert!(!outlived, "{key} has outlived its time");
            return Some(entry);
        }
        let may_have_expired = |(first, _): (Instant, Instant)| Instant::now() + SKEW >= first;
        if !entry.expires.is_some_and(may_have_expired) {
            self.missed += 1;
            self.check_counters().await;
        }
        self.entries.remove(key);
        None
    }

    /// What is missing was evicted, and nothing was lost.
    async fn check_counters(&self) {
        let metrics = self.cluster.metrics().await;
        let removed =
            |reason| metrics.of("infinicache_proxy_objects_removed_total", "reason", reason);
        assert_eq!(removed("lost"), 0.0);
        assert_eq!(
            metrics.of("infinicache_proxy_reads_total", "result", "lost"),
            0.0
        );
        let (missed, evicted) = (self.missed, removed("evicted"));
        assert!(
            f64::from(missed) <= evicted,
            "{missed} missed, {evicted} evicted"
        );
    }

    /// Something happens to a node; if it would be too much, they recover instead.
    async fn disturb(&mut self) {
        if self.hurt.len() == PARITY {
            self.recover().await;
            return;
        }
        let view = self.client.pool().await.unwrap();
        let mut candidates = Vec::new();
        for node in self.cluster.awake().await {
            let seen = view
                .nodes
                .iter()
                .find(|seen| seen.name == node.name)
                .unwrap();
            let is_hurt = self.hurt.iter().any(|hurt| hurt.node.name == node.name);
            if let (false, NodeState::Active, Some(instance)) = (is_hurt, seen.state, seen.instance)
            {
                candidates.push((node, instance));
            }
        }
        if candidates.is_empty() {
            return;
        }
        let (node, instance) = self.random.pick(&candidates).clone();
        let frozen = self.random.below(2) == 0;
        match frozen {
            true => node.freeze(),
            false => node.kill(),
        }
        let hurt = Hurt {
            node,
            instance,
            frozen,
        };
        self.hurt.push(hurt);
    }

    /// Frozen nodes are thawed; then all that was lost is repaired.
    async fn recover(&mut self) {
        for hurt in std::mem::take(&mut self.hurt) {
            let thawed_at = Instant::now();
            if hurt.frozen {
                hurt.node.thaw();
            }
            until("the proxy knows what became of a node", async || {
                let view = self.client.pool().await.unwrap();
                let mut nodes = view.nodes.iter();
                let same = nodes.find(|node| node.instance == Some(hurt.instance));
                let Some(same) = same else { return Some(()) };
                let heard_ago = same.heard_ms.map(Duration::from_millis);
                let is_heard = heard_ago.is_some_and(|ago| ago < thawed_at.elapsed());
                (hurt.frozen && is_heard).then_some(())
            })
            .await;
        }
        self.cluster
            .until_whole(self.entries.keys().map(String::as_str))
            .await;
    }
}

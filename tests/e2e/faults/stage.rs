//! A scenario from its start to its verdict.

use std::{env, time::Duration};

use tokio::time::Instant;

use super::load::Load;
use crate::{
    cluster::{Cluster, Node, Options, until},
    history::{Event, Violation, check},
    random::Random,
    wire::Wire,
};

/// How many nodes may be lost at once.
pub(super) const PARITY: usize = 2;

const KEYS: u64 = 36;

/// Operations that are done before, while and after something goes wrong.
const SOME: u64 = 100;

/// A cache under load, to which something happens.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) wire: Wire,
    pub(super) random: Random,
    load: Load,
    /// When the work ended that was done while something was wrong.
    hurt_until: Instant,
    /// The longest time from there to full redundancy.
    whole_after: Duration,
}

/// What shall happen to which cache.
pub(super) struct Scenario {
    name: &'static str,
    change: fn(Options) -> Options,
    /// Whether more nodes fail than the code bears. Else nothing may be lost.
    may_lose: bool,
}

impl Scenario {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            change: |up| up,
            may_lose: false,
        }
    }

    /// The same with a cache that differs from the usual one.
    pub(super) fn with(self, change: fn(Options) -> Options) -> Self {
        Self { change, ..self }
    }

    /// The same, with more losses than the code bears.
    pub(super) fn that_may_lose(self) -> Self {
        Self {
            may_lose: true,
            ..self
        }
    }

    /// Plays it: `round` is what goes wrong, and ends when nothing is wrong any more.
    pub(super) async fn play(self, mut round: impl AsyncFnMut(&mut Stage)) {
        let mut stage = Stage::set(self.name, self.change).await;
        let end = Instant::now() + long();
        let mut rounds = 0;
        while rounds == 0 || Instant::now() < end {
            stage.work().await;
            round(&mut stage).await;
            stage.work().await;
            rounds += 1;
        }
        stage.conclude(self, rounds).await;
    }
}

/// How long a scenario shall be, if longer than a round.
fn long() -> Duration {
    let seconds = env::var("INFINICACHE_FAULTS_SECONDS");
    seconds.map_or(Duration::ZERO, |seconds| {
        Duration::from_secs(seconds.parse().unwrap())
    })
}

impl Stage {
    /// A cache that is filled and at work.
    async fn set(name: &str, change: fn(Options) -> Options) -> Self {
        let mut random = Random::new(name);
        let (cluster, wire) = Cluster::start_wired(random.fork(), |up| {
            let up = up.nodes(9).code(4, PARITY).memory("32MiB");
            change(up.lost_after("2s"))
        })
        .await;
        let load = Load::start(&cluster, KEYS, &mut random).await;
        Self {
            cluster,
            wire,
            random,
            load,
            hurt_until: Instant::now(),
            whole_after: Duration::ZERO,
        }
    }

    /// Waits until the clients have done some work.
    pub(super) async fn work(&mut self) {
        self.load.goes_on(SOME).await;
        self.hurt_until = Instant::now();
    }

    /// Some of the nodes that are awake: as many as may be lost at once.
    pub(super) async fn victims(&mut self) -> Vec<Node> {
        self.random.choose(PARITY, &self.cluster.awake().await)
    }

    /// Waits until the cache has its full redundancy again.
    ///
    /// The work goes on: an object may lack a chunk at any moment because it
    /// has just been written beside a node that failed. So it is enough that
    /// none does once. Those that were killed must have been noticed before.
    pub(super) async fn until_repaired(&mut self) {
        until("no object is degraded", async || {
            let metrics = self.cluster.metrics().await;
            let degraded = metrics.total("infinicache_proxy_objects_degraded");
            (degraded == 0.0).then_some(())
        })
        .await;
        self.whole_after = self.whole_after.max(self.hurt_until.elapsed());
    }

    /// How many instances were lost so far.
    pub(super) async fn lost_nodes(&self) -> f64 {
        let metrics = self.cluster.metrics().await;
        metrics.total("infinicache_proxy_nodes_lost_total")
    }

    /// Waits until so many more instances are lost than `before`.
    pub(super) async fn until_lost(&self, before: f64, count: usize) {
        until("nodes are given up", async || {
            (self.lost_nodes().await >= before + count as f64).then_some(())
        })
        .await;
    }

    async fn conclude(mut self, scenario: Scenario, rounds: u32) {
        let Scenario { name, may_lose, .. } = scenario;
        let keys: Vec<String> = self.load.keys().collect();
        self.load.stop(&self.cluster).await;
        self.cluster
            .until_whole(keys.iter().map(String::as_str))
            .await;

        let metrics = self.cluster.metrics().await;
        let removed =
            |reason| metrics.of("infinicache_proxy_objects_removed_total", "reason", reason);
        let (evicted, lost) = (removed("evicted"), removed("lost"));
        let checked = check(&self.load.history().events(), (evicted + lost) as u64);
        let violations = checked.err().unwrap_or_default();
        let is_wrong = |it: &&Violation| matches!(it, Violation::Wrong { .. });
        let worst = self.load.worst();
        println!(
            "{name}: {rounds} rounds, {} operations ({} failed), {} harms on the wire, {} wrong, \
             {evicted} evicted, {lost} lost, worst {:?}, whole after {:?}\n    worst: {}",
            self.load.operations(),
            self.load.failed(),
            self.wire.harmed(),
            violations.iter().filter(is_wrong).count(),
            worst.elapsed,
            self.whole_after,
            worst.what,
        );
        for violation in &violations {
            println!("{violation}");
            let is_of_key = |event: &&Event| Some(event.key.as_str()) == violation.key();
            let events = self.load.history().events();
            for event in events.iter().filter(is_of_key) {
                println!("    {event:?}");
            }
        }
        assert!(violations.is_empty(), "{name}: it is not as it should be");
        let counted = lost == 0.0 || may_lose;
        assert!(counted, "{name}: acknowledged values were lost");
    }
}

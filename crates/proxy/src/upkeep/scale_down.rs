//! Scale-down: no more nodes than are needed, and what they cost.
//!
//! Looks once a second at who is awake, counts the time, and has the least
//! filled node emptied when [`Consolidation`] says so, with the machinery of
//! `upkeep::evacuation`.

use std::time::{Duration, Instant};

use infinicache_host::{clock, task};
use tokio::time;
use tracing::info;

use crate::{
    cache::Cache,
    upkeep::consolidation::{Awake, Consolidation, Decision, Policy},
};

/// How often is looked.
const TICK: Duration = Duration::from_secs(1);

/// How long is believed how many nodes the widest object needs.
const FLOOR_HOLDS: Duration = Duration::from_secs(10);

/// Looks after the size of the pool, for ever.
pub(crate) async fn run(cache: Cache, policy: Policy) {
    let mut ticks = time::interval(TICK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut consolidation = Consolidation::default();
    let mut last = clock::now();
    let mut floor: Option<(Instant, usize)> = None;
    loop {
        ticks.tick().await;
        let now = clock::now();
        let nodes = cache.nodes();
        nodes.shortage().observe(nodes.list().viable());
        let elapsed = now.duration_since(last).as_secs_f64();
        let (members, all) = (nodes.members().all().len(), nodes.list().states().len());
        cache.metrics().upkeep().awake(elapsed, members, all);
        last = now;

        let awake = awake(&cache);
        if Consolidation::is_needless(&policy, &awake) || cache.is_open().is_err() {
            continue;
        }
        let known = floor.filter(|(at, _)| now.duration_since(*at) < FLOOR_HOLDS.min(policy.calm));
        let widest = match known {
            Some((_, widest)) => widest,
            None => {
                // Every object is looked at: not on a thread that serves clients.
                let all = cache.clone();
                let Ok(widest) =
                    task::spawn_blocking(move || all.metadata().catalog.widest()).await
                else {
                    return;
                };
                floor.insert((now, widest)).1
            }
        };
        match consolidation.observe(now, &policy, &awake, widest) {
            Decision::Nothing => {}
            Decision::Release(member) => {
                info!(%member, awake = awake.len(), widest, "the pool needs fewer nodes: one is emptied");
                cache.metrics().upkeep().scaled_down();
                cache.nodes().departures().set_surplus(member, true);
            }
            Decision::Keep(member) => {
                info!(%member, "node could not be emptied, and is kept");
                cache.nodes().departures().set_surplus(member, false);
            }
        }
    }
}

fn awake(cache: &Cache) -> Vec<Awake> {
    let usable = cache.nodes().availability().usable().into_iter();
    let members = usable.filter_map(|node| node.member);
    members
        .map(|member| Awake {
            member: member.id,
            used: member.memory.used(),
            capacity: member.memory.planned(),
            surplus: member.is_surplus(),
        })
        .collect()
}

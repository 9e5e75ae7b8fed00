//! A deterministic simulation of whole pools: the real proxy, its successors, the real nodes and
//! real clients, in virtual time on one thread.
//!
//! What the programs take from their machine, [`infinicache_host`] and `infinicache_socket` give
//! them, is simulated; everything above that is what users run. A run is a function of its seed.
//! Clients ask at random while processes die, freeze and are replaced, and the network parts;
//! every answer is held against what a sound cache can have said.
//!
//! - [`world`](self): processes, and the platform that starts them;
//! - `clients`: who asks, and what;
//! - `faults`: what goes wrong;
//! - `history`: what was said, and whether it can be;
//! - `audit`: at the end every value is whole, and nodes hold nothing else;
//! - `log`: what the programs log, which is the log of the simulation.
#![forbid(unsafe_code)]

mod audit;
mod clients;
mod faults;
mod history;
mod log;
mod pages;
mod platform;
mod redis;
mod rules;
mod scenario;
mod world;

use std::collections::BTreeMap;

use infinicache_host::simulation;
use tokio::task::JoinHandle;

use self::{history::Millis, log::Log, world::World};
pub use self::{
    rules::RULES,
    scenario::{Faults, Scenario},
};

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Why it cannot have been a sound cache; empty if it can.
    pub violations: Vec<String>,
    /// What was logged.
    pub log: Vec<String>,
    /// Virtual milliseconds.
    pub elapsed: Millis,
    /// Commands that were asked.
    pub asked: u64,
    /// Changes that were acknowledged.
    pub acknowledged: u64,
    /// Reads that gave a value.
    pub hits: u64,
    /// Values that the proxies say they lost.
    pub losses: u64,
    /// Runs of the proxy that could not tell what there is.
    pub undecided: u64,
    /// Rosters that too few members stored.
    pub forced: u64,
    /// What went wrong after that: nothing is promised from then on.
    pub excused: u64,
    /// How often the programs came by each fail point.
    pub reached: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// Adds what another run counted.
    pub fn count(&mut self, other: &Self) {
        self.elapsed += other.elapsed;
        self.asked += other.asked;
        self.acknowledged += other.acknowledged;
        self.hits += other.hits;
        self.losses += other.losses;
        self.undecided += other.undecided;
        self.forced += other.forced;
        self.excused += other.excused;
        for (point, times) in &other.reached {
            *self.reached.entry(point).or_default() += times;
        }
    }
}

/// Runs one seed.
pub fn run(scenario: &Scenario) -> Outcome {
    let log = Log::new(scenario);
    // Where there is but one, tracing asks the thread that comes by a line first, which may be
    // another.
    let _beside = tracing::Dispatch::new(log.clone());
    let subscriber = tracing::subscriber::set_default(log.clone());
    let ran = simulation::run(
        scenario.seed,
        scenario.left_out.iter().cloned(),
        async || {
            let world = World::new(scenario, log.clone());
            let clients = clients::start(&world);
            faults::strike(&world).await;
            clients.iter().for_each(JoinHandle::abort);
            if world.is_sound() {
                audit::look_at_everything(&world).await;
            }
            history::now()
        },
    );
    drop(subscriber);

    let mut history = log.history().clone();
    if scenario.faults == Faults::Within && history.losses + history.undecided > 0 {
        let (losses, undecided) = (history.losses, history.undecided);
        history.violations.push(format!(
            "{losses} lost, {undecided} undecided, within the tolerance"
        ));
    }
    // A view that too few have stored may be forgotten: nothing is promised from then on.
    let is_excused = scenario.faults != Faults::Within
        && history.forced > 0
        && history
            .violations
            .iter()
            .all(|it| it.contains("cannot be answered"));
    let excused = match is_excused {
        true => history.violations.drain(..).count(),
        false => 0,
    };
    Outcome {
        violations: history.violations,
        log: log.take(),
        elapsed: ran.output,
        asked: history.asked,
        acknowledged: history.acknowledged,
        hits: history.hits,
        losses: history.losses,
        undecided: history.undecided,
        forced: history.forced,
        excused: excused as u64,
        reached: ran.reached,
    }
}

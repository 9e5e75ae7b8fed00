//! A deterministic simulation of a proxy, its successors and their nodes.
//!
//! The nodes' stores, the rules of [`infinicache_membership`], the lives of nodes
//! and the values on their way out are the real ones; around them are a small
//! network, virtual time, and a shell that takes the steps of the real one in the
//! same order. A run is a function of its seed. Clients ask at random while
//! processes die, freeze and are replaced; every answer is held against what a
//! sound cache can have said.
//!
//! - `world`: time, the queue of events, processes and their tasks;
//! - `network`, `node`, `proxy`, `client`: what lives there;
//! - `faults`: what goes wrong;
//! - `history`: what was said, and whether it can be;
//! - `rules`: what the protocol rests on, each of which can be left out.
//!
//! `SIMULATION_SEED` is the first seed and `SIMULATION_COUNT` how many there are;
//! `SIMULATION_FAULTS` chooses `within`, `often` or `beyond`, `SIMULATION_LOG` prints what
//! happened whether it failed or not.

mod client;
mod faults;
mod history;
mod network;
mod node;
mod proxy;
mod random;
mod rules;
mod world;

use std::{collections::BTreeSet, rc::Rc};

use infinicache_wire::inventory;

use self::{
    faults::Faults,
    history::Command,
    rules::Rules,
    world::{Millis, Process, World},
};

/// Keys that clients use, so few that they meet.
const KEYS: u8 = 3;
const CLIENTS: u32 = 3;

/// How long clients ask and things go wrong.
const TROUBLE: Millis = 25_000;

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    violations: Vec<String>,
    log: Vec<String>,
    steps: u64,
    acknowledged: u64,
    hits: u64,
    losses: u64,
    undecided: u64,
    forced: u64,
    /// What went wrong after too few were left to store a roster.
    excused: u64,
}

impl Outcome {
    /// Adds what another run counted.
    fn count(&mut self, other: &Self) {
        self.steps += other.steps;
        self.acknowledged += other.acknowledged;
        self.hits += other.hits;
        self.losses += other.losses;
        self.undecided += other.undecided;
        self.forced += other.forced;
        self.excused += other.excused;
    }
}

/// Runs one seed.
fn run(seed: u64, rules: Rules, faults: Faults, log: bool) -> Outcome {
    let world = World::new(seed, rules, faults, log);
    for id in 0..CLIENTS {
        let living = client::live(world.clone(), id, KEYS, TROUBLE);
        world.spawn(Process::Client(id), living);
    }
    let striking = faults::strike(world.clone(), faults, TROUBLE);
    world.spawn(Process::Nemesis, striking);
    while !world.is_over.get() && is_sound(&world) && world.step(Millis::MAX) {}
    if is_sound(&world) {
        look_at_everything(&world);
    }

    let mut history = world.history.take();
    if faults == Faults::Within && history.losses + history.undecided > 0 {
        let (losses, undecided) = (history.losses, history.undecided);
        history.violations.push(format!(
            "{losses} lost, {undecided} undecided, within the tolerance"
        ));
    }
    // A roster that too few have stored may be forgotten: nothing is promised from then on.
    let is_excused = faults != Faults::Within
        && history.forced > 0
        && history
            .violations
            .iter()
            .all(|it| it.contains("cannot be answered"));
    let excused = if is_excused {
        history.violations.drain(..).count()
    } else {
        0
    };
    world.end();
    Outcome {
        violations: history.violations,
        log: world.take_log(),
        steps: world.steps.get(),
        acknowledged: history.acknowledged,
        hits: history.hits,
        losses: history.losses,
        undecided: history.undecided,
        forced: history.forced,
        excused: excused as u64,
    }
}

fn is_sound(world: &World) -> bool {
    world.history.borrow().violations.is_empty()
}

/// Reads every key once more, and compares what nodes hold with what they should.
fn look_at_everything(world: &Rc<World>) {
    let reader = CLIENTS;
    let asking = world.clone();
    let done = Rc::new(std::cell::Cell::new(false));
    let is_done = done.clone();
    world.spawn(Process::Client(reader), async move {
        for key in 0..KEYS {
            let mut is_read = false;
            // A link may be found broken only when it is used.
            for _ in 0..20 {
                let answer = client::ask(&asking, reader, &mut None, Command::Get { key }).await;
                is_read |= matches!(answer, history::Answer::Value(_) | history::Answer::Absent);
                if is_read {
                    break;
                }
                asking.sleep(Process::Client(reader), 1_000).await;
            }
            if !is_read {
                let violation = format!("key {key} cannot be read although all is well");
                asking.history.borrow_mut().violations.push(violation);
            }
        }
        is_done.set(true);
    });
    while !done.get() && world.step(Millis::MAX) {}
    // What has expired meanwhile takes its time to go.
    let mut found = Vec::new();
    for _ in 0..20 {
        let end = world.now() + 1_000;
        while world.step(end) {}
        found = leftovers(world);
        if found.is_empty() {
            return;
        }
    }
    world.history.borrow_mut().violations.extend(found);
}

/// Where nodes hold other chunks than the metadata lists.
fn leftovers(world: &World) -> Vec<String> {
    let Some(proxy) = world.newest() else {
        return vec!["there is no proxy".into()];
    };
    let mut found = Vec::new();
    for (member, listed) in proxy.holdings() {
        let mut nodes = world.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(&member) else {
            found.push(format!("member {member} is gone"));
            continue;
        };
        let page = node.store.inventory(None).into_bytes();
        let entries = inventory::read_page(page).expect("a page");
        let held: BTreeSet<_> = entries.into_iter().map(|it| it.chunk).collect();
        if held != listed {
            found.push(format!("node {member} holds {held:?}, listed {listed:?}"));
        }
    }
    found
}

#[cfg(test)]
mod tests;

//! What goes wrong: processes that die, freeze and are replaced, links that break.
//!
//! Within the tolerance, no more than p instances are lost or frozen at once, and
//! the next only when every value is whole again; then nothing may be lost. Often
//! the next ones are before that. Beyond the tolerance any number is. Then values
//! may be lost, but nothing may be wrong.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use infinicache_host::{
    simulation::{Process, range, stall_often},
    task,
};
use infinicache_socket::simulation as network;
use tokio::time::{sleep, timeout};
use tracing::info;

use crate::{
    audit::unsettled,
    clients,
    history::{Millis, now},
    platform::{self, MOST_RUNS, end_node, end_run, start_node, start_run},
    scenario::{Faults, TROUBLE},
    world::{Instance, Run, World, chance, instance_address, pick, run_address, service},
};

/// How many of a thousand stall points hold a proxy up.
const STALLS: u64 = 10;

/// How long all may take to be well again.
const RECOVERY: Duration = Duration::from_secs(150);

async fn pause(from: Millis, to: Millis) {
    sleep(Duration::from_millis(range(from, to))).await;
}

/// Why the pool is not well; looked at by a process that has sockets.
async fn look(world: &Arc<World>) -> Option<String> {
    let looking = world.clone();
    let looked = clients::reader().spawn(async move { unsettled(&looking).await });
    looked.await.unwrap_or_else(|error| Some(error.to_string()))
}

/// Lets things go wrong for a while, then lets all be well.
pub(crate) async fn strike(world: &Arc<World>) {
    platform::start(world);
    start_run(world);
    stall_often(STALLS);
    while now() < TROUBLE {
        pause(50, 2_500).await;
        match range(0, 100) {
            0..15 => sever_links(world),
            15..20 => split(world),
            20..35 => strike_run(world),
            _ => strike_nodes(world).await,
        }
    }
    heal(world);
    let mut why = None;
    let settling = async {
        loop {
            why = look(world).await;
            if why.is_none() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    if timeout(RECOVERY, settling).await.is_err() {
        world.violation(format!("no progress: {}", why.unwrap_or_default()));
    }
}

fn sever_links(world: &World) {
    for _ in 0..range(1, 3) {
        let Some((id, ends)) = pick(&network::connections()) else {
            return;
        };
        info!("connection {id} between {} and {} breaks", ends[0], ends[1]);
        // A connection that seems to be up for long is as good as a frozen peer.
        let notices = [0; 2].map(|_| match world.faults != Faults::Within && chance(25) {
            true => Duration::from_millis(range(50, 6_000)),
            false => Duration::from_millis(range(0, 50)),
        });
        network::sever(id, notices);
    }
}

fn strike_run(world: &Arc<World>) {
    let Some(victim) = world.newest() else {
        return;
    };
    let fate = range(0, 3);
    match fate {
        0 if chance(30) => platform::switch_run_off(world, &victim),
        0 => end_run(world, &victim),
        1 => {
            info!(run = victim.id, "a proxy freezes");
            victim.process.freeze();
            let millis = match chance(40) {
                true => range(300, 2_500),
                false => range(100, 9_000),
            };
            thaw_after(victim.process, millis);
        }
        // Its successor starts while it is well.
        _ => {}
    }
    let successor = match fate {
        1 if chance(30) => return,
        _ if chance(40) => range(0, 300),
        _ => range(0, 4_000),
    };
    let later = world.clone();
    task::spawn(async move {
        sleep(Duration::from_millis(successor)).await;
        let runs = later.state().runs.len();
        if !later.is_calm() && runs < MOST_RUNS {
            start_run(&later);
        }
    });
}

/// A second run starts beside the one that leads, and the nodes are split between them for a while.
///
/// A pool without members has no witness that it is led: runs that are cut off from each other's
/// nodes from the start fill a pool each.
fn split(world: &Arc<World>) {
    let runs: Vec<Run> = world.state().runs.values().cloned().collect();
    let [first] = &runs[..] else { return };
    if world.history().hits == 0 {
        return;
    }
    let second = start_run(world).id;
    for name in 0..world.names {
        let cut = match range(0, 5) {
            0 | 1 => first.id,
            2 | 3 => second,
            _ => continue,
        };
        info!("proxy {cut} is cut off from name {name}");
        let instances = {
            let mut state = world.state();
            state.cuts.push((cut, name));
            let of_name = state.instances.values().filter(|it| it.name == name);
            of_name.map(|it| it.id).collect::<Vec<_>>()
        };
        network::part(run_address(cut), service(name));
        for instance in instances {
            network::part(run_address(cut), instance_address(instance));
        }
    }
    let later = world.clone();
    task::spawn(async move {
        pause(200, 9_000).await;
        later.state().cuts.clear();
        network::reunite();
    });
}

fn thaw_after(process: Process, millis: Millis) {
    task::spawn(async move {
        sleep(Duration::from_millis(millis)).await;
        info!(?process, "thaws");
        process.thaw();
    });
}

/// Something is wrong with a node for as long as that.
fn impair(world: &Arc<World>, end: impl Future<Output = ()> + Send + 'static) {
    world.state().impaired += 1;
    let world = world.clone();
    task::spawn(async move {
        end.await;
        world.state().impaired -= 1;
    });
}

async fn strike_nodes(world: &Arc<World>) {
    let is_impaired = world.state().impaired > 0;
    let count = match world.faults {
        Faults::Within if is_impaired || look(world).await.is_some() => return,
        Faults::Often if is_impaired => return,
        Faults::Within | Faults::Often => range(1, world.parity as u64 + 1),
        Faults::Beyond if chance(8) => world.names as u64,
        Faults::Beyond => range(1, world.parity as u64 + 2),
    };
    let mut names: Vec<usize> = (0..world.names).collect();
    for _ in 0..count {
        let name = names.swap_remove(range(0, names.len() as u64) as usize);
        let Some(node) = world.state().current[name].clone() else {
            continue;
        };
        match range(0, 12) {
            0..3 => end_node(world, &node),
            3..5 => platform::switch_node_off(world, &node),
            5..9 => freeze(world, node),
            // It hands over what it holds.
            9..10 => terminate(world, node),
            // Two are alive at once, for a while.
            _ => replace(world, name, node),
        }
    }
}

fn freeze(world: &Arc<World>, node: Instance) {
    info!(instance = node.id, "a node freezes");
    node.process.freeze();
    impair(world, async move {
        pause(50, 12_000).await;
        info!(instance = node.id, "a node thaws");
        node.process.thaw();
    });
}

fn terminate(world: &Arc<World>, node: Instance) {
    info!(instance = node.id, "a node gets SIGTERM");
    node.term.cancel();
    let later = world.clone();
    impair(world, async move {
        while later.state().instances.contains_key(&node.id) {
            pause(200, 400).await;
        }
    });
}

fn replace(world: &Arc<World>, name: usize, old: Instance) {
    start_node(world, name);
    let later = world.clone();
    impair(world, async move {
        pause(100, 8_000).await;
        end_node(&later, &old);
    });
}

/// Thaws every process, and leaves one proxy.
fn heal(world: &Arc<World>) {
    info!("all is well from here on");
    world.is_calm.store(true, Relaxed);
    stall_often(0);
    world.state().cuts.clear();
    network::mend();
    let runs: Vec<Run> = world.state().runs.values().cloned().collect();
    match runs.split_last() {
        Some((last, others)) => {
            others.iter().for_each(|it| end_run(world, it));
            last.process.thaw();
        }
        None => {
            start_run(world);
        }
    }
    let instances: Vec<_> = world.state().instances.values().cloned().collect();
    instances.iter().for_each(|it| it.process.thaw());
    let later = world.clone();
    task::spawn(async move {
        loop {
            sleep(Duration::from_millis(500)).await;
            match later.newest() {
                None => {
                    start_run(&later);
                }
                // One that was fenced by one that is gone is started again, as an operator would.
                Some(run) if later.is_fenced(&run) => end_run(&later, &run),
                Some(_) => {}
            }
        }
    });
}

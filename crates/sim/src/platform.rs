//! The platform: it starts the processes of proxies and nodes, and hands wakes to nodes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use infinicache_host::{
    simulation::{Process, range},
    task,
};
use infinicache_node::Node;
use infinicache_socket::simulation::{Listener, SimulatedStream, connect, part, switch_off};
use tokio::{io::copy_bidirectional, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    scenario::Faults,
    world::{
        ADMIN, Instance, REDIS, Run, WAKES, World, chance, instance_address, name_of, run_address,
        service,
    },
};

/// Runs of the proxy that there are at once.
pub(crate) const MOST_RUNS: usize = 3;

const SECRET: &str = "the secret of the simulation";

#[derive(Parser)]
struct ProxyFlags {
    #[command(flatten)]
    config: infinicache_proxy::Config,
}

/// Takes wakes, for ever.
pub(crate) fn start(world: &Arc<World>) {
    for name in 0..world.names {
        let process = Process::new("platform".into(), service(name), 0);
        let address = SocketAddr::new(service(name), 80);
        let listener = Listener::bind(address).expect("each name has an address of its own");
        let world = world.clone();
        process.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                task::spawn(forward(world.clone(), name, stream));
            }
        });
    }
}

/// Hands a wake to the instance of a name, which is started if there is none.
async fn forward(world: Arc<World>, name: usize, mut stream: SimulatedStream) {
    if chance(5) {
        return;
    }
    let current = world.state().current[name].clone();
    let instance = match current {
        Some(instance) => instance,
        None => {
            let instance = start_node(&world, name);
            sleep(Duration::from_millis(range(50, 400))).await;
            instance
        }
    };
    let address = SocketAddr::new(instance.process.address(), WAKES);
    if let Ok(mut node) = connect(address).await {
        let _ = copy_bidirectional(&mut stream, &mut node).await;
    }
}

/// Starts an instance, to which the wakes of its name are handed from now on.
pub(crate) fn start_node(world: &Arc<World>, name: usize) -> Instance {
    let id = {
        let mut state = world.state();
        state.made_instances += 1;
        state.made_instances
    };
    let address = instance_address(id);
    let instance = Instance {
        id,
        name,
        process: Process::new(format!("node {id} of {}", name_of(name)), address, 0),
        term: CancellationToken::new(),
        identity: Arc::default(),
    };
    {
        let mut state = world.state();
        state.current[name] = Some(instance.clone());
        state.instances.insert(id, instance.clone());
        for (run, cut) in &state.cuts {
            if *cut == name {
                part(run_address(*run), address);
            }
        }
    }
    info!(instance = id, name, "the platform starts a node");
    let flags = [
        "node".to_owned(),
        format!("--name={}", name_of(name)),
        format!("--port={WAKES}"),
        format!("--listen-address={address}"),
        "--direct-port=9000".into(),
        format!("--memory={}B", world.node_memory),
        format!("--secret={SECRET}"),
        format!("--pod=pod-{id}"),
        "--drain=10s".into(),
    ];
    let config = infinicache_node::Config::parse_from(flags);
    let (world, ending) = (world.clone(), instance.clone());
    instance.process.spawn(async move {
        let term = ending.term.clone().cancelled_owned();
        let running = async {
            let node = Node::bind(config).await?;
            let _ = ending.identity.set(node.instance());
            node.run(term).await
        };
        if let Err(error) = running.await {
            world.violation(format!("node {} failed: {error:#}", ending.id));
        }
        end_node(&world, &ending);
    });
    instance
}

/// Nothing of an instance is left.
pub(crate) fn end_node(world: &World, instance: &Instance) {
    info!(instance = instance.id, "a node ends");
    {
        let mut state = world.state();
        state.instances.remove(&instance.id);
        let current = &mut state.current[instance.name];
        current.take_if(|it| it.id == instance.id);
    }
    instance.process.kill();
}

/// So is the machine on which it ran.
pub(crate) fn switch_node_off(world: &World, instance: &Instance) {
    switch_off(instance.process.address());
    end_node(world, instance);
}

/// Starts a run of the proxy beside those that there are.
pub(crate) fn start_run(world: &Arc<World>) -> Run {
    let id = {
        let mut state = world.state();
        state.made_runs += 1;
        state.made_runs
    };
    let address = run_address(id);
    // Clocks go back between runs.
    let skew = -(range(0, 1_500) as i64);
    let run = Run {
        id,
        process: Process::new(format!("proxy {id}"), address, skew),
    };
    world.state().runs.insert(id, run.clone());
    info!(run = id, "the platform starts a proxy");
    let nodes = (0..world.names).map(|name| format!("{}=http://{}", name_of(name), service(name)));
    let flags = [
        "proxy".to_owned(),
        format!("--listen={address}:{REDIS}"),
        format!("--node-listen={address}:6379"),
        format!("--admin-listen={address}:{ADMIN}"),
        format!("--nodes={}", nodes.collect::<Vec<_>>().join(",")),
        format!("--data={}", world.data),
        format!("--parity={}", world.parity),
        format!("--node-memory={}B", world.node_memory),
        format!("--secret={SECRET}"),
        "--lease=3s".into(),
        "--node-lost-after=6s".into(),
        "--node-dead-after=40s".into(),
        "--recovery-deadline=9s".into(),
        "--wake-deadline=2s".into(),
        "--predecessor=unknown".into(),
        "--straggler-deadline=1s".into(),
        "--reencode-after=20s".into(),
        "--small-value-max=4KiB".into(),
        format!(
            "--small-values-bytes={}",
            if chance(50) { "1MiB" } else { "0B" }
        ),
        "--scrub-bytes-per-second=100KiB".into(),
    ];
    let config = ProxyFlags::parse_from(flags).config;
    let (world, ended_run) = (world.clone(), run.clone());
    run.process.spawn(async move {
        let ended = infinicache_proxy::run(config, std::future::pending::<()>()).await;
        info!(run = ended_run.id, ?ended, "a proxy ends by itself");
        // Not by the process that is about to end.
        let process = Process::new("platform".into(), service(0), 0);
        process.spawn(restart(world, ended_run));
    });
    run
}

/// A run has ended by itself: another takes its place.
async fn restart(world: Arc<World>, run: Run) {
    end_run(&world, &run);
    sleep(Duration::from_millis(range(500, 3_000))).await;
    let most = match world.is_calm() {
        true => 1,
        false => MOST_RUNS,
    };
    if world.state().runs.len() < most {
        start_run(&world);
    }
}

/// Nothing of a run is left.
pub(crate) fn end_run(world: &World, run: &Run) {
    info!(run = run.id, "a proxy is gone");
    world.state().runs.remove(&run.id);
    run.process.kill();
}

/// Its machine is switched off with it.
pub(crate) fn switch_run_off(world: &World, run: &Run) {
    if world.faults != Faults::Within || chance(50) {
        switch_off(run.process.address());
    }
    end_run(world, run);
}

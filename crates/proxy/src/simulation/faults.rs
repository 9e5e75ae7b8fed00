//! What goes wrong: processes that die, freeze and are replaced, links that break.
//!
//! Within the tolerance, no more than p instances are lost or frozen at once, and
//! the next only when every value is whole again; then nothing may be lost. Often
//! the next ones are before that. Beyond the tolerance any number is. Then values
//! may be lost, but nothing may be wrong.

use std::rc::Rc;

use super::{
    client,
    node::Node,
    proxy::Proxy,
    world::{Event, Millis, Process, World},
};

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    Within,
    /// No more at once than within the tolerance, but before values are whole again.
    Often,
    Beyond,
}

/// Runs of the proxy that there are at once.
const MOST_PROXIES: usize = 3;

/// How long all may take to be well again.
const RECOVERY: Millis = 120_000;

impl World {
    pub(super) fn kill_proxy(&self, id: u32) {
        self.kill(Process::Proxy(id));
        self.network.borrow_mut().died(self, Process::Proxy(id));
        client::disconnect(self, id);
        self.proxies.borrow_mut().remove(&id);
    }

    fn kill_node(&self, id: u32) {
        self.kill(Process::Node(id));
        self.network.borrow_mut().died(self, Process::Node(id));
        self.nodes.borrow_mut().remove(&id);
        let mut current = self.current.borrow_mut();
        current
            .iter_mut()
            .filter(|it| **it == Some(id))
            .for_each(|it| *it = None);
    }

    /// The platform starts the node if there is none, and hands the wake to it.
    pub(super) fn wake(self: &Rc<Self>, name: usize, proxy: u32, epoch: u64, session: u64) {
        if self.chance(5) || self.network.borrow().is_cut(proxy, name) {
            return;
        }
        let current = self.current.borrow()[name];
        let (node, delay) = match current {
            Some(node) => (node, self.range(1, 10)),
            None => (self.start_node(name), self.range(50, 400)),
        };
        let wake = Event::Wake {
            proxy,
            epoch,
            session,
        };
        self.schedule(self.now() + delay, Process::Node(node), wake);
    }

    fn start_node(self: &Rc<Self>, name: usize) -> u32 {
        let id = self.next_instance.get();
        self.next_instance.set(id + 1);
        Node::start(self, name, id);
        id
    }

    /// A run has ended by itself: its platform starts another in its place.
    pub(super) fn restart_proxy(self: &Rc<Self>, id: u32) {
        self.kill_proxy(id);
        let later = self.clone();
        self.spawn(Process::Nemesis, async move {
            later.sleep(Process::Nemesis, later.range(500, 3_000)).await;
            let most = if later.is_calm.get() { 1 } else { MOST_PROXIES };
            if later.proxies.borrow().len() < most {
                later.start_proxy();
            }
        });
    }

    fn start_proxy(self: &Rc<Self>) {
        let id = self.next_proxy.get();
        self.next_proxy.set(id + 1);
        Proxy::start(self, id);
    }

    /// The proxy that was started last, if it lives.
    pub(super) fn newest(&self) -> Option<Rc<Proxy>> {
        let proxies = self.proxies.borrow();
        proxies.values().next_back().cloned()
    }

    fn is_settled(&self) -> bool {
        // What the proxy believes may be out of date: its members have to be there.
        let is_there = |member: u32| {
            let nodes = self.nodes.borrow();
            nodes.contains_key(&member) && !self.is_frozen(Process::Node(member))
        };
        self.newest().is_some_and(|it| {
            !self.is_frozen(it.me())
                && it.is_settled().is_ok()
                && it.holdings().into_keys().all(is_there)
        })
    }
}

/// Lets things go wrong until `end`, then lets all be well.
pub(super) async fn strike(world: Rc<World>, faults: Faults, end: Millis) {
    let me = Process::Nemesis;
    world.start_proxy();
    while world.now() < end {
        world.sleep(me, world.range(50, 2_500)).await;
        match world.range(0, 100) {
            0..20 => sever_links(&world),
            20..25 => split(&world),
            25..50 => strike_proxy(&world),
            _ => strike_nodes(&world, faults),
        }
    }
    heal(&world);
    let settled = world.until_or(me, end + RECOVERY, || world.is_settled().then_some(()));
    if settled.await.is_none() {
        let why = match world.newest() {
            Some(proxy) => proxy.is_settled().err().unwrap_or_default(),
            None => "there is no proxy".into(),
        };
        world
            .history
            .borrow_mut()
            .violations
            .push(format!("no progress: {why}"));
    }
    world.is_over.set(true);
}

fn sever_links(world: &Rc<World>) {
    let links = world.network.borrow().alive();
    for _ in 0..world.range(1, 3) {
        if let Some(link) = world.pick(&links) {
            world.note(|| format!("link {link} breaks"));
            world.network.borrow_mut().sever(world, link);
        }
    }
}

fn strike_proxy(world: &Rc<World>) {
    let proxies: Vec<u32> = world.proxies.borrow().keys().copied().collect();
    let Some(&victim) = proxies.last() else {
        return;
    };
    let fate = world.range(0, 3);
    match fate {
        0 => world.kill_proxy(victim),
        1 => {
            world.freeze(Process::Proxy(victim));
            let pause = if world.chance(40) {
                world.range(300, 2_500)
            } else {
                world.range(100, 9_000)
            };
            thaw_after(world, Process::Proxy(victim), pause);
        }
        // Its successor starts while it is well.
        _ => {}
    }
    let successor = match fate {
        1 if world.chance(30) => return,
        _ if world.chance(40) => world.range(0, 300),
        _ => world.range(0, 4_000),
    };
    let later = world.clone();
    world.spawn(Process::Nemesis, async move {
        later.sleep(Process::Nemesis, successor).await;
        if !later.is_calm.get() && later.proxies.borrow().len() < MOST_PROXIES {
            later.start_proxy();
        }
    });
}

/// A second run starts beside the one that leads, and the nodes are split between them for a while.
///
/// A pool without members has no witness that it is led: runs that are cut off from each other's
/// nodes from the start fill a pool each.
fn split(world: &Rc<World>) {
    let first = match &*world.proxies.borrow().values().collect::<Vec<_>>() {
        [only] if only.leads() && !world.is_calm.get() => only.id(),
        _ => return,
    };
    world.start_proxy();
    let second = world.next_proxy.get() - 1;
    for name in 0..world.names {
        let cut = match world.range(0, 5) {
            0 | 1 => first,
            2 | 3 => second,
            _ => continue,
        };
        world.note(|| format!("proxy {cut} is cut off from name {name}"));
        world.cut(cut, name);
    }
    let later = world.clone();
    world.spawn(Process::Nemesis, async move {
        later.sleep(Process::Nemesis, later.range(200, 9_000)).await;
        later.network.borrow_mut().mend();
    });
}

fn thaw_after(world: &Rc<World>, process: Process, millis: Millis) {
    let later = world.clone();
    if let Process::Node(_) = process {
        world.impaired.set(world.impaired.get() + 1);
    }
    world.spawn(Process::Nemesis, async move {
        later.sleep(Process::Nemesis, millis).await;
        later.thaw(process);
        if let Process::Node(_) = process {
            later.impaired.set(later.impaired.get() - 1);
        }
    });
}

fn strike_nodes(world: &Rc<World>, faults: Faults) {
    let count = match faults {
        Faults::Within if world.impaired.get() > 0 || !world.is_settled() => return,
        Faults::Often if world.impaired.get() > 0 => return,
        Faults::Within | Faults::Often => world.range(1, world.parity as u64 + 1),
        Faults::Beyond if world.chance(8) => world.names as u64,
        Faults::Beyond => world.range(1, world.parity as u64 + 2),
    };
    let mut names: Vec<usize> = (0..world.names).collect();
    for _ in 0..count {
        let name = names.swap_remove(world.range(0, names.len() as u64) as usize);
        let Some(node) = world.current.borrow()[name] else {
            continue;
        };
        match world.range(0, 5) {
            0 | 1 => world.kill_node(node),
            2 | 3 => {
                world.freeze(Process::Node(node));
                thaw_after(world, Process::Node(node), world.range(50, 12_000));
            }
            // Two are alive at once, for a while.
            _ => replace(world, name, node),
        }
    }
}

fn replace(world: &Rc<World>, name: usize, old: u32) {
    world.start_node(name);
    world.impaired.set(world.impaired.get() + 1);
    let later = world.clone();
    world.spawn(Process::Nemesis, async move {
        later.sleep(Process::Nemesis, later.range(100, 8_000)).await;
        later.kill_node(old);
        later.impaired.set(later.impaired.get() - 1);
    });
}

/// Nobody is frozen any more, and one proxy is left.
fn heal(world: &Rc<World>) {
    world.note(|| "all is well from here on".into());
    world.is_calm.set(true);
    world.network.borrow_mut().mend();
    let proxies: Vec<u32> = world.proxies.borrow().keys().copied().collect();
    let (last, others) = match proxies.split_last() {
        Some((last, others)) => (Some(*last), others.to_vec()),
        None => (None, Vec::new()),
    };
    others.into_iter().for_each(|it| world.kill_proxy(it));
    match last {
        Some(last) => world.thaw(Process::Proxy(last)),
        None => world.start_proxy(),
    }
    let nodes: Vec<u32> = world.nodes.borrow().keys().copied().collect();
    nodes
        .into_iter()
        .for_each(|it| world.thaw(Process::Node(it)));
    let later = world.clone();
    world.spawn(Process::Nemesis, async move {
        loop {
            later.sleep(Process::Nemesis, 500).await;
            // One that was superseded by one that is gone is started again, as an operator would.
            let newest = later.newest();
            match newest {
                None => later.start_proxy(),
                Some(proxy) if proxy.is_superseded() => later.kill_proxy(proxy.id()),
                Some(_) => {}
            }
        }
    });
}

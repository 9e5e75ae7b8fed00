//! Links between nodes and proxies: in order within one, in any order between two.
//!
//! A link that breaks loses what is under way, and each side learns of it when
//! it does. One that a side closes lets what that side has sent arrive first.

use std::collections::{BTreeMap, BTreeSet};

use infinicache_wire::{Reply, Request, handshake::Hello, roster::Testimony};

use super::{
    client::Ended,
    faults::Faults,
    world::{Event, Link, Millis, Process, World},
};

/// What travels on a link.
#[expect(clippy::large_enum_variant, reason = "few live at once")]
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// A node that dials says who it is. What it remembers it tells when it obeys, and asked
    /// again; a careless proxy takes it for granted now.
    Hello(Hello, Testimony),
    Welcome {
        epoch: u64,
        fresh: bool,
    },
    Request(u64, Request),
    Reply(u64, Reply),
}

#[derive(Debug)]
struct Line {
    ends: [Process; 2],
    /// Whether each end still takes what arrives.
    open: [bool; 2],
    /// When the last frame to each end arrives.
    last: [Millis; 2],
    broken: bool,
}

/// All links that ever were.
#[derive(Debug, Default)]
pub(super) struct Network {
    lines: BTreeMap<Link, Line>,
    made: Link,
    /// Which names cannot be reached from which proxies, nor these from there.
    cut: BTreeSet<(u32, usize)>,
}

impl World {
    /// Nothing gets through any more between a proxy and the instances of a name.
    pub(super) fn cut(&self, proxy: u32, name: usize) {
        let mut network = self.network.borrow_mut();
        network.cut.insert((proxy, name));
        let named = self.named.borrow();
        for link in network.alive() {
            let [node, other] = network.lines[&link].ends;
            let is_of_name = matches!(node, Process::Node(id) if named.get(&id) == Some(&name));
            if is_of_name && other == Process::Proxy(proxy) {
                network.sever(self, link);
            }
        }
    }
}

impl Network {
    /// Whether a proxy and the instances of a name cannot reach each other.
    pub(super) fn is_cut(&self, proxy: u32, name: usize) -> bool {
        self.cut.contains(&(proxy, name))
    }

    /// Everything gets through again.
    pub(super) fn mend(&mut self) {
        self.cut.clear();
    }

    pub(super) fn connect(&mut self, node: Process, proxy: Process) -> Link {
        self.made += 1;
        let line = Line {
            ends: [node, proxy],
            open: [true; 2],
            last: [0; 2],
            broken: false,
        };
        self.lines.insert(self.made, line);
        self.made
    }

    /// Sends a frame to the other end.
    pub(super) fn send(&mut self, world: &World, from: Process, link: Link, frame: Frame) {
        self.carry(world, from, link, Event::Frame(link, frame));
    }

    fn carry(&mut self, world: &World, from: Process, link: Link, event: Event) {
        let Some(line) = self.lines.get_mut(&link) else {
            return;
        };
        let to = usize::from(line.ends[0] == from);
        if line.broken || !line.open[1 - to] {
            return;
        }
        let delay = match world.range(0, 40) {
            0..6 if world.is_slow => world.range(50, 1_500),
            0 => world.range(20, 400),
            _ => world.range(1, 8),
        };
        line.last[to] = line.last[to].max(world.now() + delay);
        world.schedule(line.last[to], line.ends[to], event);
    }

    /// One end takes nothing any more, and the other learns of it in time.
    pub(super) fn close(&mut self, world: &World, from: Process, link: Link) {
        self.carry(world, from, link, Event::Closed(link));
        if let Some(line) = self.lines.get_mut(&link) {
            let end = usize::from(line.ends[1] == from);
            line.open[end] = false;
        }
    }

    /// What is under way is lost. Each end learns of it sooner or later.
    pub(super) fn sever(&mut self, world: &World, link: Link) {
        let Some(line) = self.lines.get_mut(&link).filter(|it| !it.broken) else {
            return;
        };
        line.broken = true;
        for end in line.ends {
            // A link that seems to be up for long is as good as a frozen peer.
            let late = world.faults != Faults::Within && world.chance(25);
            let delay = if late {
                world.range(50, 6_000)
            } else {
                world.range(0, 50)
            };
            world.schedule(world.now() + delay, end, Event::Closed(link));
        }
    }

    /// Whether an end takes what has arrived over a link.
    pub(super) fn takes(&self, end: Process, link: Link, event: &Event) -> bool {
        self.lines.get(&link).is_some_and(|line| {
            let end = usize::from(line.ends[1] == end);
            line.open[end] && (!line.broken || matches!(event, Event::Closed(_)))
        })
    }

    /// The links that are still up.
    pub(super) fn alive(&self) -> Vec<Link> {
        let alive = self
            .lines
            .iter()
            .filter(|(_, line)| !line.broken && line.open == [true; 2]);
        alive.map(|(link, _)| *link).collect()
    }

    /// A process died: its links break, or are closed by its system.
    pub(super) fn died(&mut self, world: &World, process: Process) {
        let links: Vec<Link> = self.alive();
        let silently = world.chance(30);
        for link in links {
            if !self.lines[&link].ends.contains(&process) {
                continue;
            }
            match silently {
                true => self.sever(world, link),
                false => self.close(world, process, link),
            }
        }
    }

    /// Something happened to a process that is no more.
    pub(super) fn unreachable(&mut self, world: &World, process: Process, event: Event) {
        match event {
            Event::Frame(link, _) => self.close(world, process, link),
            Event::Asked { client, ticket, .. } => {
                let ended = Ended::Broken;
                world.schedule(
                    world.now() + 1,
                    Process::Client(client),
                    Event::Ended { ticket, ended },
                );
            }
            _ => {}
        }
    }
}

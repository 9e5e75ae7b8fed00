//! A node: the real store and allegiance, and a few lines of who is obeyed.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use infinicache_membership::census::Pods;
use infinicache_node::{
    allegiance::Allegiance,
    store::{Finish, Limits, Put, Store},
};
use infinicache_wire::{InstanceId, PROTOCOL_VERSION, Reply, Request, handshake::Hello};

use super::{
    network::Frame,
    world::{Event, Link, Millis, Process, World},
};

/// How long a proxy may take to welcome.
const WELCOME: Millis = 2_000;

/// Who has been woken for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wake {
    proxy: u32,
    epoch: u64,
    session: u64,
}

/// One instance.
pub(super) struct Node {
    pub(super) name: usize,
    pub(super) store: Store,
    allegiance: Allegiance,
    epoch: u64,
    /// The proxy that is pursued.
    wake: Option<Wake>,
    /// The link over which it is.
    dialled: Option<(Link, Millis)>,
    linked: Option<(Link, Wake)>,
}

impl World {
    /// The highest epoch that a node obeys.
    pub(super) fn highest_epoch(&self) -> u64 {
        let nodes = self.nodes.borrow();
        nodes.values().map(|node| node.epoch).max().unwrap_or(0)
    }

    /// The pods of all names: the instances that live, those that were succeeded too.
    pub(super) fn pods(&self) -> Pods {
        let name = |name: usize| format!("n{name}");
        let mut pods: Pods = (0..self.names)
            .map(|it| (name(it), BTreeSet::new()))
            .collect();
        for (id, node) in self.nodes.borrow().iter() {
            pods.entry(name(node.name))
                .or_default()
                .insert(id.to_string());
        }
        pods
    }
}

impl Node {
    pub(super) fn start(world: &Rc<World>, name: usize, id: u32) {
        world.note(|| format!("node {id} starts as name {name}"));
        let limits = Limits {
            capacity: 1 << 20,
            pending_timeout: Duration::from_secs(60),
            dead_timeout: Duration::from_secs(10),
        };
        let node = Self {
            name,
            store: Store::new(limits),
            allegiance: Allegiance::default(),
            epoch: 0,
            wake: None,
            dialled: None,
            linked: None,
        };
        world.nodes.borrow_mut().insert(id, node);
        world.named.borrow_mut().insert(id, name);
        world.current.borrow_mut()[name] = Some(id);
    }

    /// What happens to a node is dealt with at once.
    pub(super) fn happens(world: &Rc<World>, id: u32, event: Event) {
        let mut nodes = world.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(&id) else {
            return;
        };
        let me = Process::Node(id);
        match event {
            Event::Wake {
                proxy,
                epoch,
                session,
            } => {
                let wake = Wake {
                    proxy,
                    epoch,
                    session,
                };
                if !node.yields(world, epoch) {
                    let leader = node.epoch;
                    world.note(|| format!("node {id} is led by {leader:x}"));
                    let at = world.now() + world.range(1, 10);
                    return world.schedule(at, Process::Proxy(proxy), Event::Led { leader });
                }
                if node.linked.is_none_or(|(_, linked)| linked != wake) && node.wake != Some(wake) {
                    node.wake = Some(wake);
                    node.hang_up(world, me);
                    node.dial(world, id);
                }
            }
            Event::Dial => node.dial(world, id),
            Event::Closed(link) => {
                if node.dialled.is_some_and(|(dialled, _)| dialled == link) {
                    node.dialled = None;
                    world.schedule(world.now() + world.range(50, 300), me, Event::Dial);
                }
                if let Some((linked, wake)) = node.linked
                    && linked == link
                {
                    node.linked = None;
                    if node.wake.is_none() {
                        node.wake = Some(wake);
                        world.schedule(world.now() + world.range(50, 300), me, Event::Dial);
                    }
                }
            }
            Event::Frame(link, frame) => {
                let event = Event::Closed(link);
                if !world.network.borrow().takes(me, link, &event) {
                    return;
                }
                node.receive(world, id, link, frame);
            }
            _ => {}
        }
    }

    /// Whether it may turn to a run of `epoch`.
    fn yields(&self, world: &World, epoch: u64) -> bool {
        let now = world.instant(world.now());
        self.linked.is_none()
            || !world.rules.leader_is_kept
            || self.allegiance.yields(self.epoch, epoch, now)
    }

    fn hang_up(&mut self, world: &World, me: Process) {
        if let Some((link, _)) = self.dialled.take() {
            world.network.borrow_mut().close(world, me, link);
        }
    }

    /// Dials whom it is after, unless it is doing so.
    fn dial(&mut self, world: &World, id: u32) {
        let me = Process::Node(id);
        let now = world.now();
        if self.dialled.is_some_and(|(_, since)| now < since + WELCOME) {
            return;
        }
        self.hang_up(world, me);
        let Some(wake) = self.wake else {
            return;
        };
        let link = world
            .network
            .borrow_mut()
            .connect(me, Process::Proxy(wake.proxy));
        self.dialled = Some((link, now));
        if world.network.borrow().is_cut(wake.proxy, self.name) {
            world.network.borrow_mut().sever(world, link);
        }
        let hello = self.introduction(world, id);
        world.network.borrow_mut().send(world, me, link, hello);
        world.schedule(now + WELCOME, me, Event::Dial);
    }

    /// What it says of itself, and what it remembers of earlier runs.
    fn introduction(&self, world: &World, id: u32) -> Frame {
        let now = world.instant(world.now());
        Frame::Hello(self.hello(id), self.allegiance.testimony(now))
    }

    fn hello(&self, id: u32) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            node: format!("n{}", self.name),
            instance: InstanceId(id.into()),
            session: self.wake.map_or(0, |wake| wake.session).to_string(),
            pod: String::new(),
            host: String::new(),
            zone: String::new(),
            capacity: 0,
            used: 0,
            direct: String::new(),
            epoch: self.epoch,
            proof: String::new(),
        }
    }

    fn receive(&mut self, world: &World, id: u32, link: Link, frame: Frame) {
        let me = Process::Node(id);
        match frame {
            Frame::Welcome { epoch, fresh } => {
                if self.dialled.is_none_or(|(dialled, _)| dialled != link) {
                    return;
                }
                let is_over = epoch < self.epoch && world.rules.highest_epoch;
                if is_over || !self.yields(world, epoch) {
                    world.note(|| format!("node {id} refuses epoch {epoch}"));
                    self.hang_up(world, me);
                    // Its time is over; whoever is in charge will wake this node.
                    self.wake = None;
                    return;
                }
                let before = std::mem::replace(&mut self.epoch, epoch);
                self.dialled = None;
                let Some(wake) = self.wake.take() else {
                    return;
                };
                if let Some((old, _)) = self.linked.replace((link, wake)) {
                    world.network.borrow_mut().close(world, me, old);
                }
                if fresh {
                    self.store.clear();
                } else if epoch > before && world.rules.forget_unfinished {
                    self.store.forget_unfinished();
                }
                world.note(|| format!("node {id} obeys {epoch}, fresh {fresh}"));
                let now = world.instant(world.now());
                self.allegiance.welcomed(epoch > before, now);
            }
            Frame::Request(number, request) => {
                if self.linked.is_none_or(|(linked, _)| linked != link) {
                    return;
                }
                let shown = (!matches!(request, Request::Ping { .. })).then(|| show(&request));
                let reply = self.answer(world, request);
                if let Some(shown) = shown {
                    world.note(|| format!("node {id} {shown}: {}", show_reply(&reply)));
                }
                let reply = Frame::Reply(number, reply);
                world.network.borrow_mut().send(world, me, link, reply);
            }
            Frame::Hello(..) | Frame::Reply(..) => {}
        }
    }

    /// As the node's service does it.
    fn answer(&mut self, world: &World, request: Request) -> Reply {
        let now = world.instant(world.now());
        self.store.expire(now);
        match request {
            Request::Ping { now_ms, lease } => {
                self.allegiance.pinged(now_ms, lease, now);
                Reply::DONE
            }
            Request::Put {
                chunk,
                unit,
                checksum,
                bytes,
            } => match self.store.put(now, chunk, unit, bytes, checksum) {
                Put::Stored => Reply::DONE,
                Put::Full => Reply::Full,
                Put::Conflict => Reply::Conflict,
            },
            Request::Finish {
                chunk,
                units,
                label,
            } => match self.store.finish(chunk, units, label) {
                Finish::Done => Reply::DONE,
                Finish::Incomplete => Reply::Incomplete,
                Finish::Full => Reply::Full,
            },
            Request::Store {
                chunk,
                checksum,
                whole,
            } => match self.store.keep(now, chunk, &whole, checksum) {
                Put::Stored => Reply::DONE,
                Put::Full => Reply::Full,
                Put::Conflict => Reply::Conflict,
            },
            Request::Get { chunk, unit, .. } => match self.store.get(chunk, unit) {
                Some(unit) => Reply::Done {
                    bytes: unit.bytes.clone(),
                    checksum: unit.checksum,
                },
                None => Reply::NotFound,
            },
            Request::Delete { chunk } => {
                self.store.delete(now, chunk);
                Reply::DONE
            }
            Request::Free { chunk } => {
                self.store.free(chunk);
                Reply::DONE
            }
            Request::Expire { chunk, expiry } => match self.store.set_expiry(chunk, expiry) {
                true => Reply::DONE,
                false => Reply::NotFound,
            },
            Request::Inventory { after } => Reply::Done {
                bytes: self.store.inventory(after).into_bytes(),
                checksum: 0,
            },
            // What is about to go is not modelled.
            Request::Copy { .. } => Reply::Unreachable,
            Request::Recall => Reply::Done {
                bytes: self.allegiance.testimony(now).to_bytes(),
                checksum: 0,
            },
            Request::Roster(roster) => match self.allegiance.enrol(roster) {
                true => Reply::DONE,
                false => Reply::Conflict,
            },
        }
    }
}

fn show(request: &Request) -> String {
    match request {
        Request::Ping { .. } => "ping".into(),
        Request::Put { chunk, .. } => format!("put {chunk}"),
        Request::Finish { chunk, .. } => format!("finish {chunk}"),
        Request::Store { chunk, .. } => format!("store {chunk}"),
        Request::Get { chunk, .. } => format!("get {chunk}"),
        Request::Delete { chunk } => format!("delete {chunk}"),
        Request::Free { chunk } => format!("free {chunk}"),
        Request::Expire { chunk, expiry } => {
            format!("expire {chunk} {}:{}", expiry.sequence, expiry.at_ms)
        }
        Request::Inventory { .. } => "inventory".into(),
        Request::Recall => "recall".into(),
        Request::Copy { chunk, .. } => format!("copy {chunk}"),
        Request::Roster(roster) => {
            let ids = |entries: &[infinicache_wire::roster::Entry]| -> Vec<u64> {
                entries.iter().map(|entry| entry.instance.0).collect()
            };
            let (members, before) = (ids(&roster.members), ids(&roster.before));
            format!(
                "roster {}/{} {members:?} before {before:?}",
                roster.id.epoch, roster.id.number
            )
        }
    }
}

fn show_reply(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done { .. } => "done",
        Reply::NotFound => "not found",
        Reply::Full => "full",
        Reply::Incomplete => "incomplete",
        Reply::Conflict => "conflict",
        Reply::Unreachable | Reply::Late => "?",
    }
}

//! A proxy: the pure rules of the real one, and a shell around them that takes the same steps in
//! the same order.
//!
//! - `recovery`: from the first wake to the first answer;
//! - `admit`: who dials in; `members`: pings, wakes, and who is lost;
//! - `enrolment`: whose chunks count; `reconcile`: those who come back;
//! - `write` and `commit`: SET; `change`: DEL and EXPIRE; `retire`: what dies on the nodes;
//! - `read`: GET; `repair`: what lacks chunks, or is about to;
//! - `calls`: requests and their answers.

mod admit;
mod calls;
mod change;
mod commit;
mod enrolment;
mod members;
mod read;
mod reconcile;
mod recovery;
mod repair;
mod retire;
mod write;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use infinicache_erasure::{Code, Geometry};
use infinicache_membership::{Epoch, census::Census, lease::Right};
use infinicache_wire::{ChunkId, InstanceId, MemberId, Reply, Version, WriteId, inventory::Expiry};

use self::{enrolment::Enrolment, write::OpenWrite};
use super::{
    client::Ended,
    history::{Answer, Command},
    network::Frame,
    world::{Event, Link, Millis, Process, World},
};
use crate::{
    nodes::{
        invitations::Invitations,
        life::{Life, Timing},
    },
    partings::Partings,
};

/// What an answered ping is worth.
const LEASE: Millis = 3_000;
/// How often time is told to the lives of nodes.
const TICK: Millis = 200;
/// How late that may be before it is this process that was held up.
const HELD_UP: Millis = 1_000;
/// Silence after which a member is lost if the pool can do without it, and whatever is lost with it.
const LOST_AFTER: Millis = 6_000;
const DEAD_AFTER: Millis = 40_000;

const TIMING: Timing = Timing {
    ping_every: Duration::from_millis(600),
    lost_after: Duration::from_millis(LOST_AFTER),
    dead_after: Duration::from_millis(DEAD_AFTER),
    wake_deadline: Duration::from_millis(800),
    preflight_freshness: Duration::from_millis(1_800),
    wake_backoff: Duration::from_millis(100),
    keep_awake_every: Duration::from_secs(3_600),
};

/// One instance, while its chunks count or may come to.
#[derive(Clone, Debug)]
struct Member {
    name: usize,
    instance: InstanceId,
    /// When it first said hello to this run.
    since: std::time::Instant,
    link: Option<Link>,
    is_draining: bool,
    /// When it was suspected last.
    suspected: Millis,
}

/// The value of a key.
#[derive(Clone, Debug)]
struct Object {
    write: WriteId,
    version: Version,
    geometry: Geometry,
    /// What clients know it by, if this run has written it.
    id: Option<u64>,
    holders: Vec<Option<MemberId>>,
    expires_at: Option<u64>,
    expiry_sequence: u32,
    is_in_repair: bool,
}

impl Object {
    fn data(&self) -> usize {
        self.geometry.code().data()
    }

    fn parity(&self) -> usize {
        self.geometry.code().parity()
    }

    fn held_by(&self) -> impl Iterator<Item = (u8, MemberId)> {
        let held = (0u8..).zip(&self.holders);
        held.filter_map(|(index, holder)| Some((index, (*holder)?)))
    }

    fn chunk(&self, index: u8) -> ChunkId {
        let write = self.write;
        ChunkId { write, index }
    }

    /// The last change of when it expires.
    fn expiry(&self) -> Expiry {
        Expiry {
            sequence: self.expiry_sequence,
            at_ms: self.expires_at.unwrap_or(0),
        }
    }
}

/// What happened to a member, for those who look after values.
#[derive(Clone, Copy, Debug)]
enum News {
    Lost(MemberId),
    Suspected(MemberId),
    Returned(MemberId),
}

struct State {
    /// Who was heard by a run that does not serve yet.
    census: Option<Census>,
    lives: Vec<Life>,
    /// With what the processes of each name may come.
    invitations: Vec<Invitations>,
    members: BTreeMap<MemberId, Member>,
    enrolment: Enrolment,
    catalog: BTreeMap<u8, Object>,
    writes: BTreeMap<WriteId, OpenWrite>,
    turns: BTreeMap<u8, VecDeque<u64>>,
    replies: BTreeMap<u64, Reply>,
    news: VecDeque<News>,
    told_ms: u64,
    /// When time was last told.
    beat: Millis,
}

/// One run of the proxy.
pub(super) struct Proxy {
    world: Rc<World>,
    id: u32,
    /// By how much its clock is slow.
    slow_by: Millis,
    epoch: Epoch,
    counter: Cell<u64>,
    is_superseded: Cell<bool>,
    partings: Partings,
    state: RefCell<State>,
}

/// The key as nodes know it.
fn key_bytes(key: u8) -> [u8; 1] {
    [key]
}

/// One unit of a value: what it is of, and which chunk of it.
fn unit(value: u64, index: u8, length: usize) -> bytes::Bytes {
    let mut bytes = vec![index; length];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes.into()
}

fn geometry(data: usize, parity: usize) -> Geometry {
    let code = Code::new(data, parity).expect("a narrow code");
    Geometry::new(64 * data as u64, code)
}

impl Proxy {
    pub(super) fn start(world: &Rc<World>, id: u32) -> Rc<Self> {
        let slow_by = world.range(0, 1_500);
        // Clocks go back between runs; epochs start wherever, but are nobody else's.
        let unique = match world.rules.distinct_epochs {
            true => id as u16,
            false => 0,
        };
        let epoch = Epoch::beginning(1 + world.range(0, 3), unique);
        world.note(|| format!("proxy {id} starts with epoch {:x}", epoch.get()));
        let state = State {
            census: Some(Self::census(world)),
            lives: (0..world.names)
                .map(|name| Life::new(TIMING, name as u64))
                .collect(),
            invitations: (0..world.names).map(|_| Invitations::default()).collect(),
            members: BTreeMap::new(),
            enrolment: Enrolment::new(world),
            catalog: BTreeMap::new(),
            writes: BTreeMap::new(),
            turns: BTreeMap::new(),
            replies: BTreeMap::new(),
            news: VecDeque::new(),
            told_ms: 0,
            beat: world.now(),
        };
        let proxy = Rc::new(Self {
            world: world.clone(),
            id,
            slow_by,
            epoch,
            counter: Cell::new(0),
            is_superseded: Cell::new(false),
            partings: Partings::default(),
            state: RefCell::new(state),
        });
        world.proxies.borrow_mut().insert(id, proxy.clone());
        proxy.spawn(proxy.clone().live());
        proxy.spawn(proxy.clone().follow_members());
        proxy.spawn(proxy.clone().recover());
        proxy
    }

    pub(super) fn me(&self) -> Process {
        Process::Proxy(self.id)
    }

    /// Whether it may answer, and has members that say so.
    pub(super) fn leads(&self) -> bool {
        self.may_answer() && self.has_members()
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(self.me(), task);
    }

    fn instant(&self) -> std::time::Instant {
        self.world.instant(self.world.now())
    }

    /// The pool's time: never below what its nodes were told.
    fn now_ms(&self) -> u64 {
        let told = match self.world.rules.told_time {
            true => self.state.borrow().told_ms,
            false => 0,
        };
        self.world.now().saturating_sub(self.slow_by).max(told)
    }

    fn next_count(&self) -> u64 {
        self.counter.set(self.counter.get() + 1);
        self.counter.get()
    }

    fn is_recovering(&self) -> bool {
        self.state.borrow().census.is_some()
    }

    /// Whether this run may answer.
    fn may_answer(&self) -> bool {
        if self.is_recovering() {
            return false;
        }
        let state = self.state.borrow();
        let now = self.world.now();
        match state.enrolment.right() {
            _ if !self.world.rules.lease => true,
            Right::Unneeded if self.keeps_its_roster() => false,
            Right::Unneeded => {
                now < state.beat + LEASE || !self.world.rules.unvouched_for_a_lease_only
            }
            Right::Until(end) => self.world.instant(now) < end,
            Right::None => false,
        }
    }

    /// That a change is in force, as far as another run is concerned.
    fn still_in_charge(&self) -> bool {
        !self.world.rules.lease_again || self.may_answer()
    }

    /// Whether a node obeys a later run.
    pub(super) fn is_superseded(&self) -> bool {
        self.is_superseded.get()
    }

    pub(super) fn happens(self: &Rc<Self>, event: Event) {
        match event {
            Event::Frame(link, frame) => {
                let closed = Event::Closed(link);
                if self.world.network.borrow().takes(self.me(), link, &closed) {
                    match frame {
                        Frame::Hello(hello, testimony) => self.admit(link, &hello, testimony),
                        Frame::Reply(number, reply) => self.take_reply(link, number, reply),
                        Frame::Welcome { .. } | Frame::Request(..) => {}
                    }
                }
            }
            Event::Closed(link) => self.unlinked(link),
            Event::Led { leader } => self.led(leader),
            Event::Asked {
                client,
                ticket,
                command,
            } => {
                let proxy = self.clone();
                self.spawn(async move {
                    let answer = proxy.command(command, ticket).await;
                    let at = proxy.world.now() + proxy.world.range(1, 6);
                    let ended = Ended::Answered(answer);
                    let ended = Event::Ended { ticket, ended };
                    proxy.world.schedule(at, Process::Client(client), ended);
                });
            }
            _ => {}
        }
    }

    async fn command(self: &Rc<Self>, command: Command, ticket: u64) -> Answer {
        if !self.may_answer() {
            return Answer::Failed;
        }
        match command {
            Command::Get { key } => self.get(key).await,
            Command::Set {
                key,
                value,
                if_absent,
            } => self.set(key, value, if_absent, ticket).await,
            Command::Delete { key } => self.delete(key, ticket).await,
            Command::Expire { key, at } => self.expire(key, at, ticket).await,
        }
    }

    fn object(&self, key: u8, write: WriteId) -> Option<Object> {
        let state = self.state.borrow();
        let object = state.catalog.get(&key).filter(|it| it.write == write);
        object.cloned()
    }

    /// Changes an object, if it still is the value of its key; what came of it.
    fn change<T>(
        &self,
        key: u8,
        write: WriteId,
        change: impl FnOnce(&mut Object) -> T,
    ) -> Option<T> {
        let mut state = self.state.borrow_mut();
        let object = state.catalog.get_mut(&key).filter(|it| it.write == write);
        object.map(change)
    }

    /// The value of a key, unless it has expired.
    fn find(&self, key: u8) -> Option<Object> {
        let now = self.now_ms();
        let state = self.state.borrow();
        let found = state.catalog.get(&key)?;
        let is_value = found.expires_at.is_none_or(|at| at > now);
        is_value.then(|| found.clone())
    }

    /// Waits for the turn to change a key.
    async fn turn(self: &Rc<Self>, key: u8) -> Turn {
        let ticket = self.next_count();
        let queue = |state: &mut State| state.turns.entry(key).or_default().push_back(ticket);
        queue(&mut self.state.borrow_mut());
        let turn = Turn {
            proxy: self.clone(),
            key,
            ticket,
        };
        if self.world.rules.one_change_at_a_time {
            let is_first = || {
                let state = self.state.borrow();
                (state.turns[&key].front() == Some(&ticket)).then_some(())
            };
            self.world.until(is_first).await;
        }
        turn
    }

    /// For the checks at the end: whether all is well, or what is not.
    pub(super) fn is_settled(&self) -> Result<(), String> {
        if !self.may_answer() {
            return Err(format!("proxy {} may not answer", self.id));
        }
        let state = self.state.borrow();
        let members = state.enrolment.roster.members();
        if members.len() != self.world.names || !state.enrolment.roster.is_settled() {
            return Err(format!("members are {members:?}"));
        }
        if let Some(member) = state.members.values().find(|it| it.link.is_none()) {
            return Err(format!("{member:?} is not linked"));
        }
        let is_whole = |object: &Object| object.holders.iter().all(Option::is_some);
        if let Some((key, object)) = state.catalog.iter().find(|(_, it)| !is_whole(it)) {
            return Err(format!("key {key} is not whole: {object:?}"));
        }
        if self.partings.len() > 0 {
            return Err(format!("on their way out: {:?}", self.partings));
        }
        match state.writes.is_empty() {
            true => Ok(()),
            false => Err(format!("open writes: {:?}", state.writes)),
        }
    }

    /// Which instance should hold which complete chunks, and nothing else.
    pub(super) fn holdings(&self) -> BTreeMap<u32, BTreeSet<ChunkId>> {
        let state = self.state.borrow();
        let instances = state.enrolment.roster.members().iter();
        let mut holdings: BTreeMap<u32, BTreeSet<ChunkId>> = instances
            .map(|instance| (instance.0 as u32, BTreeSet::new()))
            .collect();
        for object in state.catalog.values() {
            for (index, id) in object.held_by() {
                let instance = state.members.get(&id).map_or(0, |it| it.instance.0 as u32);
                holdings
                    .entry(instance)
                    .or_default()
                    .insert(object.chunk(index));
            }
        }
        holdings
    }
}

/// The right to change a key, until dropped.
struct Turn {
    proxy: Rc<Proxy>,
    key: u8,
    ticket: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // All of it goes at once when the proxy dies.
        if let Ok(mut state) = self.proxy.state.try_borrow_mut()
            && let Some(turns) = state.turns.get_mut(&self.key)
        {
            turns.retain(|it| *it != self.ticket);
        }
    }
}

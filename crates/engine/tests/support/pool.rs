//! A pool of fake nodes: it places writes in the order of its nodes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use infinicache_engine::{
    Budget, Code, CommitOutcome, Error, Holders, Incident, LatencyTracker, Pool, Terms, Version,
};
use infinicache_erasure::Geometry;
use infinicache_wire::{
    ChunkId, MemberId, Reply, Request, WriteId,
    control::{Opened, Placed},
};

use super::{FakeNode, Mood, encoding, stripe};

/// A pool. Clones are handles to the same.
#[derive(Clone)]
pub struct FakePool(Arc<Inner>);

struct Inner {
    code: Code,
    nodes: Vec<FakeNode>,
    budget: Budget,
    latencies: LatencyTracker,
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    sequence: u64,
    writes: HashMap<WriteId, Write>,
    values: HashMap<Vec<u8>, FakeFound>,
    pub incidents: Vec<Incident>,
    pub aborted: Vec<WriteId>,
    pub replaced: Vec<(u8, MemberId)>,
    pub reserved: u64,
    pub commits: usize,
    /// The most bytes of budget that were in use when a unit was asked for or sent.
    pub most_used: usize,
    /// Nobody ever finds another member for a chunk.
    pub never_replaces: bool,
    /// Commits need not wait for units that are on their way. Here they overtake them nevertheless.
    pub in_order: bool,
}

#[derive(Clone)]
struct Write {
    key: Vec<u8>,
    code: Code,
    members: Vec<MemberId>,
    given_up: Vec<MemberId>,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeFound {
    pub write: WriteId,
    pub geometry: Geometry,
    pub members: Vec<Option<MemberId>>,
}

impl Holders for FakeFound {
    fn write(&self) -> WriteId {
        self.write
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn holder(&self, index: usize) -> Option<MemberId> {
        self.members[index]
    }
}

impl FakeFound {
    pub fn chunk(&self, index: usize) -> ChunkId {
        ChunkId {
            write: self.write,
            index: index as u8,
        }
    }
}

impl FakePool {
    /// Whether a write was neither committed nor given up.
    pub fn is_open(&self, write: WriteId) -> bool {
        self.state().writes.contains_key(&write)
    }

    /// How long a commit waits for a member that does not answer.
    pub const PATIENCE: Duration = Duration::from_secs(1);

    /// A pool of this code, with `spare` nodes more than it is wide, and plenty of memory.
    pub fn new(code: &str, spare: usize) -> Self {
        Self::with_budget(code, spare, 1 << 30)
    }

    /// The same, whose commits need not wait for units that are on their way.
    pub fn in_order(self) -> Self {
        self.state().in_order = true;
        self
    }

    pub fn with_budget(code: &str, spare: usize, budget: usize) -> Self {
        let code: Code = code.parse().unwrap();
        Self(Arc::new(Inner {
            code,
            nodes: (0..code.width() + spare)
                .map(|_| FakeNode::default())
                .collect(),
            budget: Budget::new(budget),
            latencies: LatencyTracker::default(),
            state: Mutex::default(),
        }))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub fn nodes(&self) -> &[FakeNode] {
        &self.0.nodes
    }

    pub fn node(&self, member: MemberId) -> &FakeNode {
        &self.0.nodes[member.0 as usize]
    }

    pub fn found(&self, key: &str) -> Option<FakeFound> {
        self.state().values.get(key.as_bytes()).cloned()
    }

    pub fn noted(&self, incident: Incident) -> usize {
        self.state()
            .incidents
            .iter()
            .filter(|noted| **noted == incident)
            .count()
    }

    /// The node that holds a chunk.
    pub fn holder(&self, found: &FakeFound, index: usize) -> &FakeNode {
        self.node(found.members[index].expect("somebody holds it"))
    }

    /// Nothing is left on any node, and no write is open.
    pub fn assert_empty(&self) {
        for (number, node) in self.nodes().iter().enumerate() {
            assert!(node.is_empty(), "node {number} still holds units");
        }
        assert!(self.state().writes.is_empty(), "a write is still open");
    }

    /// Every member holds its chunk complete, bit by bit as an independent encoder makes it,
    /// and nobody holds anything else.
    pub fn assert_exact(&self, found: &FakeFound, value: &[u8]) {
        let code = found.geometry.code();
        let expected = encoding::chunks(value, code.data(), code.parity());
        for (index, expected) in expected.into_iter().enumerate() {
            let node = self.holder(found, index);
            let units: Option<Vec<_>> = node.units(found.chunk(index)).into_iter().collect();
            let units = units.unwrap_or_else(|| panic!("chunk {index} lacks units"));
            assert!(units == expected, "chunk {index} is not as it should be");
            assert!(
                node.is_complete(found.chunk(index)),
                "chunk {index} is not complete"
            );
        }
        let holders = self
            .nodes()
            .iter()
            .filter(|node| node.holds(found.write))
            .count();
        assert!(
            holders <= code.width(),
            "{holders} nodes hold chunks of a {code} value"
        );
    }

    /// Deletes a value; whether there was one.
    pub fn forget(&self, key: &str) -> bool {
        let Some(found) = self.state().values.remove(key.as_bytes()) else {
            return false;
        };
        for (index, member) in found.members.iter().enumerate() {
            member
                .iter()
                .for_each(|member| self.free(found.chunk(index), *member));
        }
        true
    }

    fn free(&self, chunk: ChunkId, member: MemberId) {
        self.node(member).serve(Request::Free { chunk });
    }
}

impl Pool for FakePool {
    type Link = FakeNode;
    type Value = FakeFound;

    fn link(&self, member: MemberId) -> Option<FakeNode> {
        let used = self.0.budget.used();
        let mut state = self.state();
        state.most_used = state.most_used.max(used);
        drop(state);
        self.0.nodes.get(member.0 as usize).cloned()
    }

    fn budget(&self) -> &Budget {
        &self.0.budget
    }

    fn latencies(&self) -> &LatencyTracker {
        &self.0.latencies
    }

    fn note(&self, incident: Incident) {
        self.state().incidents.push(incident);
    }

    fn commits_in_order(&self) -> bool {
        self.state().in_order
    }

    fn full_stripe(&self) -> usize {
        stripe(self.0.code.data())
    }

    async fn open(&self, key: &[u8], size: Option<u64>, _blind: bool) -> Result<Opened, Error> {
        tokio::task::yield_now().await;
        let awake = |node: &&FakeNode| node.state().mood != Mood::Dead;
        let usable = self.0.nodes.iter().filter(awake).count();
        let code = self.0.code.for_object(size, usable);
        let code = code.ok_or_else(|| Error::Unreachable("no nodes".into()))?;
        let members = (0..).zip(&self.0.nodes).filter(|(_, node)| awake(node));
        let members: Vec<_> = members
            .map(|(id, _)| MemberId(id))
            .take(code.width())
            .collect();
        let mut state = self.state();
        state.sequence += 1;
        let write = WriteId {
            epoch: 1,
            sequence: state.sequence,
        };
        let (key, given_up) = (key.to_vec(), Vec::new());
        state.writes.insert(
            write,
            Write {
                key,
                code,
                members: members.clone(),
                given_up,
            },
        );
        let (data, parity) = (code.data() as u8, code.parity() as u8);
        Ok(Opened {
            write,
            data,
            parity,
            members,
            reserved: 0,
            routes: Vec::new(),
        })
    }

    async fn reserve(&self, _write: WriteId, bytes: u64) -> Result<u64, Error> {
        let mut state = self.state();
        state.reserved = state.reserved.max(bytes);
        Ok(bytes)
    }

    async fn replace(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        if self.state().never_replaces {
            std::future::pending::<()>().await;
        }
        let mut state = self.state();
        let write = state.writes.get_mut(&write).ok_or(Error::NoWrite)?;
        let is_new = |id: &MemberId| !write.members.contains(id) && !write.given_up.contains(id);
        let awake = |id: &MemberId| self.node(*id).state().mood != Mood::Dead;
        let mut ids = (0..self.0.nodes.len() as u32).map(MemberId);
        let none = || Error::Unreachable("no other node".into());
        let member = ids.find(|id| is_new(id) && awake(id)).ok_or_else(none)?;
        let old = std::mem::replace(&mut write.members[usize::from(index)], member);
        write.given_up.push(old);
        state.replaced.push((index, old));
        Ok(Placed {
            member,
            route: None,
        })
    }

    async fn commit(
        &self,
        write: WriteId,
        size: u64,
        terms: &Terms,
    ) -> Result<CommitOutcome<FakeFound>, Error> {
        tokio::task::yield_now().await;
        self.state().commits += 1;
        let open = self
            .state()
            .writes
            .get(&write)
            .cloned()
            .ok_or(Error::NoWrite)?;
        let current = self.state().values.get(&open.key).cloned();
        if !terms.hold(current.is_some()) {
            Pool::abort(self, write);
            return Ok(CommitOutcome::ConditionFailed { current });
        }
        let geometry = Geometry::new(size, open.code);
        let finish = |(index, member): (u8, &MemberId)| {
            let units = geometry.chunk_units(index.into());
            let chunk = ChunkId { write, index };
            let request = Request::Finish {
                chunk,
                units,
                label: bytes::Bytes::new(),
            };
            let node = self.node(*member);
            let is_dead = node.state().mood == Mood::Dead;
            (is_dead || node.serve(request) != Reply::DONE).then_some(index)
        };
        let incomplete: Vec<u8> = (0u8..).zip(&open.members).filter_map(finish).collect();
        // As a real one does before it holds a member for lost to the write.
        let is_frozen = |member: &MemberId| self.node(*member).state().mood == Mood::Frozen;
        if open.members.iter().any(is_frozen) {
            tokio::time::sleep(Self::PATIENCE).await;
        }
        if !incomplete.is_empty() {
            return Ok(CommitOutcome::Incomplete(incomplete));
        }
        let chunks = 0..open.code.width();
        let everywhere = chunks.flat_map(|index| open.given_up.iter().map(move |m| (index, *m)));
        for (index, member) in everywhere {
            self.free(
                ChunkId {
                    write,
                    index: index as u8,
                },
                member,
            );
        }
        let members = open.members.into_iter().map(Some).collect();
        let found = FakeFound {
            write,
            geometry,
            members,
        };
        let mut state = self.state();
        state.writes.remove(&write);
        let previous = state.values.insert(open.key, found);
        let version = Version {
            epoch: 1,
            counter: write.sequence,
        };
        Ok(CommitOutcome::Stored { version, previous })
    }

    fn abort(&self, write: WriteId) {
        let mut state = self.state();
        state.aborted.push(write);
        let Some(Write { code, .. }) = state.writes.remove(&write) else {
            return;
        };
        drop(state);
        for index in 0..code.width() {
            let chunk = ChunkId {
                write,
                index: index as u8,
            };
            self.0
                .nodes
                .iter()
                .for_each(|node| drop(node.serve(Request::Free { chunk })));
        }
    }
}

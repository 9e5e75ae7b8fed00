//! SET: a value goes to members, and becomes the one of its key.

use std::rc::Rc;

use infinicache_erasure::Geometry;
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId};

use super::{Answer, Millis, Proxy, calls::Call, commit::Decision, geometry, unit};

/// How long a member may take for a unit that the code can spare.
const PATIENCE: Millis = 1_000;

/// How often a commit is tried with other members for those that failed.
const COMMIT_ATTEMPTS: usize = 4;

/// A write that is neither committed nor given up.
#[derive(Clone, Debug)]
pub(super) struct OpenWrite {
    pub(super) key: u8,
    pub(super) value: u64,
    pub(super) geometry: Geometry,
    pub(super) members: Vec<MemberId>,
    /// Members that failed, which may hold a chunk.
    pub(super) replaced: Vec<(u8, MemberId)>,
    /// Whether members were asked to complete their chunks: from then on it could be found.
    pub(super) finishing: bool,
}

impl Proxy {
    pub(super) async fn set(
        self: &Rc<Self>,
        key: u8,
        value: u64,
        if_absent: bool,
        ticket: u64,
    ) -> Answer {
        let Some(id) = self.open(key, value) else {
            return Answer::Failed;
        };
        let answer = self.upload(id, if_absent, ticket).await;
        self.give_up(id);
        answer
    }

    async fn upload(self: &Rc<Self>, id: WriteId, if_absent: bool, ticket: u64) -> Answer {
        let Some(puts) = self.stream(id) else {
            return Answer::Failed;
        };
        // A commit may follow units that are on their way; here it overtakes some of them.
        let mut unheard = None;
        if self.world.range(0, 2) == 0 {
            unheard = Some(puts);
        } else if !self.settle_puts(id, &puts, |_| true).await {
            return Answer::Failed;
        }
        for _ in 0..COMMIT_ATTEMPTS {
            let incomplete = match self.decide(id, if_absent, ticket).await {
                Decision::Told(answer) => return answer,
                Decision::Incomplete(incomplete) => incomplete,
            };
            let has_begun = self
                .state
                .borrow()
                .writes
                .get(&id)
                .is_some_and(|it| it.finishing);
            let is_whole = match unheard.take() {
                // Who completed a chunk has it, whatever became of the answer before.
                Some(puts) => {
                    let is_open = |index| incomplete.contains(&index);
                    self.settle_puts(id, &puts, is_open).await
                }
                None => self.substitute_all(id, incomplete).await,
            };
            match (is_whole, has_begun) {
                (true, _) => {}
                (false, true) => return Answer::Unsure,
                (false, false) => return Answer::Failed,
            }
        }
        Answer::Unsure
    }

    fn write(&self, id: WriteId) -> Option<OpenWrite> {
        self.state.borrow().writes.get(&id).cloned()
    }

    /// Members that take chunks, one for each name that is not `excluded`.
    pub(super) fn usable(&self, excluded: &[usize]) -> Vec<MemberId> {
        let now = self.instant();
        let active = {
            let state = self.state.borrow();
            let lives = state.lives.iter().enumerate();
            let usable =
                lives.filter(|(name, life)| !excluded.contains(name) && life.is_fresh(now));
            let active: Vec<MemberId> = usable.filter_map(|(_, life)| life.active()).collect();
            active
        };
        let counting = active.into_iter().filter(|id| self.counts(*id));
        counting.collect()
    }

    /// The names that members are behind.
    pub(super) fn names(&self, members: impl IntoIterator<Item = MemberId>) -> Vec<usize> {
        let state = self.state.borrow();
        let name = |id| state.members.get(&id).map(|it| it.name);
        members.into_iter().filter_map(name).collect()
    }

    /// Places a write on as many members as its code wants.
    fn open(&self, key: u8, value: u64) -> Option<WriteId> {
        let mut usable = self.usable(&[]);
        // Narrower codes, which a real proxy would widen again, would only blur what is looked for.
        let parity = self.world.parity;
        if usable.len() <= parity {
            return None;
        }
        let data = (1 + value as usize % 2).min(usable.len() - parity);
        let members = (0..data + parity)
            .map(|_| usable.swap_remove(self.world.range(0, usable.len() as u64) as usize))
            .collect();
        let id = WriteId {
            epoch: self.epoch.get(),
            sequence: self.next_count(),
        };
        let write = OpenWrite {
            key,
            value,
            geometry: geometry(data, parity),
            members,
            replaced: Vec::new(),
            finishing: false,
        };
        self.state.borrow_mut().writes.insert(id, write);
        Some(id)
    }

    /// Sends every member its chunk.
    fn stream(self: &Rc<Self>, id: WriteId) -> Option<Vec<Option<Call>>> {
        let write = self.write(id)?;
        let puts = (0u8..).zip(&write.members);
        let calls = puts.map(|(index, &member)| self.send(member, put(&write, id, index)));
        Some(calls.collect())
    }

    /// Waits until every member of an open chunk has it, or another in its place; whether that is so.
    async fn settle_puts(
        self: &Rc<Self>,
        id: WriteId,
        calls: &[Option<Call>],
        is_open: impl Fn(u8) -> bool,
    ) -> bool {
        let Some(write) = self.write(id) else {
            return false;
        };
        let open = (0u8..).map(is_open).take(calls.len());
        let mut stored: Vec<Option<bool>> = open.map(|it| (!it).then_some(true)).collect();
        let answered = || {
            for (stored, call) in stored.iter_mut().zip(calls) {
                if stored.is_none() {
                    let reply = call.map_or(Some(Reply::Unreachable), |call| self.reply(call));
                    *stored = reply.map(|reply| matches!(reply, Reply::Done { .. }));
                }
            }
            stored.iter().all(Option::is_some).then_some(())
        };
        let end = self.world.now() + PATIENCE;
        self.world.until_or(self.me(), end, answered).await;
        let failed = (0u8..)
            .zip(stored)
            .filter(|(_, stored)| *stored != Some(true));
        let failed: Vec<u8> = failed.map(|(index, _)| index).collect();
        if failed.len() > write.geometry.code().parity() {
            return false;
        }
        self.substitute_all(id, failed).await
    }

    /// Other members take chunks whose members failed; whether there are enough.
    async fn substitute_all(self: &Rc<Self>, id: WriteId, failed: Vec<u8>) -> bool {
        for index in failed {
            if !self.substitute(id, index).await {
                return false;
            }
        }
        true
    }

    /// Another member takes a chunk whose member failed; whether there is one.
    async fn substitute(self: &Rc<Self>, id: WriteId, index: u8) -> bool {
        let Some(write) = self.write(id) else {
            return false;
        };
        let replaced = write.replaced.iter().map(|(_, member)| *member);
        let excluded = self.names(write.members.iter().copied().chain(replaced));
        // The node itself may have a new instance, which is as good as any other.
        let others = write.members.iter().enumerate();
        let others = others.filter(|(other, _)| *other != usize::from(index));
        let kept = self.names(others.map(|(_, member)| *member));
        let usable = [self.usable(&excluded), self.usable(&kept)];
        let target = usable.iter().find_map(|usable| self.world.pick(usable));
        let failed = write.members[usize::from(index)];
        let Some(target) = target.filter(|target| *target != failed) else {
            return false;
        };
        {
            let mut state = self.state.borrow_mut();
            let Some(write) = state.writes.get_mut(&id) else {
                return false;
            };
            write.members[usize::from(index)] = target;
            write.replaced.retain(|it| *it != (index, target));
            write.replaced.push((index, failed));
        }
        let put = put(&write, id, index);
        let reply = self.call_within(target, put, PATIENCE).await;
        matches!(reply, Reply::Done { .. })
    }

    /// Gives a write up, if it is open still, and frees what was sent.
    pub(super) fn give_up(self: &Rc<Self>, id: WriteId) {
        let closed = self.state.borrow_mut().writes.remove(&id);
        let Some(write) = closed else { return };
        let held = (0u8..).zip(write.members.iter().copied());
        let held: Vec<(u8, MemberId)> = held.collect();
        if write.finishing && self.world.rules.given_up_is_removed {
            self.part(write.key, id, write.geometry.code().data(), held.clone());
        }
        self.free_replaced(id, &write);
        for (index, member) in held {
            self.leave_free(ChunkId { write: id, index }, member);
        }
    }

    /// Frees what members hold that were replaced.
    pub(super) fn free_replaced(self: &Rc<Self>, id: WriteId, write: &OpenWrite) {
        for &(index, member) in &write.replaced {
            self.leave_free(ChunkId { write: id, index }, member);
        }
    }
}

fn put(write: &OpenWrite, id: WriteId, index: u8) -> Request {
    let length = write.geometry.unit_len(0, index.into());
    Request::Put {
        chunk: ChunkId { write: id, index },
        unit: 0,
        checksum: 0,
        bytes: unit(write.value, index, length),
    }
}

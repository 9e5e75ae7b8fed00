//! A write gets members, and room on them.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use infinicache_client::{
    Error,
    place::{Candidate, place},
};
use infinicache_erasure::Code;
use infinicache_wire::{
    MemberId, WriteId,
    control::{Opened, Placed},
};
use tokio::time;
use tracing::{debug, info};

use super::Cache;
use crate::{
    nodes::{Usable, member::Member},
    room::NoRoom,
    writes::OpenWrite,
};

/// How long placing a write may take, wakes and all.
const PLACE_DEADLINE: Duration = Duration::from_secs(8);

/// How long to wait for nodes to wake while there may be others to do without them.
const WAKE_PATIENCE: Duration = Duration::from_secs(1);

/// Room is made in steps of this many bytes of value.
const STEP: u64 = 16 << 20;

/// How long to wait before room is looked for again where it is about to be freed, at first and at last.
const FIRST_ROOM_PAUSE: Duration = Duration::from_millis(5);
const LAST_ROOM_PAUSE: Duration = Duration::from_millis(320);

/// Nodes that sleep are woken for new chunks only once those awake are this full.
const WATERMARK_PERCENT: u64 = 80;

impl Cache {
    /// Opens a write; `proposal` is taken if it can be.
    pub(crate) async fn open_on(
        &self,
        key: Bytes,
        size: Option<u64>,
        proposal: &[MemberId],
    ) -> Result<Opened, Error> {
        let most = self.0.settings.max_object_bytes;
        if size.is_some_and(|size| size > most) {
            let text = "string exceeds maximum allowed size (max-object-bytes)";
            return Err(Error::Refused(text.into()));
        }
        let code = self.code_for(size)?;
        if let Some(members) = self.accept(proposal, code) {
            return self.open_with(key, size, code, members).await;
        }
        if let Ok(members) = self.place(code.width(), code.parity(), &[]).await {
            return self.open_with(key, size, code, members).await;
        }
        // By now it is known which nodes do not wake: the others may be enough for a narrower code.
        let code = self.code_for(size)?;
        let members = self.place(code.width(), code.parity(), &[]).await?;
        self.open_with(key, size, code, members).await
    }

    /// The code for a value, by the nodes that can be expected to take part.
    fn code_for(&self, size: Option<u64>) -> Result<Code, Error> {
        let usable = self.0.nodes.usable();
        let sound = usable.iter().filter(|node| !node.doubtful).count();
        let code = |nodes| self.0.settings.code.for_object(size, nodes);
        let full = code(sound).filter(|it| it.parity() == self.0.settings.code.parity());
        full.or_else(|| code(usable.len()))
            .ok_or_else(|| Error::Unreachable("no node can be used".into()))
    }

    async fn open_with(
        &self,
        key: Bytes,
        size: Option<u64>,
        code: Code,
        members: Vec<Arc<Member>>,
    ) -> Result<Opened, Error> {
        let id = self.0.writes.next_id();
        let ids = members.iter().map(|member| member.id).collect();
        self.0
            .writes
            .insert(Arc::new(OpenWrite::new(id, key, code, size, members)));
        let reserved = match self
            .make_room(id, size.map_or(STEP, |size| size.min(STEP)))
            .await
        {
            Ok(reserved) => reserved,
            Err(error) => {
                self.give_up(id);
                return Err(error);
            }
        };
        Ok(Opened {
            write: id,
            data: code.data() as u8,
            parity: code.parity() as u8,
            members: ids,
            reserved,
        })
    }

    /// A placement that a client proposed, if each of its members can take chunks.
    fn accept(&self, proposal: &[MemberId], code: Code) -> Option<Vec<Arc<Member>>> {
        let mut distinct = proposal.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if proposal.len() != code.width() || distinct.len() != proposal.len() {
            return None;
        }
        let usable = |id: &MemberId| {
            let member = self.0.nodes.member(*id)?;
            let is_there = !member.is_leaving() && member.link().is_some();
            (is_there && self.0.nodes.counts(&member)).then_some(member)
        };
        proposal.iter().map(usable).collect()
    }

    /// Finds `width` members on nodes other than `excluded`, waking nodes if need be.
    ///
    /// Nodes that do not wake at once are done without if enough others are awake; if not, they
    /// are waited for rather than others woken, which would take as long.
    pub(crate) async fn place(
        &self,
        width: usize,
        parity: usize,
        excluded: &[usize],
    ) -> Result<Vec<Arc<Member>>, Error> {
        let deadline = Instant::now() + PLACE_DEADLINE;
        // Nodes that did not wake at once, and those that did not when there was no other.
        let (mut late, mut excluded) = (Vec::new(), excluded.to_vec());
        let mut patience = WAKE_PATIENCE;
        loop {
            let mut usable = self.0.nodes.usable();
            usable.retain(|it| !excluded.contains(&it.node) && !late.contains(&it.node));
            let candidates: Vec<_> = usable.iter().map(|usable| self.candidate(usable)).collect();
            let seed = self.0.placements.fetch_add(1, Relaxed) ^ self.0.settings.epoch.get();
            let Some(placed) = place(&candidates, width, parity, seed) else {
                if !late.is_empty() {
                    late.clear();
                    patience = PLACE_DEADLINE;
                    continue;
                }
                let text = format!("{} nodes can be used, {width} needed", candidates.len());
                return Err(Error::Unreachable(text));
            };
            let until = deadline.min(Instant::now() + patience);
            let waking = placed
                .iter()
                .map(|&index| self.0.nodes.ensure(usable[index].node, until));
            let woken = join_all(waking).await;
            if woken.iter().all(Option::is_some) {
                let members: Vec<Arc<Member>> = woken.into_iter().flatten().collect();
                // Whoever is needed is not one too many.
                members.iter().for_each(|member| member.set_spare(false));
                return Ok(members);
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut("too few nodes woke up"));
            }
            let failed = placed
                .iter()
                .zip(&woken)
                .filter(|(_, member)| member.is_none());
            let failed = failed.map(|(&index, _)| usable[index].node);
            match patience {
                WAKE_PATIENCE => late.extend(failed),
                _ => excluded.extend(failed),
            }
            let is_awake = |it: &Usable| {
                it.member.is_some() && !late.contains(&it.node) && !excluded.contains(&it.node)
            };
            let awake = self.0.nodes.usable().into_iter().filter(is_awake);
            if awake.count() < width {
                late.clear();
                patience = PLACE_DEADLINE;
            }
            debug!(
                ?late,
                ?excluded,
                "placing anew without nodes that do not wake"
            );
        }
    }

    fn candidate(&self, usable: &Usable) -> Candidate {
        let Some(member) = &usable.member else {
            let free = match usable.capacity {
                0 => self.0.settings.presumed_capacity,
                known => known,
            };
            return Candidate {
                host: String::new(),
                zone: String::new(),
                free,
                rank: match (usable.doubtful, usable.waking) {
                    (false, true) => 1,
                    (false, false) => 2,
                    (true, _) => 5,
                },
            };
        };
        let is_slow = self.0.health.is_slow(member.id, Instant::now());
        let is_full = member.used() > member.capacity() / 100 * WATERMARK_PERCENT;
        Candidate {
            host: member.host.clone(),
            zone: member.zone.clone(),
            free: member.free(),
            rank: match (is_slow, is_full) {
                // As good as asleep: it is to go to sleep.
                (false, false) if member.is_spare() => 2,
                (false, false) => 0,
                (false, true) => 3,
                (true, _) => 4,
            },
        }
    }

    /// Makes room for the first `bytes` of a write's value, and some more.
    pub(crate) async fn make_room(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        self.patiently(|| self.try_make_room(write, bytes)).await
    }

    fn try_make_room(&self, write: WriteId, bytes: u64) -> Result<Result<u64, NoRoom>, Error> {
        let write = self.0.writes.get(write).ok_or(Error::NoWrite)?;
        let most = self.0.settings.max_object_bytes;
        if bytes > most.saturating_add(self.stripe_bytes(write.code)) {
            let text = "string exceeds maximum allowed size (max-object-bytes)";
            return Err(Error::Refused(text.into()));
        }
        let ahead = bytes.div_ceil(STEP).saturating_mul(STEP);
        let ahead = write.size.map_or(ahead, |size| ahead.min(size)).max(bytes);
        write.touch();

        let mut state = write.state();
        // What could never fit must not empty the cache on its way.
        let total = write.share(write.size.unwrap_or(ahead));
        if let Some(member) = state.members.iter().find(|member| total > member.planned()) {
            let text = format!("{total} bytes needed on a node of {}", member.capacity());
            return Err(Error::OutOfMemory(text));
        }
        let share = write.share(ahead);
        if share > state.taken {
            let more = share - state.taken;
            if let Err(no_room) = self.take_room(&state.members, more, &write.key) {
                return Ok(Err(no_room));
            }
            state.taken = share;
        }
        Ok(Ok(ahead))
    }

    fn stripe_bytes(&self, code: Code) -> u64 {
        (code.data() * infinicache_erasure::UNIT_MAX) as u64
    }

    /// Takes `bytes` on a member if they are free; whether they were.
    pub(crate) fn take_free_room(&self, member: &Member, bytes: u64) -> bool {
        self.0.room.take_free(member, bytes)
    }

    /// Takes `bytes` on each of `members`, evicting what must go.
    pub(crate) fn take_room(
        &self,
        members: &[Arc<Member>],
        bytes: u64,
        key: &[u8],
    ) -> Result<(), NoRoom> {
        let retire = |victim: Arc<crate::catalog::Object>| {
            self.retire_unasked(&victim, "evicted");
        };
        let room = &self.0.room;
        room.take(&self.0.catalog, members, bytes, key, retire)
    }

    /// Finds another member for a chunk whose member failed.
    pub(super) async fn substitute(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        let write = self.0.writes.get(write).ok_or(Error::NoWrite)?;
        let excluded: Vec<usize> = {
            let state = write.state();
            let replaced = state.replaced.iter().map(|(_, member)| member.node);
            state
                .members
                .iter()
                .map(|member| member.node)
                .chain(replaced)
                .collect()
        };
        // The node itself may have a new instance, which is as good as any other.
        let substitute = match self.place(1, 0, &excluded).await {
            Ok(members) => members,
            Err(_) => {
                let kept = write
                    .state()
                    .members
                    .iter()
                    .map(|member| member.node)
                    .collect::<Vec<_>>();
                let own = kept.get(usize::from(index)).copied();
                let others: Vec<_> = kept.into_iter().filter(|node| Some(*node) != own).collect();
                self.place(1, 0, &others).await?
            }
        };
        let substitute = substitute.into_iter().next().ok_or(Error::NoWrite)?;
        self.patiently(|| self.try_substitute(&write, index, &substitute))
            .await
    }

    fn try_substitute(
        &self,
        write: &OpenWrite,
        index: u8,
        substitute: &Arc<Member>,
    ) -> Result<Result<Placed, NoRoom>, Error> {
        let mut state = write.state();
        // A write is closed before its room is given back: what is entered now, will be.
        self.0.writes.get(write.id).ok_or(Error::NoWrite)?;
        let Some(member) = state.members.get(usize::from(index)).cloned() else {
            return Err(Error::Refused(format!("the write has no chunk {index}")));
        };
        if member.id == substitute.id {
            return Err(Error::Unreachable("no other node can be used".into()));
        }
        let taken = state.taken;
        if let Err(no_room) = self.take_room(std::slice::from_ref(substitute), taken, &write.key) {
            return Ok(Err(no_room));
        }
        member.give_back(taken);
        state.members[usize::from(index)] = substitute.clone();
        state.replaced.push((index, member));
        Ok(Ok(Placed {
            member: substitute.id,
        }))
    }

    /// Gives a write up and frees what was sent.
    pub(super) fn give_up(&self, write: WriteId) {
        let Some(write) = self.0.writes.close(write) else {
            return;
        };
        self.0.metrics.write_abandoned();
        self.release(&write);
    }

    /// Gives up writes that nobody goes on with.
    pub(crate) fn give_up_idle(&self) {
        for write in self.0.writes.idle(Instant::now()) {
            debug!(%write, "idle write given up");
            self.give_up(write);
        }
    }

    /// Tries until there is room, or none to be expected soon.
    ///
    /// Remote reads of what is nobody's value any more give way.
    async fn patiently<T>(
        &self,
        attempt: impl Fn() -> Result<Result<T, NoRoom>, Error>,
    ) -> Result<T, Error> {
        let mut pause = FIRST_ROOM_PAUSE;
        loop {
            match attempt()? {
                Ok(done) => return Ok(done),
                Err(_) if self.0.leases.relieve() => continue,
                Err(no_room) if no_room.soon && pause <= LAST_ROOM_PAUSE => {
                    time::sleep(pause).await;
                }
                Err(no_room) => {
                    info!(%no_room, soon = no_room.soon, "no room for a value");
                    return Err(Error::OutOfMemory(no_room.to_string()));
                }
            }
            pause *= 2;
        }
    }
}

//! A write gets members, and room on them.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_client::{Error, PAUSES};
use infinicache_erasure::Code;
use infinicache_wire::{
    MemberId, WriteId,
    control::{Opened, Placed},
};
use tokio::time;
use tracing::{debug, info};

use super::Cache;
use crate::{catalog::Object, nodes::member::Member, room::NoRoom, writes::OpenWrite};

/// Room is made in steps of this many bytes of value.
const STEP: u64 = 16 << 20;

/// How long to wait before room is looked for again where it is about to be freed, at first and at last.
const FIRST_ROOM_PAUSE: Duration = Duration::from_millis(5);
const LAST_ROOM_PAUSE: Duration = Duration::from_millis(320);

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

    pub(super) async fn open_with(
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
            ways: Vec::new(),
        })
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
        let retire = |victim: Arc<Object>| {
            self.retire_unasked(&victim, "evicted");
        };
        // A value covers earlier ones of its key, which would be found in its place, until they
        // are gone.
        let is_covering = Cell::new(false);
        let covers = |key: &[u8]| {
            let covers = self.0.turns.is_taken(key) || self.0.partings.has(key);
            is_covering.set(is_covering.get() || covers);
            covers
        };
        let may_go = |object: &Object| object.key() != key && !covers(object.key());
        let room = &self.0.room;
        let taken = room.take(&self.0.catalog, members, bytes, may_go, retire);
        taken.map_err(|mut no_room| {
            no_room.soon |= is_covering.get();
            no_room
        })
    }

    /// Finds another member for a chunk whose member failed.
    pub(super) async fn substitute(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        let write = self.0.writes.get(write).ok_or(Error::NoWrite)?;
        let mut pauses = PAUSES.into_iter();
        // Other chunks of the write are placed at the same time, perhaps on the same node.
        for _ in 0..write.code.width() + PAUSES.len() {
            let substitute = self.place_beside(&write, index).await?;
            if write.is_on(index, substitute.id) {
                // It may have failed because it goes, and the pool hears of that a moment later.
                match pauses.next() {
                    Some(pause) => time::sleep(pause).await,
                    None => break,
                }
                continue;
            }
            let attempt = || self.try_substitute(&write, index, &substitute);
            if let Some(placed) = self.patiently(attempt).await? {
                return Ok(placed);
            }
        }
        Err(Error::Unreachable("no other node can be used".into()))
    }

    /// A member on a node that has no other chunk of a write, as far as is known by now.
    async fn place_beside(&self, write: &OpenWrite, index: u8) -> Result<Arc<Member>, Error> {
        let (others, failed) = {
            let state = write.state();
            let own = state.members.get(usize::from(index));
            let replaced = state.replaced.iter().map(|(_, member)| member);
            let failed: Vec<usize> = own.into_iter().chain(replaced).map(|it| it.node).collect();
            (state.nodes_beside(index), failed)
        };
        let parity = write.code.parity();
        let excluded = [&others[..], &failed].concat();
        let placed = match self.place(1, parity, &excluded).await {
            Ok(placed) => placed,
            // The node itself may have a new instance, which is as good as any other.
            Err(_) => self.place(1, parity, &others).await?,
        };
        placed.into_iter().next().ok_or(Error::NoWrite)
    }

    /// `None` if another chunk of the write has been placed on the node meanwhile.
    fn try_substitute(
        &self,
        write: &OpenWrite,
        index: u8,
        substitute: &Arc<Member>,
    ) -> Result<Result<Option<Placed>, NoRoom>, Error> {
        let mut state = write.state();
        // A write is closed before its room is given back: what is entered now, will be.
        self.0.writes.get(write.id).ok_or(Error::NoWrite)?;
        let Some(member) = state.members.get(usize::from(index)).cloned() else {
            return Err(Error::Refused(format!("the write has no chunk {index}")));
        };
        if member.id == substitute.id {
            return Err(Error::Unreachable("no other node can be used".into()));
        }
        if state.nodes_beside(index).contains(&substitute.node) {
            return Ok(Ok(None));
        }
        let taken = state.taken;
        if let Err(no_room) = self.take_room(std::slice::from_ref(substitute), taken, &write.key) {
            return Ok(Err(no_room));
        }
        member.give_back(taken);
        state.substitute(index, substitute.clone());
        Ok(Ok(Some(Placed {
            member: substitute.id,
            way: None,
        })))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::OneNode;

    #[tokio::test]
    async fn a_value_stays_while_earlier_ones_of_its_key_are_on_their_way_out() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        node.cache.0.catalog.insert(node.object(100));
        let earlier = WriteId {
            epoch: 1,
            sequence: 0,
        };
        let holders = [(0, node.member)];
        node.cache.begin_parting(b"key", earlier, 1, holders);
        let too_much = member.free() + 1;
        let take = || {
            let members = std::slice::from_ref(&member);
            node.cache.take_room(members, too_much, b"other")
        };
        assert!(take().is_err_and(|no_room| no_room.soon));
        assert!(node.cache.find(b"key").is_some());
        let [(chunk, member)] = node.cache.0.partings.of(b"key").unwrap().chunks_left()[..] else {
            panic!("one chunk is left");
        };
        node.cache.let_go(chunk, member);
        assert!(take().is_err());
        assert!(node.cache.find(b"key").is_none(), "it was evicted");
    }

    #[tokio::test]
    async fn two_chunks_of_a_write_never_go_to_the_same_node() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let failed = Arc::new(Member::of(MemberId(member.id.0 + 1)));
        let (writes, code) = (&node.cache.0.writes, Code::new(1, 1).unwrap());
        let members = vec![member.clone(), failed];
        let write = OpenWrite::new(writes.next_id(), Bytes::new(), code, None, members);
        let write = Arc::new(write);
        writes.insert(write.clone());
        // Placed before the other chunk was.
        let beside = node.cache.try_substitute(&write, 1, &member);
        assert!(matches!(beside, Ok(Ok(None))));
        let alone = node.cache.substitute(write.id, 1).await;
        assert!(matches!(alone, Err(Error::Unreachable(_))), "{alone:?}");
    }

    #[tokio::test]
    async fn a_member_that_fails_before_it_is_known_to_have_gone_is_replaced_by_its_successor() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let (writes, code) = (&node.cache.0.writes, Code::new(1, 0).unwrap());
        let members = vec![member.clone()];
        let write = OpenWrite::new(writes.next_id(), Bytes::new(), code, None, members);
        let id = write.id;
        writes.insert(Arc::new(write));
        let ending = async { node.pool.end(&member) };
        let (placed, ()) = tokio::join!(node.cache.substitute(id, 0), ending);
        assert_ne!(placed.unwrap().member, member.id);
    }
}

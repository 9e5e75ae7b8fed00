//! A write gets members, and room on them.

use std::sync::Arc;

use bytes::Bytes;
use infinicache_engine::{Error, PAUSES};
use infinicache_erasure::Code;
use infinicache_host::{clock, fail_point};
use infinicache_wire::{
    ChunkId, MemberId, WriteId,
    control::{Opened, Placed},
};
use tokio::time;
use tracing::debug;

use super::{delete::Deletes, placement::Placement, reservation::Reservations};
use crate::{
    capacity::{
        InsufficientCapacity, Share,
        open_writes::{OpenWrite, OpenWriteState, OpenWrites},
    },
    gc_queue::{GcQueue, GcTask},
    metadata::catalog::Object,
    metrics::Metrics,
    pool::member::Member,
};

/// Room is made in steps of this many bytes of value.
const STEP: u64 = 16 << 20;

/// Opens writes and gives them up. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Writes {
    pub(super) open: Arc<OpenWrites>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) reservations: Arc<Reservations>,
    pub(super) deletes: Deletes,
    pub(super) reclaimer: Arc<GcQueue>,
    pub(super) metrics: Arc<Metrics>,
    /// The longest value.
    pub(super) max_object_bytes: u64,
}

impl Writes {
    /// The open writes.
    pub(crate) fn open(&self) -> &OpenWrites {
        &self.open
    }

    /// Whether a value may be so long.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it may not.
    pub(crate) fn check_length(&self, size: u64) -> Result<(), Error> {
        if size <= self.max_object_bytes {
            return Ok(());
        }
        let text = "string exceeds maximum allowed size (max-object-bytes)";
        Err(Error::Refused(text.into()))
    }

    /// Opens a write; `proposal` is taken if it can be. The old value of a `blind` write's key goes
    /// before the new one is there, if there is no room for both.
    pub(crate) async fn open_on(
        &self,
        key: Bytes,
        size: Option<u64>,
        blind: bool,
        proposal: &[MemberId],
    ) -> Result<Opened, Error> {
        self.check_length(size.unwrap_or(0))?;
        let code = self.placement.code_for(size)?;
        if let Some(members) = self.placement.accept(proposal, code) {
            return self.open_with(key, size, blind, code, members).await;
        }
        if let Ok(members) = self.placement.place(code.width(), code.parity(), &[]).await {
            return self.open_with(key, size, blind, code, members).await;
        }
        // By now it is known which nodes do not wake: the others may be enough for a narrower code.
        let code = self.placement.code_for(size)?;
        let members = self
            .placement
            .place(code.width(), code.parity(), &[])
            .await?;
        self.open_with(key, size, blind, code, members).await
    }

    pub(super) async fn open_with(
        &self,
        key: Bytes,
        size: Option<u64>,
        blind: bool,
        code: Code,
        members: Vec<Arc<Member>>,
    ) -> Result<Opened, Error> {
        let id = self.open.next_id();
        let ids = members.iter().map(|member| member.id).collect();
        let write = OpenWrite::new(id, key, code, size, blind, members);
        self.open.insert(Arc::new(write));
        let reserved = match self
            .ensure_capacity(id, size.map_or(STEP, |size| size.min(STEP)))
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
            routes: Vec::new(),
        })
    }

    /// Makes room for the first `bytes` of a write's value, and some more.
    pub(crate) async fn ensure_capacity(&self, write: WriteId, bytes: u64) -> Result<u64, Error> {
        self.reservations
            .until_capacity(|| self.try_ensure_capacity(write, bytes))
            .await
    }

    fn try_ensure_capacity(
        &self,
        write: WriteId,
        bytes: u64,
    ) -> Result<Result<u64, InsufficientCapacity>, Error> {
        let write = self.open.get(write).ok_or(Error::NoWrite)?;
        let in_full_stripes = bytes.saturating_sub(self.stripe_bytes(write.code));
        self.check_length(in_full_stripes)?;
        let ahead = bytes.div_ceil(STEP).saturating_mul(STEP);
        let ahead = write.size.map_or(ahead, |size| ahead.min(size)).max(bytes);
        write.touch();

        let mut state = write.state();
        // What could never fit must not empty the cache on its way.
        let total = write.share(write.size.unwrap_or(ahead));
        if let Some(member) = state
            .members
            .iter()
            .find(|member| total > member.memory.planned())
        {
            let text = format!(
                "{total} bytes needed on a node of {}",
                member.memory.capacity()
            );
            return Err(Error::OutOfMemory(text));
        }
        let share = write.share(ahead);
        if share > state.taken {
            let taken = state.taken;
            let of_member = |member: &Arc<Member>| Share {
                member: member.clone(),
                bytes: share - taken,
                in_all: total.max(share) - taken,
            };
            let shares: Vec<Share> = state.members.iter().map(of_member).collect();
            if let Err(insufficient) = self.reserve_capacity(&shares, &write, &mut state) {
                return Ok(Err(insufficient));
            }
            state.taken = share;
        }
        Ok(Ok(ahead))
    }

    fn stripe_bytes(&self, code: Code) -> u64 {
        (code.data() * infinicache_erasure::UNIT_MAX) as u64
    }

    /// Finds another member for a chunk whose member failed.
    pub(super) async fn substitute(&self, write: WriteId, index: u8) -> Result<Placed, Error> {
        let write = self.open.get(write).ok_or(Error::NoWrite)?;
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
            if let Some(placed) = self.reservations.until_capacity(attempt).await? {
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
        let placed = match self.placement.place(1, parity, &excluded).await {
            Ok(placed) => placed,
            // The node itself may have a new instance, which is as good as any other.
            Err(_) => self.placement.place(1, parity, &others).await?,
        };
        placed.into_iter().next().ok_or(Error::NoWrite)
    }

    /// `None` if another chunk of the write has been placed on the node meanwhile.
    fn try_substitute(
        &self,
        write: &OpenWrite,
        index: u8,
        substitute: &Arc<Member>,
    ) -> Result<Result<Option<Placed>, InsufficientCapacity>, Error> {
        let mut state = write.state();
        // A write is closed before its room is given back: what is entered now, will be.
        self.open.get(write.id).ok_or(Error::NoWrite)?;
        let Some(member) = state.members.get(usize::from(index)).cloned() else {
            return Err(Error::Refused(format!("the write has no chunk {index}")));
        };
        if member.id == substitute.id {
            return Err(Error::Unreachable("no other node can be used".into()));
        }
        let is_beside = state.nodes_beside(index).contains(&substitute.node);
        if is_beside && !fail_point("one_chunk_a_node") {
            return Ok(Ok(None));
        }
        let taken = state.taken;
        let share = Share {
            member: substitute.clone(),
            bytes: taken,
            in_all: taken.max(write.share(write.size.unwrap_or(0))),
        };
        if let Err(insufficient) = self.reserve_capacity(&[share], write, &mut state) {
            return Ok(Err(insufficient));
        }
        member.memory.give_back(taken);
        state.substitute(index, substitute.clone());
        Ok(Ok(Some(Placed {
            member: substitute.id,
            route: None,
        })))
    }

    /// Gives a write up and frees what was sent.
    pub(super) fn give_up(&self, write: WriteId) {
        let Some(write) = self.open.close(write) else {
            return;
        };
        self.metrics.write_aborted();
        self.release(&write);
    }

    /// Takes room for a write.
    fn reserve_capacity(
        &self,
        shares: &[Share],
        write: &OpenWrite,
        state: &mut OpenWriteState,
    ) -> Result<(), InsufficientCapacity> {
        self.reservations
            .reserve_shares(shares, &write.key, write.blind, |victim| {
                state.evicted_own |= victim.key() == write.key;
            })
    }

    /// What was taken ahead is given back; what the object takes stays.
    pub(super) fn return_unused(&self, write: &OpenWrite, object: &Object) {
        let mut state = write.state();
        let taken = std::mem::take(&mut state.taken);
        for (index, member) in state.members.iter().enumerate() {
            member.memory.take(object.footprint(index));
            member.memory.give_back(taken);
            member.memory.count_chunk(true);
        }
        self.free_replaced(write.id, &state.replaced);
    }

    /// Frees all that a write that is given up has sent.
    fn release(&self, write: &OpenWrite) {
        let mut state = write.state();
        if state.finishing && !fail_point("given_up_is_removed") {
            let holders = (0u8..).zip(state.members.iter().map(|member| member.id));
            let data = write.code.data();
            self.deletes
                .add_tombstone(&write.key, write.id, data, holders);
        }
        let taken = std::mem::take(&mut state.taken);
        for (index, member) in state.members.iter().enumerate() {
            member.memory.give_back(taken);
            let chunk = ChunkId {
                write: write.id,
                index: index as u8,
            };
            self.reclaimer.push(GcTask::Free(chunk, member.id));
        }
        self.free_replaced(write.id, &state.replaced);
    }

    fn free_replaced(&self, write: WriteId, replaced: &[(u8, Arc<Member>)]) {
        for (index, member) in replaced {
            let chunk = ChunkId {
                write,
                index: *index,
            };
            // It was not completed, or its member does not count any more.
            self.reclaimer.push(GcTask::Free(chunk, member.id));
        }
    }

    /// Aborts writes that no client goes on with.
    pub(crate) fn give_up_idle(&self) {
        for write in self.open.idle(clock::now()) {
            debug!(%write, "idle write given up");
            self.give_up(write);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use infinicache_engine::{Condition, Terms};

    use super::*;
    use crate::{cache::fixture::OneNode, capacity::Outlook, metadata::catalog::ObjectRef};

    const MIB: u64 = 1 << 20;

    impl OneNode {
        /// Makes a value of so many bytes that of a key; it takes twice as many on the node.
        async fn stored(&self, key: &[u8], sequence: u64, size: u64) -> Arc<Object> {
            let member = self.pool.awake().await;
            let object = self.object_of(key, sequence, size);
            member.memory.take(object.bytes_on(member.id));
            self.cache.metadata().catalog.insert(object.clone());
            object
        }

        /// The value of the node's key, which is so long, is removed, but still read.
        async fn read_on(&self, size: u64) -> Arc<Object> {
            let read = self.stored(b"key", 1, size).await;
            self.cache.metadata().catalog.remove(&read);
            self.cache.deletes().delete_in_background(&read, "deleted");
            read
        }

        /// Opens a write of the node's key.
        async fn open(&self, size: u64, blind: bool) -> WriteId {
            let (writes, code) = (self.cache.writes().open(), Code::new(1, 0).unwrap());
            let (id, members) = (writes.next_id(), vec![self.pool.awake().await]);
            let key = Bytes::from_static(b"key");
            let write = OpenWrite::new(id, key, code, Some(size), blind, members);
            writes.insert(Arc::new(write));
            id
        }
    }

    #[tokio::test]
    async fn a_write_waits_until_a_removed_value_is_read_no_more() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let read = node.read_on(100 * MIB).await;
        let needed = [Share::whole(member.clone(), member.memory.free() + MIB)];
        let other = node.object_of(b"other", 9, 1);
        let mut taking = pin!(
            node.cache
                .writes()
                .reservations
                .reserve_beside(&other, &needed)
        );
        assert!(futures_util::poll!(&mut taking).is_pending());
        drop(read);
        taking.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_freed_in_time_is_made_up_for_by_another_value() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let _read = node.read_on(100 * MIB).await;
        drop(node.stored(b"last", 2, 100 * MIB).await);
        time::pause();
        let (other, free) = (node.object_of(b"other", 9, 1), member.memory.free());
        let take = async |bytes| {
            let needed = [Share::whole(member.clone(), bytes)];
            node.cache
                .writes()
                .reservations
                .reserve_beside(&other, &needed)
                .await
        };
        let too_much = take(free + 300 * MIB).await.unwrap_err();
        assert!(matches!(too_much, Error::OutOfMemory(_)), "{too_much:?}");
        assert!(node.cache.find(b"last").is_some());
        take(free + MIB).await.unwrap();
        assert!(node.cache.find(b"last").is_none());
    }

    #[tokio::test]
    async fn a_value_that_only_a_remote_read_holds_makes_room_at_once() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let object = node.stored(b"key", 1, 100 * MIB).await;
        node.cache
            .metadata()
            .read_leases
            .grant(&ObjectRef(object), clock::now());
        let needed = [Share::whole(member.clone(), member.memory.free() + MIB)];
        let other = node.object_of(b"other", 9, 1);
        let mut taking = pin!(
            node.cache
                .writes()
                .reservations
                .reserve_beside(&other, &needed)
        );
        let taken = futures_util::poll!(&mut taking);
        assert!(matches!(taken, std::task::Poll::Ready(Ok(()))), "{taken:?}");
    }

    #[tokio::test]
    async fn the_old_value_goes_for_a_blind_write_that_does_not_fit_beside_it_and_not_before() {
        let node = OneNode::new().await;
        drop(node.stored(b"key", 1, 300 * MIB).await);
        let write = node.open(600 * MIB, true).await;
        let ensure_capacity = async |bytes| node.cache.writes().ensure_capacity(write, bytes).await;
        ensure_capacity(100 * MIB).await.unwrap();
        assert!(node.cache.find(b"key").is_some());
        ensure_capacity(600 * MIB).await.unwrap();
        assert!(node.cache.find(b"key").is_none());

        let terms = Terms {
            condition: Some(Condition::Present),
            ..Terms::default()
        };
        let refused = node
            .cache
            .0
            .commits
            .commit_in_turn(write, 600 * MIB, &terms, None)
            .await;
        assert!(matches!(refused, Err(Error::OutOfMemory(_))), "{refused:?}");
        assert!(
            node.cache.writes().open().get(write).is_none(),
            "it was given up"
        );
    }

    #[tokio::test]
    async fn the_old_value_stays_for_a_write_that_may_depend_on_it() {
        let node = OneNode::new().await;
        let old = node.stored(b"key", 1, 300 * MIB).await;
        let bytes = old.bytes_on(node.member);
        let write = node.open(600 * MIB, false).await;
        let refused = node.cache.writes().ensure_capacity(write, MIB).await;
        let Err(Error::OutOfMemory(text)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            text.contains(&format!("{bytes} by the value before")),
            "{text}"
        );
        assert!(node.cache.find(b"key").is_some());
    }

    #[tokio::test]
    async fn a_blind_write_that_can_never_fit_leaves_the_old_value_alone() {
        let node = OneNode::new().await;
        drop(node.stored(b"key", 1, 300 * MIB).await);
        node.pool.awake().await.memory.take(300 * MIB);
        let write = node.open(800 * MIB, true).await;
        let refused = node.cache.writes().ensure_capacity(write, MIB).await;
        assert!(matches!(refused, Err(Error::OutOfMemory(_))), "{refused:?}");
        assert!(node.cache.find(b"key").is_some());
    }

    #[tokio::test]
    async fn a_value_stays_while_earlier_ones_of_its_key_are_on_their_way_out() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        node.cache.metadata().catalog.insert(node.object(100));
        let earlier = WriteId {
            epoch: 1,
            sequence: 0,
        };
        let holders = [(0, node.member)];
        node.cache
            .deletes()
            .add_tombstone(b"key", earlier, 1, holders);
        let too_much = member.memory.free() + 1;
        let take = || {
            let share = Share::whole(member.clone(), too_much);
            node.cache
                .writes()
                .reservations
                .reserve_shares(&[share], b"other", false, |_| ())
        };
        assert!(take().is_err_and(|insufficient| insufficient.outlook == Outlook::Uncertain));
        assert!(node.cache.find(b"key").is_some());
        let [(chunk, member)] = node
            .cache
            .metadata()
            .tombstones
            .of(b"key")
            .unwrap()
            .chunks_left()[..]
        else {
            panic!("one chunk is left");
        };
        node.cache.deletes().chunk_freed(chunk, member);
        assert!(take().is_err());
        assert!(node.cache.find(b"key").is_none(), "it was evicted");
    }

    #[tokio::test]
    async fn two_chunks_of_a_write_never_go_to_the_same_node() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let failed = Arc::new(Member::of(MemberId(member.id.0 + 1)));
        let (writes, code) = (&node.cache.writes().open(), Code::new(1, 1).unwrap());
        let members = vec![member.clone(), failed];
        let write = OpenWrite::new(writes.next_id(), Bytes::new(), code, None, false, members);
        let write = Arc::new(write);
        writes.insert(write.clone());
        // Placed before the other chunk was.
        let beside = node.cache.writes().try_substitute(&write, 1, &member);
        assert!(matches!(beside, Ok(Ok(None))));
        let alone = node.cache.writes().substitute(write.id, 1).await;
        assert!(matches!(alone, Err(Error::Unreachable(_))), "{alone:?}");
    }

    #[tokio::test]
    async fn a_member_that_fails_before_it_is_known_to_have_gone_is_replaced_by_its_successor() {
        let node = OneNode::new().await;
        let member = node.pool.awake().await;
        let (writes, code) = (&node.cache.writes().open(), Code::new(1, 0).unwrap());
        let members = vec![member.clone()];
        let write = OpenWrite::new(writes.next_id(), Bytes::new(), code, None, false, members);
        let id = write.id;
        writes.insert(Arc::new(write));
        let disposal = async { node.pool.end(&member) };
        let (placed, ()) = tokio::join!(node.cache.writes().substitute(id, 0), disposal);
        assert_ne!(placed.unwrap().member, member.id);
    }
}

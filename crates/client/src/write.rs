//! Writing: a value is cut, coded and sent on while it arrives.
//!
//! Each data unit leaves as soon as it has been read, each stripe's parity as
//! soon as the stripe is whole, and at most [`WINDOW`] stripes wait to be
//! acknowledged. A member that fails, or that alone holds everybody up, is
//! replaced: its successor takes the chunk from the next stripe on, and what the
//! chunk lacks is rebuilt from the others before the commit. No more than p
//! chunks may be in that state, so every stripe can always be reconstructed.
//!
//! Nothing is visible before [`Upload::commit`], and an upload that is dropped
//! is given up.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_erasure::{Code, Coder, Geometry};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, WriteId, checksum};
use tokio::time;
use tracing::debug;

use crate::{
    Error,
    budget::Reservation,
    link::NodeLink,
    pool::{Commit, Holders, Pool, Terms},
    read::{MEMORY_DEADLINE, stripe_memory},
    rebuild::rebuild,
    source::{Chained, Source},
};

/// Stripes that may be on their way without being acknowledged.
const WINDOW: usize = 2;

/// How long the last p members may keep a write waiting that all others have acknowledged.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a write may make no progress at all.
const STALL: Duration = Duration::from_secs(30);

/// How often a commit is tried, with what was incomplete rebuilt in between.
const COMMIT_ATTEMPTS: usize = 4;

/// Sends a value of `size` bytes, or of as many as `source` gives, to the nodes.
///
/// # Errors
///
/// Nothing is left behind after an error. [`Error::Io`] is the source's own, or
/// says that it ended early; part of it may be unread after any error.
///
/// # Cancellation
///
/// Safe: what was sent is freed.
pub async fn upload<P: Pool, S: Source>(
    pool: &P,
    key: &[u8],
    size: Option<u64>,
    mut source: S,
) -> Result<Upload<P>, Error> {
    if let Some(size) = size {
        return Upload::open(pool, key, Some(size))
            .await?
            .send_sized(size, source)
            .await;
    }
    // What is no longer than a stripe gets the code that suits its size.
    let full = pool.full_stripe();
    let mut memory = reserve(pool, full).await?;
    let head = source.read(full).await?;
    let size = head.len();
    let head = memory.split(size).hold(head);
    drop(memory);
    if size < full {
        return Upload::open(pool, key, Some(size as u64))
            .await?
            .send_sized(size as u64, head)
            .await;
    }
    let source = Chained { head, tail: source };
    Upload::open(pool, key, None)
        .await?
        .send_unsized(source)
        .await
}

async fn reserve<P: Pool>(pool: &P, bytes: usize) -> Result<Reservation, Error> {
    let reserving = time::timeout(MEMORY_DEADLINE, pool.budget().reserve(bytes));
    reserving
        .await
        .map_err(|_| Error::TimedOut("no buffer memory became free"))
}

/// A value whose chunks are with the nodes, but which is not the value of its key yet.
pub struct Upload<P: Pool> {
    pool: P,
    write: WriteId,
    geometry: Geometry,
    chunks: Vec<Chunk>,
    steps: FuturesUnordered<Pin<Box<dyn Future<Output = Step> + Send>>>,
    /// Bytes of value that there is room for.
    reserved: u64,
    settled: bool,
}

/// Where one chunk goes.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    member: MemberId,
    /// The first stripe that has not been sent.
    next: u32,
    /// The first stripe from which on `member` has been sent every unit.
    whole_from: u32,
    /// Its member failed and no other has taken over.
    down: bool,
    /// Units that are sent but not acknowledged.
    unacknowledged: usize,
}

/// Something that was waited for.
enum Step {
    Put {
        index: usize,
        member: MemberId,
        reply: Reply,
    },
    Replaced {
        index: usize,
        by: Result<MemberId, Error>,
    },
}

impl<P: Pool> Upload<P> {
    async fn open(pool: &P, key: &[u8], size: Option<u64>) -> Result<Self, Error> {
        let opened = pool.open(key, size).await?;
        let (data, parity) = (usize::from(opened.data), usize::from(opened.parity));
        let code = Code::new(data, parity).map_err(|error| Error::Protocol(error.to_string()))?;
        let chunk = |member| Chunk {
            member,
            next: 0,
            whole_from: 0,
            down: false,
            unacknowledged: 0,
        };
        let upload = Self {
            pool: pool.clone(),
            write: opened.write,
            geometry: size.map_or(Geometry::unbounded(code), |size| Geometry::new(size, code)),
            chunks: opened.members.into_iter().map(chunk).collect(),
            steps: FuturesUnordered::new(),
            reserved: opened.reserved,
            settled: false,
        };
        match upload.chunks.len() == code.width() {
            true => Ok(upload),
            false => Err(Error::Protocol(
                "a placement of another width than its code".into(),
            )),
        }
    }

    /// The write's id.
    pub fn write(&self) -> WriteId {
        self.write
    }

    /// Length of the value in bytes.
    pub fn size(&self) -> u64 {
        self.geometry.size()
    }

    /// Makes the upload the value of its key, if the terms allow it.
    ///
    /// # Errors
    ///
    /// The old value is still there, except after [`Error::TimedOut`] or
    /// [`Error::Unreachable`] of a remote pool: then it is not known which one is.
    pub async fn commit(mut self, terms: &Terms) -> Result<Commit<P::Found>, Error> {
        for _ in 0..COMMIT_ATTEMPTS {
            let committed = self.pool.commit(self.write, self.size(), terms).await?;
            let Commit::Incomplete(incomplete) = committed else {
                self.settled = true;
                return Ok(committed);
            };
            for index in incomplete.into_iter().map(usize::from) {
                if index < self.chunks.len() {
                    self.take_down(index)?;
                }
            }
            self.make_whole().await?;
        }
        Err(Error::Unreachable(
            "nodes kept failing to complete the write".into(),
        ))
    }

    async fn send_sized(mut self, size: u64, mut source: impl Source) -> Result<Self, Error> {
        let geometry = self.geometry;
        for stripe in 0..geometry.stripes() {
            self.make_room(geometry.stripe_offset(stripe) + geometry.stripe_len(stripe) as u64)
                .await?;
            let mut memory = self.stripe_memory().await?;
            let mut units = Vec::with_capacity(geometry.code().data());
            for index in 0..geometry.code().data() {
                let length = geometry.unit_len(stripe, index);
                let unit = match length {
                    0 => Bytes::new(),
                    _ => self.while_sending(source.read(length)).await??,
                };
                if unit.len() < length {
                    return Err(ended_early(size).into());
                }
                let unit = memory.split(length).hold(unit);
                self.send(index, stripe, unit.clone());
                units.push(unit);
            }
            self.send_parity(stripe, &units, memory);
        }
        self.make_whole().await?;
        Ok(self)
    }

    async fn send_unsized(mut self, mut source: impl Source) -> Result<Self, Error> {
        let mut size = 0;
        let mut more = true;
        for stripe in 0.. {
            let full = self.geometry.stripe();
            self.make_room(size + full as u64).await?;
            let mut memory = self.stripe_memory().await?;
            // Whether this stripe is the last, and how it is cut, is known only once it is whole.
            let mut value = self.while_sending(source.read(full)).await??;
            size += value.len() as u64;
            if value.len() < full {
                more = false;
                self.geometry = Geometry::new(size, self.geometry.code());
            }
            if !value.is_empty() {
                let units: Vec<Bytes> = (0..self.geometry.code().data())
                    .map(|index| value.split_to(self.geometry.unit_len(stripe, index)))
                    .map(|unit| memory.split(unit.len()).hold(unit))
                    .collect();
                for (index, unit) in units.iter().enumerate() {
                    self.send(index, stripe, unit.clone());
                }
                self.send_parity(stripe, &units, memory);
            }
            if !more {
                break;
            }
        }
        self.make_whole().await?;
        Ok(self)
    }

    /// Keeps the pool's reservation ahead of what is sent.
    async fn make_room(&mut self, bytes: u64) -> Result<(), Error> {
        if bytes > self.reserved {
            let (pool, write) = (self.pool.clone(), self.write);
            self.reserved = self.while_sending(pool.reserve(write, bytes)).await??;
        }
        Ok(())
    }

    /// Waits for the window to open, and then for the memory of a stripe.
    async fn stripe_memory(&mut self) -> Result<Reservation, Error> {
        let open = self.chunks.len() * (WINDOW - 1);
        while self.unacknowledged() > open {
            self.settle().await?;
        }
        let budget = self.pool.budget().clone();
        let bytes = stripe_memory(&self.geometry);
        let reserving = time::timeout(MEMORY_DEADLINE, budget.reserve(bytes));
        let reserved = self.while_sending(reserving).await?;
        reserved.map_err(|_| Error::TimedOut("no buffer memory became free"))
    }

    fn send_parity(&mut self, stripe: u32, units: &[Bytes], mut memory: Reservation) {
        let code = self.geometry.code();
        let length = units.first().map_or(0, Bytes::len);
        let mut parity: Vec<BytesMut> = (0..code.parity())
            .map(|_| BytesMut::zeroed(length))
            .collect();
        let data: Vec<&[u8]> = units.iter().map(|unit| &unit[..]).collect();
        let mut out: Vec<&mut [u8]> = parity.iter_mut().map(|unit| &mut unit[..]).collect();
        Coder::new(code).encode(&data, &mut out);
        for (index, unit) in (code.data()..).zip(parity) {
            self.send(index, stripe, memory.split(length).hold(unit.freeze()));
        }
    }

    fn send(&mut self, index: usize, stripe: u32, unit: Bytes) {
        let chunk = &mut self.chunks[index];
        chunk.next = stripe + 1;
        if chunk.down {
            chunk.whole_from = chunk.next;
        }
        if chunk.down || unit.is_empty() {
            return;
        }
        chunk.unacknowledged += 1;
        let member = chunk.member;
        let putting = put(&self.pool, self.write, index, member, stripe, unit);
        self.steps.push(Box::pin(async move {
            Step::Put {
                index,
                member,
                reply: putting.await,
            }
        }));
    }

    fn unacknowledged(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.unacknowledged).sum()
    }

    /// Waits for `other` while units go out and acknowledgements come in.
    async fn while_sending<T>(&mut self, other: impl Future<Output = T>) -> Result<T, Error> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                Some(step) = self.steps.next() => self.take(step)?,
                output = &mut other => return Ok(output),
            }
        }
    }

    /// Waits for one step. Members that alone keep the write waiting are given up.
    async fn settle(&mut self) -> Result<(), Error> {
        match time::timeout(PATIENCE, self.steps.next()).await {
            Ok(Some(step)) => return self.take(step),
            Ok(None) => return Ok(()),
            Err(_) => {}
        }
        let waiting = |chunk: &Chunk| chunk.unacknowledged > 0;
        let late: Vec<usize> = (0..self.chunks.len())
            .filter(|&index| waiting(&self.chunks[index]))
            .collect();
        let lacking = self
            .chunks
            .iter()
            .filter(|chunk| chunk.down || chunk.whole_from > 0)
            .count();
        if late.len() + lacking <= self.geometry.code().parity() {
            return late.into_iter().try_for_each(|index| self.take_down(index));
        }
        match time::timeout(STALL, self.steps.next()).await {
            Ok(Some(step)) => self.take(step),
            Ok(None) => Ok(()),
            Err(_) => Err(Error::TimedOut("too many nodes do not acknowledge")),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Put {
                index,
                member,
                reply,
            } => {
                let chunk = &mut self.chunks[index];
                if chunk.member != member || chunk.down {
                    return Ok(());
                }
                chunk.unacknowledged -= 1;
                match reply {
                    Reply::Done { .. } => Ok(()),
                    reply => {
                        debug!(write = %self.write, index, %member, ?reply, "chunk's node failed");
                        self.take_down(index)
                    }
                }
            }
            Step::Replaced { index, by } => {
                let chunk = &mut self.chunks[index];
                chunk.member = by?;
                chunk.down = false;
                Ok(())
            }
        }
    }

    /// Gives up a chunk's member and asks for another.
    fn take_down(&mut self, index: usize) -> Result<(), Error> {
        let chunk = &mut self.chunks[index];
        if chunk.down {
            return Ok(());
        }
        chunk.down = true;
        chunk.unacknowledged = 0;
        chunk.whole_from = chunk.next;
        let lacking = self
            .chunks
            .iter()
            .filter(|chunk| chunk.down || chunk.whole_from > 0)
            .count();
        if lacking > self.geometry.code().parity() {
            return Err(Error::Unreachable(format!(
                "{lacking} of the write's nodes failed"
            )));
        }
        let (pool, write) = (self.pool.clone(), self.write);
        self.steps.push(Box::pin(async move {
            let placed = pool.replace(write, index as u8).await;
            Step::Replaced {
                index,
                by: placed.map(|placed| placed.member),
            }
        }));
        Ok(())
    }

    /// Waits for everything that is on its way and rebuilds what replaced chunks lack.
    async fn make_whole(&mut self) -> Result<(), Error> {
        loop {
            // What is still on its way to members that were given up is of no interest.
            while self.unacknowledged() > 0 || self.chunks.iter().any(|chunk| chunk.down) {
                self.settle().await?;
            }
            let lacking = |index: &usize| self.chunks[*index].whole_from > 0;
            let lacking: Vec<usize> = (0..self.chunks.len()).filter(lacking).collect();
            if lacking.is_empty() {
                return Ok(());
            }
            let targets: Vec<(usize, MemberId)> = lacking
                .iter()
                .map(|&index| (index, self.chunks[index].member))
                .collect();
            let whole = Whole {
                write: self.write,
                geometry: self.geometry,
                members: self
                    .chunks
                    .iter()
                    .map(|chunk| (chunk.whole_from == 0).then_some(chunk.member))
                    .collect(),
            };
            let lacked = self
                .chunks
                .iter()
                .map(|chunk| chunk.whole_from)
                .max()
                .unwrap_or(0);
            let failed = rebuild(&self.pool, &whole, &targets, 0..lacked).await?;
            for index in lacking {
                self.chunks[index].whole_from = 0;
            }
            for index in failed {
                self.take_down(index)?;
            }
        }
    }
}

impl<P: Pool> Drop for Upload<P> {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.abort(self.write);
        }
    }
}

fn ended_early(size: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("value ended before its {size} bytes"),
    )
}

/// Sends one sealed unit to its member.
pub(crate) fn put<P: Pool>(
    pool: &P,
    write: WriteId,
    index: usize,
    member: MemberId,
    stripe: u32,
    unit: Bytes,
) -> impl Future<Output = Reply> + Send + use<P> {
    let chunk = ChunkId {
        write,
        index: index as u8,
    };
    let checksum = checksum(chunk, stripe, &unit);
    let request = Request::Put {
        chunk,
        unit: stripe,
        checksum,
        bytes: unit,
    };
    let link = pool.link(member);
    async move {
        match link {
            Some(link) => link.call(request).await,
            None => Reply::Unreachable,
        }
    }
}

/// The chunks of an upload that hold every unit.
#[derive(Clone)]
struct Whole {
    write: WriteId,
    geometry: Geometry,
    members: Vec<Option<MemberId>>,
}

impl Holders for Whole {
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

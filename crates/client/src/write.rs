//! Writing: a value is cut, coded and sent on while it arrives.
//!
//! Each data unit leaves as soon as it has been read, each stripe's parity as
//! soon as the stripe is whole, and at most a few stripes wait to be
//! acknowledged. A member that fails, or that alone holds everybody up, is
//! replaced: its successor takes the chunk from the next stripe on, and what the
//! chunk lacks is rebuilt from the others before the commit. No more than p
//! chunks may be in that state, so every stripe can always be reconstructed.
//!
//! Nothing is visible before [`Upload::commit`], and an upload that is dropped
//! is given up.

mod commit;

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_erasure::{Code, Coder, Geometry, UNIT_MAX};
use infinicache_wire::{ChunkId, MAX_PAYLOAD, MemberId, Reply, Request, WriteId, checksum};
use tokio::time;
use tracing::debug;

use crate::{
    Error,
    budget::Reservation,
    clock,
    link::NodeLink,
    pool::{Holders, Pool},
    read::{reserve, stripe_memory, window},
    rebuild::rebuild,
    source::{Chained, Source},
};

/// A unit is never longer than a frame's payload may be.
const _: () = assert!(UNIT_MAX <= MAX_PAYLOAD);

/// How long the last p members may keep a write waiting that all others have acknowledged.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a write may make no progress at all.
const STALL: Duration = Duration::from_secs(30);

/// How long to wait before a unit is offered again to a node that was full, at first and at last.
const FIRST_FULL_PAUSE: Duration = Duration::from_millis(5);
const LAST_FULL_PAUSE: Duration = Duration::from_millis(320);

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
    // What is no longer than a stripe gets the code that suits its size. The same memory
    // pays for what is read ahead and for the stripes that become of it, parity included:
    // whoever held the one while waiting for the other could wait for ever.
    let full = pool.full_stripe();
    let memory = reserve(pool.budget(), 2 * full).await?;
    let head = source.read(full).await?;
    let size = head.len();
    if size < full {
        let mut upload = Upload::open(pool, key, Some(size as u64)).await?;
        upload.pay_ahead(size, memory);
        return upload.send_sized(size as u64, head).await;
    }
    let mut upload = Upload::open(pool, key, None).await?;
    upload.pay_ahead(size, memory);
    upload.send_unsized(Chained { head, tail: source }).await
}

/// A value whose chunks are with the nodes, but which is not the value of its key yet.
pub struct Upload<P: Pool> {
    pool: P,
    write: WriteId,
    geometry: Geometry,
    chunks: Vec<Chunk>,
    steps: FuturesUnordered<Pending>,
    /// Held by each unit that is not on its way to its member yet.
    unsent: Arc<()>,
    /// Bytes of value that there is room for.
    reserved: u64,
    /// For how many of the next stripes memory was reserved already, and it.
    ahead: Option<(usize, Reservation)>,
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

impl Chunk {
    /// Whether its member lacks units that have been sent.
    fn is_lacking(&self) -> bool {
        self.down || self.whole_from > 0
    }
}

/// Something that was waited for.
enum Step {
    Put {
        index: usize,
        reply: Reply,
    },
    Replaced {
        index: usize,
        by: Result<MemberId, Error>,
    },
}

impl Step {
    /// The chunk that it is about.
    fn index(&self) -> usize {
        match self {
            Self::Put { index, .. } | Self::Replaced { index, .. } => *index,
        }
    }
}

/// A step that is waited for.
struct Pending {
    /// The chunk, if it is a unit that waits to be acknowledged.
    unit_of: Option<usize>,
    step: Pin<Box<dyn Future<Output = Step> + Send>>,
}

impl Future for Pending {
    type Output = Step;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Step> {
        self.step.as_mut().poll(context)
    }
}

impl<P: Pool> Upload<P> {
    async fn open(pool: &P, key: &[u8], size: Option<u64>) -> Result<Self, Error> {
        let opened = pool.open(key, size).await?;
        let (data, parity) = (usize::from(opened.data), usize::from(opened.parity));
        let code = Code::new(data, parity).map_err(|error| {
            pool.abort(opened.write);
            Error::Protocol(error.to_string())
        })?;
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
            unsent: Arc::default(),
            reserved: opened.reserved,
            ahead: None,
            settled: false,
        };
        match upload.chunks.len() == code.width() {
            true => Ok(upload),
            false => Err(Error::Protocol(
                "a placement of another width than its code".into(),
            )),
        }
    }

    /// Takes over memory that pays for the stripes of the first `bytes`, and gives back the rest.
    ///
    /// With more parity than data chunks it may be too little: then it has to do.
    fn pay_ahead(&mut self, bytes: usize, mut memory: Reservation) {
        let stripes = bytes.div_ceil(self.geometry.stripe().max(1));
        let memory = memory.split(stripes * stripe_memory(&self.geometry));
        self.ahead = Some((stripes, memory));
    }

    /// The write's id.
    pub fn write(&self) -> WriteId {
        self.write
    }

    /// Length of the value in bytes.
    pub fn size(&self) -> u64 {
        self.geometry.size()
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
        self.hand_over().await?;
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
        self.hand_over().await?;
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
        let open = self.chunks.len() * (window(&self.geometry) - 1);
        while self.unacknowledged() > open {
            self.settle().await?;
        }
        let bytes = stripe_memory(&self.geometry);
        if let Some((stripes @ 1.., memory)) = &mut self.ahead {
            *stripes -= 1;
            return Ok(memory.split(bytes));
        }
        self.ahead = None;
        let budget = self.pool.budget().clone();
        let mut reserving = pin!(reserve(&budget, bytes));
        loop {
            // The memory may be held by units of this very write that nobody acknowledges.
            tokio::select! {
                biased;
                reserved = &mut reserving => return reserved,
                settled = self.settle(), if !self.steps.is_empty() => settled?,
            }
        }
    }

    fn send_parity(&mut self, stripe: u32, units: &[Bytes], mut memory: Reservation) {
        let code = self.geometry.code();
        let length = units.first().map_or(0, Bytes::len);
        let data: Vec<&[u8]> = units.iter().map(|unit| &unit[..]).collect();
        let parity = Coder::new(code).parity(&data);
        for (index, unit) in (code.data()..).zip(parity) {
            self.send(index, stripe, memory.split(length).hold(unit.into()));
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
        let unsent = self.unsent.clone();
        let sent = move || drop(unsent);
        let putting = put(
            &self.pool,
            self.write,
            index,
            chunk.member,
            stripe,
            unit,
            sent,
        );
        self.steps.push(Pending {
            unit_of: Some(index),
            step: Box::pin(async move {
                let reply = putting.await;
                Step::Put { index, reply }
            }),
        });
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
        let is_late = |chunk: &Chunk| chunk.unacknowledged > 0;
        let late: Vec<usize> = (0..self.chunks.len())
            .filter(|&index| is_late(&self.chunks[index]))
            .collect();
        let would_lack = |chunk: &&Chunk| chunk.is_lacking() || is_late(chunk);
        if self.chunks.iter().filter(would_lack).count() <= self.geometry.code().parity() {
            let now = clock::now();
            return late.into_iter().try_for_each(|index| {
                self.pool.health().was_late(self.chunks[index].member, now);
                self.take_down(index)
            });
        }
        match time::timeout(STALL, self.steps.next()).await {
            Ok(Some(step)) => self.take(step),
            Ok(None) => Ok(()),
            Err(_) => Err(Error::TimedOut("too many nodes do not acknowledge")),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Put { index, reply } => {
                let chunk = &mut self.chunks[index];
                if chunk.down {
                    return Ok(());
                }
                chunk.unacknowledged -= 1;
                match reply {
                    Reply::Done { .. } => Ok(()),
                    reply => {
                        let member = chunk.member;
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
        chunk.whole_from = chunk.next;
        let lacking = self
            .chunks
            .iter()
            .filter(|chunk| chunk.is_lacking())
            .count();
        if lacking > self.geometry.code().parity() {
            return Err(Error::Unreachable(format!(
                "{lacking} of the write's nodes failed"
            )));
        }
        self.stop_waiting(|of| of == index);
        let (pool, write) = (self.pool.clone(), self.write);
        let replacing = async move {
            let replaced = time::timeout(STALL, pool.replace(write, index as u8)).await;
            let placed = replaced.unwrap_or(Err(Error::TimedOut("no other node was found")));
            let by = placed.map(|placed| placed.member);
            Step::Replaced { index, by }
        };
        self.steps.push(Pending {
            unit_of: None,
            step: Box::pin(replacing),
        });
        Ok(())
    }

    /// Nobody waits any more for the units of some chunks that are on their way; their memory is
    /// free.
    fn stop_waiting(&mut self, is_of: impl Fn(usize) -> bool) {
        let chunks = (0..).zip(&mut self.chunks);
        let chunks = chunks.filter(|(index, _)| is_of(*index));
        chunks.for_each(|(_, chunk)| chunk.unacknowledged = 0);
        let steps = std::mem::take(&mut self.steps).into_iter();
        self.steps = steps
            .filter(|pending| !pending.unit_of.is_some_and(&is_of))
            .collect();
    }

    /// Waits for everything that is on its way and rebuilds what replaced chunks lack.
    async fn make_whole(&mut self) -> Result<(), Error> {
        loop {
            while self.unacknowledged() > 0 || self.chunks.iter().any(|chunk| chunk.down) {
                self.settle().await?;
            }
            let lacking = |index: &usize| self.chunks[*index].is_lacking();
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

/// Sends one sealed unit to its member; `sent` is called when it is on its way.
pub(crate) fn put<P: Pool, F: FnOnce() + Send>(
    pool: &P,
    write: WriteId,
    index: usize,
    member: MemberId,
    stripe: u32,
    unit: Bytes,
    sent: F,
) -> impl Future<Output = Reply> + Send + use<P, F> {
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
        let Some(link) = link else {
            return Reply::Unreachable;
        };
        let mut pause = FIRST_FULL_PAUSE;
        let mut reply = link.call_noting(request.clone(), sent).await;
        // Room was made, but what was evicted may be freed a moment later than this comes.
        while reply == Reply::Full && pause <= LAST_FULL_PAUSE {
            time::sleep(pause).await;
            reply = link.call(request.clone()).await;
            pause *= 2;
        }
        reply
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

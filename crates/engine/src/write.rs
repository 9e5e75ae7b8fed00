//! Writing: a value is cut, coded and sent on while it arrives.
//!
//! Each data unit leaves as soon as it has been read, each stripe's parity as
//! soon as the stripe is whole, and at most a few stripes wait to be
//! acknowledged. A member that fails, or that alone delays the write, is
//! replaced. Its successor is sent again what it had not acknowledged: that is
//! kept until then, so any number of members may fail that have not acknowledged
//! anything, such as empty nodes that their platform stops. What a member had
//! acknowledged is rebuilt from the others before the commit. No more than p
//! chunks may lack such units, so every stripe can always be reconstructed.
//!
//! Nothing is visible before [`Upload::commit`], and an upload that is dropped
//! is given up.

mod commit;

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_erasure::{Code, Coder, Geometry, UNIT_MAX};
use infinicache_host::clock;
use infinicache_wire::{MAX_PAYLOAD, MemberId, Reply, WriteId};
use tokio::time;
use tracing::debug;

use crate::{
    budget::Reservation,
    error::Error,
    pool::{Holders, Pool},
    read::{reserve, stripe_memory, window},
    rebuild::rebuild,
    source::{Chained, Source},
    unit::put,
};

/// A unit is never longer than a frame's payload may be.
const _: () = assert!(UNIT_MAX <= MAX_PAYLOAD);

/// How long the last p members may keep a write waiting that all others have acknowledged.
const STRAGGLER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a write may make no progress at all, and one member after another fail a chunk.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

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
    source: S,
) -> Result<Upload<P>, Error> {
    send(pool, key, size, false, source).await
}

/// The same for a blind write, whose [terms](crate::Terms::are_blind) ask nothing of the value that
/// the key has: that value goes first if there is no room for both.
///
/// # Errors
///
/// As of [`upload`]; but the key may have no value any more.
pub async fn overwrite<P: Pool, S: Source>(
    pool: &P,
    key: &[u8],
    size: Option<u64>,
    source: S,
) -> Result<Upload<P>, Error> {
    send(pool, key, size, true, source).await
}

async fn send<P: Pool, S: Source>(
    pool: &P,
    key: &[u8],
    size: Option<u64>,
    blind: bool,
    mut source: S,
) -> Result<Upload<P>, Error> {
    if let Some(size) = size {
        return Upload::open(pool, key, Some(size), blind)
            .await?
            .send_sized(size, source)
            .await;
    }
    // What is no longer than a stripe gets the code that suits its size. The same memory pays for
    // what is read ahead and for the stripes that become of it, parity included: a write that held
    // the one while waiting for the other could wait for ever.
    let full = pool.full_stripe();
    let memory = reserve(pool.budget(), 2 * full).await?;
    let head = source.read(full).await?;
    let size = head.len();
    if size < full {
        let mut upload = Upload::open(pool, key, Some(size as u64), blind).await?;
        upload.pay_ahead(size, memory);
        return upload.send_sized(size as u64, head).await;
    }
    let mut upload = Upload::open(pool, key, None, blind).await?;
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
#[derive(Debug)]
struct Chunk {
    member: MemberId,
    /// The first stripe of which no unit has been sent.
    next: u32,
    /// The first stripe from which on `member` has, or will be sent, every unit.
    whole_from: u32,
    /// Its member failed and no other has taken over.
    down: bool,
    /// Since when members have failed, and none has taken a unit.
    failing: Option<Instant>,
    /// What has been sent and is not acknowledged, by stripe.
    unacknowledged: BTreeMap<u32, Bytes>,
}

impl Chunk {
    fn new(member: MemberId) -> Self {
        Self {
            member,
            next: 0,
            whole_from: 0,
            down: false,
            failing: None,
            unacknowledged: BTreeMap::new(),
        }
    }

    /// Whether units of it have to be rebuilt.
    fn is_lacking(&self) -> bool {
        self.whole_from > 0
    }

    /// Whether its member is waited for.
    fn is_late(&self) -> bool {
        !self.down && !self.unacknowledged.is_empty()
    }

    /// Its member has failed. What is at hand can be sent to another one, and what is before that
    /// has to be rebuilt.
    fn fail(&mut self) {
        self.down = true;
        let mut whole_from = self.next;
        for stripe in self.unacknowledged.keys().rev() {
            if stripe + 1 != whole_from {
                break;
            }
            whole_from = *stripe;
        }
        self.whole_from = whole_from;
        self.unacknowledged = self.unacknowledged.split_off(&whole_from);
    }

    /// Everything up to now has to be rebuilt.
    fn release_sent(&mut self) {
        self.whole_from = self.next;
        self.unacknowledged.clear();
    }
}

/// Something that was waited for.
enum Step {
    Put {
        index: usize,
        stripe: u32,
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
    async fn open(pool: &P, key: &[u8], size: Option<u64>, blind: bool) -> Result<Self, Error> {
        let opened = pool.open(key, size, blind).await?;
        let (data, parity) = (usize::from(opened.data), usize::from(opened.parity));
        let code = Code::new(data, parity).map_err(|error| {
            pool.abort(opened.write);
            Error::Protocol(error.to_string())
        })?;
        let upload = Self {
            pool: pool.clone(),
            write: opened.write,
            geometry: size.map_or(Geometry::unbounded(code), |size| Geometry::new(size, code)),
            chunks: opened.members.into_iter().map(Chunk::new).collect(),
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
            self.reserve_ahead(geometry.stripe_offset(stripe) + geometry.stripe_len(stripe) as u64)
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
            self.reserve_ahead(size + full as u64).await?;
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
    async fn reserve_ahead(&mut self, bytes: u64) -> Result<(), Error> {
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
            self.wait_or_release().await?;
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
            // The memory may be held by units of this very write that are not acknowledged.
            tokio::select! {
                biased;
                reserved = &mut reserving => return reserved,
                settled = self.wait_or_release(), if !self.steps.is_empty() => settled?,
            }
        }
    }

    async fn wait_or_release(&mut self) -> Result<(), Error> {
        match self.release_sent() {
            true => Ok(()),
            false => self.next_step().await,
        }
    }

    /// Lets go of what is kept for successors, if it can be rebuilt; whether there was anything.
    fn release_sent(&mut self) -> bool {
        let keeps = |chunk: &Chunk| chunk.down && !chunk.unacknowledged.is_empty();
        let would_lack = |chunk: &&Chunk| chunk.is_lacking() || keeps(chunk);
        let lacking = self.chunks.iter().filter(would_lack).count();
        if lacking > self.geometry.code().parity() || !self.chunks.iter().any(keeps) {
            return false;
        }
        let kept = self.chunks.iter_mut().filter(|chunk| keeps(chunk));
        kept.for_each(Chunk::release_sent);
        true
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
        if unit.is_empty() {
            return;
        }
        let chunk = &mut self.chunks[index];
        chunk.next = stripe + 1;
        chunk.unacknowledged.insert(stripe, unit.clone());
        if !chunk.down {
            self.put(index, stripe, unit);
        }
    }

    fn put(&mut self, index: usize, stripe: u32, unit: Bytes) {
        let unsent = self.unsent.clone();
        let sent = move || drop(unsent);
        let putting = put(
            &self.pool,
            self.write,
            index,
            self.chunks[index].member,
            stripe,
            unit,
            sent,
        );
        self.steps.push(Pending {
            unit_of: Some(index),
            step: Box::pin(async move {
                let reply = putting.await;
                Step::Put {
                    index,
                    stripe,
                    reply,
                }
            }),
        });
    }

    fn unacknowledged(&self) -> usize {
        let chunks = self.chunks.iter();
        chunks.map(|chunk| chunk.unacknowledged.len()).sum()
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
    async fn next_step(&mut self) -> Result<(), Error> {
        match time::timeout(STRAGGLER_TIMEOUT, self.steps.next()).await {
            Ok(Some(step)) => return self.take(step),
            Ok(None) => return Ok(()),
            Err(_) => {}
        }
        let late: Vec<usize> = (0..self.chunks.len())
            .filter(|&index| self.chunks[index].is_late())
            .collect();
        let holds_up = |chunk: &&Chunk| chunk.is_lacking() || chunk.down || chunk.is_late();
        if self.chunks.iter().filter(holds_up).count() <= self.geometry.code().parity() {
            let now = clock::now();
            return late.into_iter().try_for_each(|index| {
                self.pool
                    .latencies()
                    .was_late(self.chunks[index].member, now);
                self.take_down(index)
            });
        }
        match time::timeout(STALL_TIMEOUT, self.steps.next()).await {
            Ok(Some(step)) => self.take(step),
            Ok(None) => Ok(()),
            Err(_) => Err(Error::TimedOut("too many nodes do not acknowledge")),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Put {
                index,
                stripe,
                reply,
            } => {
                let chunk = &mut self.chunks[index];
                if chunk.down {
                    return Ok(());
                }
                match reply {
                    Reply::Done { .. } => {
                        chunk.unacknowledged.remove(&stripe);
                        chunk.failing = None;
                        Ok(())
                    }
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
                let again = chunk.unacknowledged.clone();
                for (stripe, unit) in again {
                    self.put(index, stripe, unit);
                }
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
        chunk.fail();
        let now = clock::now();
        if now >= *chunk.failing.get_or_insert(now) + STALL_TIMEOUT {
            let text = "one node after another failed the same chunk";
            return Err(Error::Unreachable(text.into()));
        }
        let lacking = self.chunks.iter().filter(|chunk| chunk.is_lacking());
        let lacking = lacking.count();
        if lacking > self.geometry.code().parity() {
            return Err(Error::Unreachable(format!(
                "{lacking} of the write's nodes failed"
            )));
        }
        self.stop_waiting(|of| of == index);
        let (pool, write) = (self.pool.clone(), self.write);
        let replacing = async move {
            let replaced = time::timeout(STALL_TIMEOUT, pool.replace(write, index as u8)).await;
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

    /// What becomes of the units of some chunks that are on their way is of no interest any more.
    fn stop_waiting(&mut self, is_of: impl Fn(usize) -> bool) {
        let steps = std::mem::take(&mut self.steps).into_iter();
        self.steps = steps
            .filter(|pending| !pending.unit_of.is_some_and(&is_of))
            .collect();
    }

    /// Waits for everything that is on its way and rebuilds what replaced chunks lack.
    async fn make_whole(&mut self) -> Result<(), Error> {
        loop {
            while self.unacknowledged() > 0 || self.chunks.iter().any(|chunk| chunk.down) {
                self.next_step().await?;
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
            let whole = CompleteChunks {
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
                let chunk = &mut self.chunks[index];
                chunk.whole_from = 0;
                if !failed.contains(&index) {
                    chunk.failing = None;
                }
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

/// The chunks of an upload that hold every unit.
#[derive(Clone)]
struct CompleteChunks {
    write: WriteId,
    geometry: Geometry,
    members: Vec<Option<MemberId>>,
}

impl Holders for CompleteChunks {
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

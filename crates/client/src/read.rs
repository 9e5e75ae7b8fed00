//! Reading: k of k+p chunks, stripe by stripe, in order.
//!
//! `fetch` gets one stripe, or the units of it that are wanted, by following a
//! `Plan`. A [`Reader`] keeps a few stripes on their way while memory is
//! plentiful, and only the one that its caller waits for otherwise. Rebuilding uses
//! `fetch` too, with other wishes.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use infinicache_erasure::{Coder, Geometry, UNIT_MAX};
use infinicache_wire::{ChunkId, MemberId, Reply, Request, checksum};
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Budget, Error,
    budget::Reservation,
    clock,
    link::NodeLink,
    mux::MEMBER_CREDIT,
    pool::{Holders, Incident, Pool},
    stripe::{Holder, Plan, Standing},
};

/// How long a stripe may take, whatever happens.
const STRIPE_DEADLINE: Duration = Duration::from_secs(20);

/// How long to wait for memory before giving up.
const MEMORY_DEADLINE: Duration = Duration::from_secs(60);

/// Sets memory aside, waiting for it but not for ever.
///
/// # Errors
///
/// [`Error::TimedOut`] if it does not become free.
pub async fn reserve(budget: &Budget, bytes: usize) -> Result<Reservation, Error> {
    let reserving = time::timeout(MEMORY_DEADLINE, budget.reserve(bytes)).await;
    reserving.map_err(|_| Error::TimedOut("no buffer memory became free"))
}

/// Bytes of a value that are on their way at once, and stripes, at least and at most.
///
/// With two stripes of ten units, nodes and proxy wait for each other now and then: with three
/// a 10 MiB value comes a tenth faster, and a fourth changes nothing. Stripes of few units need more of them for that, but
/// more than one member gives credit for would only wait.
const WINDOW_BYTES: usize = 5 << 20;
const WINDOW: (usize, usize) = (3, MEMBER_CREDIT / UNIT_MAX);

/// Stripes that one reader takes while memory is plentiful, the one that its caller has and those
/// on their way; and that one writer sends ahead of their acknowledgements.
pub(crate) fn window(geometry: &Geometry) -> usize {
    let stripe = geometry.code().data() * UNIT_MAX;
    (WINDOW_BYTES / stripe).clamp(WINDOW.0, WINDOW.1)
}

/// Bytes that fetching one stripe may take: every unit may come.
pub(crate) fn stripe_memory(geometry: &Geometry) -> usize {
    geometry.unit() * geometry.code().width()
}

/// How long to wait before a value whose nodes cannot be reached is tried again: a link that broke
/// is dialled anew, and a node that ended is succeeded, within a second or two.
pub const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Gets the units `wanted` of one stripe, in that order.
///
/// Each unit holds its part of `memory` for as long as it is referred to.
///
/// # Errors
///
/// [`Error::Lost`] if too few units are left, [`Error::Unreachable`] if too few of their members
/// can be reached, [`Error::TimedOut`] if they do not come.
pub(crate) async fn fetch<P: Pool, F: Holders>(
    pool: &P,
    found: &F,
    stripe: u32,
    wanted: &[usize],
    memory: Reservation,
) -> Result<Vec<Bytes>, Error> {
    let fetching = Fetch::new(pool, found, stripe, wanted, memory).run();
    let in_time = time::timeout(STRIPE_DEADLINE, fetching).await;
    in_time.unwrap_or(Err(Error::TimedOut("a stripe did not come")))
}

struct Fetch<'a, P: Pool, F: Holders> {
    pool: &'a P,
    found: &'a F,
    geometry: Geometry,
    stripe: u32,
    members: Vec<Option<MemberId>>,
    plan: Plan,
    wanted: &'a [usize],
    units: Vec<Bytes>,
    /// Units that may be there, but whose members cannot be asked now.
    out_of_reach: usize,
    memory: Reservation,
}

impl<'a, P: Pool, F: Holders> Fetch<'a, P, F> {
    fn new(
        pool: &'a P,
        found: &'a F,
        stripe: u32,
        wanted: &'a [usize],
        memory: Reservation,
    ) -> Self {
        let geometry = found.geometry();
        let code = geometry.code();
        let members: Vec<_> = (0..code.width()).map(|index| found.holder(index)).collect();
        let now = clock::now();
        let holder = |index: usize| match members[index] {
            _ if geometry.unit_len(stripe, index) == 0 => Holder::Empty,
            None => Holder::Nobody,
            Some(member) if pool.health().is_slow(member, now) => Holder::Slow,
            Some(_) => Holder::Quick,
        };
        let holders: Vec<Holder> = (0..code.width()).map(holder).collect();
        Self {
            pool,
            found,
            geometry,
            stripe,
            plan: Plan::new(&holders, wanted, code.data()),
            members,
            wanted,
            units: vec![Bytes::new(); code.width()],
            out_of_reach: 0,
            memory,
        }
    }

    async fn run(mut self) -> Result<Vec<Bytes>, Error> {
        let mut asked = FuturesUnordered::new();
        loop {
            for index in self.plan.asks(self.pool.late_at()) {
                asked.push(self.ask(index));
            }
            match self.plan.standing() {
                Standing::Whole => return Ok(self.pick()),
                Standing::Reconstructible => return Ok(self.reconstruct()),
                Standing::Lost { have } => return Err(self.too_few(have)),
                Standing::Waiting => {}
            }
            let late_at = self.plan.next_late();
            tokio::select! {
                biased;
                Some((index, asked_at, reply)) = asked.next() => self.take(index, asked_at, reply),
                () = sleep_until(late_at), if late_at.is_some() => self.hedge(),
            }
        }
    }

    /// Why only `have` units can be had.
    fn too_few(&self, have: usize) -> Error {
        let need = self.geometry.code().data();
        let away = self.out_of_reach;
        match have + away >= need {
            true => Error::Unreachable(format!("{away} of the value's nodes, {need} needed")),
            false => Error::Lost { have, need },
        }
    }

    /// Asks a unit's member for it.
    fn ask(
        &self,
        index: usize,
    ) -> impl Future<Output = (usize, Instant, Reply)> + Send + use<P, F> {
        let chunk = ChunkId {
            write: self.found.write(),
            index: index as u8,
        };
        let want = self.geometry.unit_len(self.stripe, index) as u32;
        let request = Request::Get {
            chunk,
            unit: self.stripe,
            want,
        };
        let link = self.members[index].and_then(|member| self.pool.link(member));
        async move {
            let asked_at = clock::now();
            let reply = match link {
                Some(link) => link.call(request).await,
                None => Reply::Unreachable,
            };
            (index, asked_at, reply)
        }
    }

    /// Verifies a unit that came, while it is hot, and keeps it.
    fn take(&mut self, index: usize, asked_at: Instant, reply: Reply) {
        let chunk = ChunkId {
            write: self.found.write(),
            index: index as u8,
        };
        let (bytes, sealed) = match reply {
            Reply::Done { bytes, checksum } => (bytes, checksum),
            Reply::NotFound => return self.give_up(index, Incident::Missing(chunk)),
            _ => {
                self.out_of_reach += 1;
                return self.plan.failed(index);
            }
        };
        if let Some(member) = self.members[index] {
            self.pool.health().answered(member, clock::now() - asked_at);
        }
        let sound = bytes.len() == self.geometry.unit_len(self.stripe, index)
            && checksum(chunk, self.stripe, &bytes) == sealed;
        if !sound {
            return self.give_up(index, Incident::Corrupt(chunk));
        }
        self.units[index] = self.memory.split(bytes.len()).hold(bytes);
        self.plan.came(index);
    }

    fn give_up(&mut self, index: usize, incident: Incident) {
        self.pool.note(incident);
        if let Some(member) = self.members[index] {
            self.found.give_up(index, member);
        }
        self.plan.failed(index);
    }

    /// Holds those who are late for slow, so that others are asked in their place.
    fn hedge(&mut self) {
        let now = clock::now();
        for index in self.plan.late(now) {
            self.pool.note(Incident::Hedged);
            if let Some(member) = self.members[index] {
                self.pool.health().was_late(member, now);
            }
        }
    }

    fn pick(mut self) -> Vec<Bytes> {
        self.wanted
            .iter()
            .map(|&index| std::mem::take(&mut self.units[index]))
            .collect()
    }

    fn reconstruct(mut self) -> Vec<Bytes> {
        self.pool.note(Incident::Degraded);
        let (have, missing) = (self.plan.basis(), self.plan.missing());
        let reconstruction = Coder::new(self.geometry.code())
            .reconstruction(&have, &missing)
            .expect("a basis is k distinct chunks");
        let units: Vec<&[u8]> = have.iter().map(|&index| &self.units[index][..]).collect();
        let length = |index: &usize| self.geometry.unit_len(self.stripe, *index);
        let lengths: Vec<usize> = missing.iter().map(length).collect();
        let rebuilt = reconstruction.rebuild(&units, &lengths);
        for (index, unit) in missing.into_iter().zip(rebuilt) {
            self.units[index] = self.memory.split(unit.len()).hold(unit.into());
        }
        self.pick()
    }
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        time::sleep_until(instant.into()).await;
    }
}

/// Runs `arriving` on a task that ends with whoever waits for it.
fn beside(arriving: Arriving) -> Arriving {
    let task = AbortOnDropHandle::new(tokio::spawn(arriving));
    Box::pin(async move {
        match task.await {
            Ok(arrived) => arrived,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Unreachable("the runtime stops".into())),
            },
        }
    })
}

type Arriving = Pin<Box<dyn Future<Output = Result<Vec<Bytes>, Error>> + Send>>;

/// Reads a value, or a range of it, piece by piece.
pub struct Reader<P: Pool> {
    pool: P,
    found: P::Found,
    geometry: Geometry,
    range: Range<u64>,
    stripes: Range<u32>,
    arriving: FuturesOrdered<Arriving>,
}

impl<P: Pool> Reader<P> {
    /// A reader of the bytes `range` of a value, as far as it has them.
    pub fn new(pool: P, found: P::Found, range: Range<u64>) -> Self {
        let geometry = found.geometry();
        let end = range.end.min(geometry.size());
        let range = range.start.min(end)..end;
        let stripes = geometry.stripes_of(range.clone());
        Self {
            pool,
            found,
            geometry,
            range,
            stripes,
            arriving: FuturesOrdered::new(),
        }
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The next bytes of the range, in one or more pieces; `None` at its end.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], [`Error::Unreachable`] or [`Error::TimedOut`]; the reader is of no use then.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        if self.arriving.is_empty() && !self.stripes.is_empty() {
            let memory = reserve(self.pool.budget(), stripe_memory(&self.geometry)).await?;
            let arriving = self.arrive(memory);
            self.arriving.push_back(arriving);
        }
        let Some(pieces) = self.arriving.next().await.transpose()? else {
            return Ok(None);
        };
        self.look_ahead();
        let length: usize = pieces.iter().map(Bytes::len).sum();
        self.range.start += length as u64;
        Ok(Some(pieces))
    }

    /// Asks for the stripes after the one that has come, from spare memory.
    ///
    /// Not before it has come: they would only delay it. They come on tasks of
    /// their own: a caller who takes long keeps nobody from looking after them, so
    /// that their members are not held for slow.
    fn look_ahead(&mut self) {
        let bytes = stripe_memory(&self.geometry);
        while self.arriving.len() < window(&self.geometry) - 1 && !self.stripes.is_empty() {
            let Some(memory) = self.pool.budget().reserve_spare(bytes) else {
                return;
            };
            let arriving = beside(self.arrive(memory));
            self.arriving.push_back(arriving);
        }
    }

    /// Fetches the units of the next stripe that the range touches, cut to it.
    fn arrive(&mut self, memory: Reservation) -> Arriving {
        let stripe = self.stripes.start;
        self.stripes.start += 1;
        let start = self.geometry.stripe_offset(stripe);
        let length = self.geometry.stripe_len(stripe) as u64;
        let from = self.range.start.saturating_sub(start).min(length) as usize;
        let to = (self.range.end - start).min(length) as usize;

        let mut at = 0;
        let mut cuts = Vec::with_capacity(self.geometry.code().data());
        for index in 0..self.geometry.code().data() {
            let unit = self.geometry.unit_len(stripe, index);
            let cut = from.clamp(at, at + unit) - at..to.clamp(at, at + unit) - at;
            if !cut.is_empty() {
                cuts.push((index, cut));
            }
            at += unit;
        }

        let (pool, found) = (self.pool.clone(), self.found.clone());
        Box::pin(async move {
            let wanted: Vec<usize> = cuts.iter().map(|(index, _)| *index).collect();
            let mut units = fetch(&pool, &found, stripe, &wanted, memory).await?;
            for (unit, (_, cut)) in units.iter_mut().zip(cuts) {
                if cut.len() < unit.len() {
                    *unit = unit.slice(cut);
                }
            }
            Ok(units)
        })
    }
}

#[cfg(test)]
mod tests {
    use infinicache_erasure::Code;

    use super::*;

    #[test]
    fn the_fewer_units_a_stripe_has_the_more_stripes_are_on_their_way() {
        let windows = [(1, 2), (4, 2), (7, 2), (10, 2), (100, 20)].map(|(data, parity)| {
            let code = Code::new(data, parity).unwrap();
            window(&Geometry::unbounded(code))
        });
        assert_eq!(windows, [8, 5, 3, 3, 3]);
    }
}

//! Reading: k of k+p chunks, stripe by stripe, in order.
//!
//! `fetch` gets one stripe, or the units of it that are wanted. A [`Reader`] keeps
//! a few stripes on their way while memory is plentiful, and only the one that its
//! caller waits for otherwise. An eager one gives each unit of the first stripe as
//! it comes, so that later ones come while earlier ones are sent on. Rebuilding
//! uses `fetch` too, with other wishes.

mod fetch;

use std::{future::Future, ops::Range, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt};
use infinicache_erasure::{Geometry, UNIT_MAX};
use infinicache_host::task;
use tokio::{sync::mpsc, time};
use tokio_util::task::AbortOnDropHandle;

use self::fetch::Fetch;
pub use self::fetch::fetch;
use crate::{
    budget::{Budget, Reservation},
    error::Error,
    mux::MEMBER_CREDIT,
    pool::{Holders, Pool},
};

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
/// a 10 MiB value comes a tenth faster, and a fourth changes nothing. Stripes of few units need
/// more of them for that, but more than one member gives credit for would only wait.
const WINDOW_BYTES: usize = 5 << 20;
const WINDOW: (usize, usize) = (3, MEMBER_CREDIT / UNIT_MAX);

/// Stripes that one reader takes while memory is plentiful, the one that its caller has and those
/// on their way; and that one writer sends ahead of their acknowledgements.
pub(crate) fn window(geometry: &Geometry) -> usize {
    let stripe = geometry.code().data() * UNIT_MAX;
    (WINDOW_BYTES / stripe).clamp(WINDOW.0, WINDOW.1)
}

/// Bytes that fetching one stripe may take: every unit may come.
pub fn stripe_memory(geometry: &Geometry) -> usize {
    geometry.unit() * geometry.code().width()
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Runs `work` on a task that ends with its caller.
///
/// So a caller that takes long does not keep what comes meanwhile from being looked after, and its
/// members are not held for slow.
fn beside<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Pending<T> {
    let task = AbortOnDropHandle::new(task::spawn(work));
    Box::pin(async move {
        match task.await {
            Ok(output) => output,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Unreachable("the runtime stops".into())),
            },
        }
    })
}

/// What a range touches of one stripe.
struct StripePart<P: Pool> {
    fetch: Fetch<P, P::Value>,
    /// Of the units that are still to come.
    cuts: std::vec::IntoIter<Range<usize>>,
}

impl<P: Pool> StripePart<P> {
    /// The next units in order, as many as are here; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        if self.cuts.len() == 0 {
            return Ok(None);
        }
        let units = self.fetch.next().await?;
        Ok(Some(self.cut(units)))
    }

    /// All units at once.
    async fn whole(mut self) -> Result<Vec<Bytes>, Error> {
        let units = self.fetch.rest().await?;
        Ok(self.cut(units))
    }

    /// Cuts units to the range.
    fn cut(&mut self, mut units: Vec<Bytes>) -> Vec<Bytes> {
        for (unit, cut) in units.iter_mut().zip(&mut self.cuts) {
            if cut.len() < unit.len() {
                *unit = unit.slice(cut);
            }
        }
        units
    }
}

/// The first stripe of several, given as it comes.
struct FirstStripe {
    units: mpsc::UnboundedReceiver<Vec<Bytes>>,
    end: Pending<()>,
}

impl FirstStripe {
    fn of<P: Pool>(mut part: StripePart<P>) -> Self {
        // No more than one stripe is ever in it.
        let (sender, units) = mpsc::unbounded_channel();
        let end = beside(async move {
            while let Some(units) = part.next().await? {
                // The receiver is gone only when this is about to be aborted.
                let _ = sender.send(units);
            }
            Ok(())
        });
        Self { units, end }
    }

    /// As of [`StripePart::next`], and whatever else is here.
    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let Some(mut units) = self.units.recv().await else {
            return (&mut self.end).await.map(|()| None);
        };
        while let Ok(more) = self.units.try_recv() {
            units.extend(more);
        }
        Ok(Some(units))
    }
}

/// Reads a value, or a range of it, piece by piece.
pub struct Reader<P: Pool> {
    pool: P,
    found: P::Value,
    geometry: Geometry,
    range: Range<u64>,
    stripes: Range<u32>,
    is_eager: bool,
    first_stripe: Option<FirstStripe>,
    arriving: FuturesOrdered<Pending<Vec<Bytes>>>,
}

impl<P: Pool> Reader<P> {
    /// A reader of the bytes `range` of a value, as far as it has them.
    pub fn new(pool: P, found: P::Value, range: Range<u64>) -> Self {
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
            is_eager: false,
            first_stripe: None,
            arriving: FuturesOrdered::new(),
        }
    }

    /// Gives the units of the first of several stripes as they come, for who sends them on.
    pub fn eager(mut self) -> Self {
        self.is_eager = true;
        self
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The next bytes of the range, in one or more pieces; `None` at its end.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], [`Error::Unreachable`] or [`Error::TimedOut`]; the reader is of no use
    /// then. If it gave nothing before, another may be tried; so what is in one stripe is given
    /// whole by all.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        if self.first_stripe.is_none() && self.arriving.is_empty() && !self.stripes.is_empty() {
            let memory = reserve(self.pool.budget(), stripe_memory(&self.geometry)).await?;
            let part = self.part(memory);
            match self.is_eager && !self.stripes.is_empty() {
                true => self.first_stripe = Some(FirstStripe::of(part)),
                false => self.arriving.push_back(Box::pin(part.whole())),
            }
        }
        let from_first_stripe = match &mut self.first_stripe {
            Some(first_stripe) => first_stripe.next().await?,
            None => None,
        };
        let pieces = match from_first_stripe {
            Some(pieces) => pieces,
            None => match self.arriving.next().await.transpose()? {
                Some(pieces) => pieces,
                None => return Ok(None),
            },
        };
        let length: usize = pieces.iter().map(Bytes::len).sum();
        self.range.start += length as u64;
        if self.range.start >= self.geometry.stripe_offset(self.stripes.start) {
            self.first_stripe = None;
        }
        if self.first_stripe.is_none() {
            self.look_ahead();
        }
        Ok(Some(pieces))
    }

    /// Asks for the stripes after the one that has come, from spare memory.
    ///
    /// Not before it has come: they would only delay it.
    fn look_ahead(&mut self) {
        let bytes = stripe_memory(&self.geometry);
        while self.arriving.len() < window(&self.geometry) - 1 && !self.stripes.is_empty() {
            let Some(memory) = self.pool.budget().reserve_spare(bytes) else {
                return;
            };
            let arriving = beside(self.part(memory).whole());
            self.arriving.push_back(arriving);
        }
    }

    /// The units of the next stripe that the range touches.
    fn part(&mut self, memory: Reservation) -> StripePart<P> {
        let stripe = self.stripes.start;
        self.stripes.start += 1;
        let start = self.geometry.stripe_offset(stripe);
        let length = self.geometry.stripe_len(stripe) as u64;
        let from = self.range.start.saturating_sub(start).min(length) as usize;
        let to = (self.range.end - start).min(length) as usize;

        let mut at = 0;
        let mut wanted = Vec::with_capacity(self.geometry.code().data());
        let mut cuts = Vec::with_capacity(self.geometry.code().data());
        for index in 0..self.geometry.code().data() {
            let unit = self.geometry.unit_len(stripe, index);
            let cut = from.clamp(at, at + unit) - at..to.clamp(at, at + unit) - at;
            if !cut.is_empty() {
                wanted.push(index);
                cuts.push(cut);
            }
            at += unit;
        }
        let (pool, found) = (self.pool.clone(), self.found.clone());
        StripePart {
            fetch: Fetch::new(pool, found, stripe, wanted, memory),
            cuts: cuts.into_iter(),
        }
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

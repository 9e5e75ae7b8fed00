//! One stripe: asked for, verified, made up for, and given in order as it comes.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_erasure::{Coder, Geometry};
use infinicache_host::clock;
use infinicache_wire::{ChunkId, MemberId, Reply, Request, checksum};
use tokio::time;

use crate::{
    budget::Reservation,
    error::Error,
    link::NodeLink,
    pool::{Holders, Incident, Pool},
    stripe::{FetchPlan, FetchStatus, Holder},
};

/// How long a stripe may take, whatever happens.
const STRIPE_DEADLINE: Duration = Duration::from_secs(20);

/// Gets the units `wanted` of one stripe, in that order.
///
/// Each unit holds its part of `memory` for as long as it is referred to.
///
/// # Errors
///
/// [`Error::Lost`] if too few units are left, [`Error::Unreachable`] if too few of their members
/// can be reached, [`Error::TimedOut`] if they do not come.
pub async fn fetch<P: Pool, F: Holders>(
    pool: &P,
    found: &F,
    stripe: u32,
    wanted: &[usize],
    memory: Reservation,
) -> Result<Vec<Bytes>, Error> {
    let (pool, found) = (pool.clone(), found.clone());
    Fetch::new(pool, found, stripe, wanted.to_vec(), memory)
        .rest()
        .await
}

/// A unit that was asked for: which it is, when that was, and what came of it.
type Asked = Pin<Box<dyn Future<Output = (usize, Instant, Reply)> + Send>>;

/// One stripe on its way.
pub(super) struct Fetch<P: Pool, F: Holders> {
    pool: P,
    found: F,
    geometry: Geometry,
    stripe: u32,
    members: Vec<Option<MemberId>>,
    plan: FetchPlan,
    asked: FuturesUnordered<Asked>,
    wanted: Vec<usize>,
    /// How many of those wanted were given.
    given: usize,
    units: Vec<Bytes>,
    /// Units that may be there, but whose members cannot be asked now.
    out_of_reach: usize,
    memory: Reservation,
    deadline: Instant,
}

impl<P: Pool, F: Holders> Fetch<P, F> {
    pub(super) fn new(
        pool: P,
        found: F,
        stripe: u32,
        wanted: Vec<usize>,
        memory: Reservation,
    ) -> Self {
        let geometry = found.geometry();
        let code = geometry.code();
        let members: Vec<_> = (0..code.width()).map(|index| found.holder(index)).collect();
        let now = clock::now();
        let holder = |index: usize| match members[index] {
            _ if geometry.unit_len(stripe, index) == 0 => Holder::Empty,
            None => Holder::Nobody,
            Some(member) if pool.latencies().is_slow(member, now) => Holder::Slow,
            Some(_) => Holder::Quick,
        };
        let holders: Vec<Holder> = (0..code.width()).map(holder).collect();
        Self {
            pool,
            found,
            geometry,
            stripe,
            plan: FetchPlan::new(&holders, &wanted, code.data()),
            members,
            asked: FuturesUnordered::new(),
            wanted,
            given: 0,
            units: vec![Bytes::new(); code.width()],
            out_of_reach: 0,
            memory,
            deadline: now + STRIPE_DEADLINE,
        }
    }

    /// The next of the units that are wanted, and those after it that are here too; none only
    /// after the last.
    ///
    /// # Errors
    ///
    /// As of [`fetch`].
    pub(super) async fn next(&mut self) -> Result<Vec<Bytes>, Error> {
        self.give(true).await
    }

    /// All units that are wanted and were not given yet, once the last of them is here.
    ///
    /// # Errors
    ///
    /// As of [`fetch`].
    pub(super) async fn rest(&mut self) -> Result<Vec<Bytes>, Error> {
        self.give(false).await
    }

    async fn give(&mut self, early: bool) -> Result<Vec<Bytes>, Error> {
        let deadline = self.deadline.into();
        let in_time = time::timeout_at(deadline, self.advance(early)).await;
        in_time.unwrap_or(Err(Error::TimedOut("a stripe did not come")))?;
        let here = self.wanted[self.given..].iter();
        let here = here.take_while(|index| self.plan.is_here(**index));
        let units: Vec<Bytes> = here.map(|&index| self.units[index].clone()).collect();
        self.given += units.len();
        Ok(units)
    }

    /// Goes on until all units are here, or, if `early`, the next one.
    async fn advance(&mut self, early: bool) -> Result<(), Error> {
        loop {
            for index in self.plan.asks(self.pool.late_at()) {
                let asking = self.ask(index);
                self.asked.push(Box::pin(asking));
            }
            match self.plan.standing() {
                FetchStatus::Whole => return Ok(()),
                FetchStatus::Reconstructible => {
                    self.reconstruct();
                    return Ok(());
                }
                FetchStatus::Lost { have } => return Err(self.too_few(have)),
                FetchStatus::Waiting if early && self.plan.is_here(self.wanted[self.given]) => {
                    return Ok(());
                }
                FetchStatus::Waiting => {}
            }
            let late_at = self.plan.next_late();
            tokio::select! {
                biased;
                Some((index, asked_at, reply)) = self.asked.next() => {
                    self.take(index, asked_at, reply);
                }
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
            let now = clock::now();
            self.pool.latencies().answered(member, now - asked_at, now);
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
                self.pool.latencies().was_late(member, now);
            }
        }
    }

    /// Makes up for the units that did not come.
    fn reconstruct(&mut self) {
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
            self.plan.came(index);
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        time::sleep_until(instant.into()).await;
    }
}

//! The store against a naive model: random requests, every answer and the accounting compared after each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_wire::{
    ChunkId, WriteId,
    footprint::{CHUNK_OVERHEAD, LABEL_ALLOWANCE, UNIT_OVERHEAD},
};
use proptest::prelude::*;

use super::{Expired, Finish, Limits, Put, Store, Usage};

const PENDING: u64 = 5;
const DEAD: u64 = 9;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Pending { touched: u64 },
    Complete,
    Dead { since: u64 },
}

#[derive(Clone, Debug)]
struct Chunk {
    units: BTreeMap<u32, (Vec<u8>, u64)>,
    label: Vec<u8>,
    state: State,
}

impl Chunk {
    fn weight(&self) -> u64 {
        let units = self.units.values().map(|(bytes, _)| bytes.len() as u64);
        // A long one takes whole pages.
        let taken = units.map(|length| match length {
            ..=16_384 => length,
            _ => length.div_ceil(4096) * 4096,
        });
        let sum: u64 = taken.map(|taken| taken + UNIT_OVERHEAD).sum();
        let label = self.label.len().saturating_sub(LABEL_ALLOWANCE) as u64;
        CHUNK_OVERHEAD + label + sum
    }
}

/// Chunks by sequence number, and everything else computed from them each time.
struct Model {
    capacity: u64,
    chunks: BTreeMap<u64, Chunk>,
}

impl Model {
    fn sum(&self, of: impl Fn(State) -> bool) -> (u64, u64) {
        let chosen = || self.chunks.values().filter(|chunk| of(chunk.state));
        (
            chosen().map(Chunk::weight).sum(),
            chosen().count().try_into().unwrap(),
        )
    }

    fn usage(&self) -> Usage {
        let (pending, pending_chunks) = self.sum(|state| matches!(state, State::Pending { .. }));
        let (dead, dead_chunks) = self.sum(|state| matches!(state, State::Dead { .. }));
        Usage {
            used: self.sum(|_| true).0,
            pending,
            dead,
            complete_chunks: self.sum(|state| state == State::Complete).1,
            pending_chunks,
            dead_chunks,
        }
    }

    /// Makes the change if it fits, once as many dead chunks as needed are gone.
    fn try_change(&mut self, id: u64, changed: Chunk) -> bool {
        let before = self.chunks.clone();
        self.chunks.insert(id, changed);
        loop {
            if self.sum(|_| true).0 <= self.capacity {
                return true;
            }
            let dead = self
                .chunks
                .iter()
                .filter_map(|(&id, chunk)| match chunk.state {
                    State::Dead { since } => Some((since, id)),
                    _ => None,
                });
            let Some((_, oldest)) = dead.min() else {
                self.chunks = before;
                return false;
            };
            self.chunks.remove(&oldest);
        }
    }

    fn put(&mut self, now: u64, id: u64, number: u32, bytes: &[u8], checksum: u64) -> Put {
        let mut chunk = self.chunks.get(&id).cloned().unwrap_or(Chunk {
            units: BTreeMap::new(),
            label: Vec::new(),
            state: State::Pending { touched: now },
        });
        let State::Pending { touched } = &mut chunk.state else {
            return Put::Conflict;
        };
        *touched = now;
        chunk.units.insert(number, (bytes.to_vec(), checksum));
        match self.try_change(id, chunk) {
            true => Put::Stored,
            false => Put::Full,
        }
    }

    fn finish(&mut self, id: u64, count: u32, label: &[u8]) -> Finish {
        let mut chunk = self.chunks.get(&id).cloned().unwrap_or(Chunk {
            units: BTreeMap::new(),
            label: Vec::new(),
            state: State::Pending { touched: 0 },
        });
        let whole = chunk.units.keys().copied().eq(0..count);
        match chunk.state {
            State::Complete if whole => return Finish::Done,
            State::Pending { .. } if whole => {}
            _ => return Finish::Incomplete,
        }
        chunk.state = State::Complete;
        chunk.label = label.to_vec();
        match self.try_change(id, chunk) {
            true => Finish::Done,
            false => Finish::Full,
        }
    }

    fn delete(&mut self, now: u64, id: u64) {
        match self.chunks.get_mut(&id) {
            Some(chunk) if chunk.state == State::Complete => {
                chunk.state = State::Dead { since: now };
            }
            Some(chunk) if matches!(chunk.state, State::Pending { .. }) => {
                self.chunks.remove(&id);
            }
            _ => {}
        }
    }

    fn expire(&mut self, now: u64) -> Expired {
        let mut expired = Expired::default();
        self.chunks.retain(|_, chunk| match chunk.state {
            State::Pending { touched } if touched + PENDING <= now => {
                expired.abandoned += 1;
                false
            }
            State::Dead { since } if since + DEAD <= now => {
                expired.dead += 1;
                false
            }
            _ => true,
        });
        expired
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, u32, Vec<u8>, u64),
    Finish(u64, u32, Vec<u8>),
    Delete(u64),
    Free(u64),
    Expire,
    Clear,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        12 => (0..6u64, 0..4u32, bytes(2000), any::<u64>())
            .prop_map(|(id, number, bytes, checksum)| Step::Put(id, number, bytes, checksum)),
        4 => (0..6u64, 0..4u32, prop_oneof![16_380..16_390usize, 1..40_000usize], any::<u64>())
            .prop_map(|(id, number, length, checksum)| {
                Step::Put(id, number, vec![checksum as u8; length], checksum)
            }),
        6 => (0..6u64, 0..4u32, bytes(1000)).prop_map(|(id, count, label)| Step::Finish(id, count, label)),
        3 => (0..6u64).prop_map(Step::Delete),
        2 => (0..6u64).prop_map(Step::Free),
        3 => Just(Step::Expire),
        1 => Just(Step::Clear),
        4 => (1..4u64).prop_map(Step::Pass),
    ]
}

fn id(sequence: u64) -> ChunkId {
    ChunkId {
        write: WriteId { epoch: 1, sequence },
        index: 0,
    }
}

proptest! {
    #[test]
    fn the_store_answers_and_accounts_as_the_model_does(
        steps in prop::collection::vec(step(), 1..200),
        capacity in prop_oneof![Just(8000), Just(100_000)],
    ) {
        let limits = Limits {
            capacity,
            pending_timeout: Duration::from_secs(PENDING),
            dead_timeout: Duration::from_secs(DEAD),
        };
        let mut store = Store::new(limits);
        let mut model = Model { capacity: limits.capacity, chunks: BTreeMap::new() };
        let start = Instant::now();
        let mut now = 0;
        for step in steps {
            let instant = start + Duration::from_secs(now);
            match step {
                Step::Put(chunk, number, bytes, checksum) => {
                    let expected = model.put(now, chunk, number, &bytes, checksum);
                    let put = store.put(instant, id(chunk), number, bytes.into(), checksum);
                    prop_assert_eq!(put, expected);
                }
                Step::Finish(chunk, count, label) => {
                    let expected = model.finish(chunk, count, &label);
                    prop_assert_eq!(store.finish(id(chunk), count, label.into()), expected);
                }
                Step::Delete(chunk) => {
                    model.delete(now, chunk);
                    store.delete(instant, id(chunk));
                }
                Step::Free(chunk) => {
                    model.chunks.remove(&chunk);
                    store.free(id(chunk));
                }
                Step::Expire => prop_assert_eq!(store.expire(instant), model.expire(now)),
                Step::Clear => {
                    model.chunks.clear();
                    store.clear();
                }
                Step::Pass(seconds) => now += seconds,
            }

            prop_assert_eq!(store.usage(), model.usage());
            prop_assert!(store.usage().used <= limits.capacity);
            for chunk in 0..6 {
                let modelled = model.chunks.get(&chunk);
                for number in 0..4 {
                    let unit = store.get(id(chunk), number);
                    let held = unit.map(|unit| (unit.bytes.to_vec(), unit.checksum));
                    let expected = modelled.and_then(|chunk| chunk.units.get(&number).cloned());
                    prop_assert_eq!(held, expected);
                }
                let is_pending = |chunk: &Chunk| matches!(chunk.state, State::Pending { .. });
                let is_finished = modelled.is_some_and(|chunk| !is_pending(chunk));
                prop_assert_eq!(store.is_finished(id(chunk)), is_finished);
                let complete = modelled.filter(|chunk| chunk.state == State::Complete);
                let label = complete.map(|chunk| Bytes::from(chunk.label.clone()));
                prop_assert_eq!(store.label(id(chunk)).map(Bytes::copy_from_slice), label);
            }
        }
    }
}

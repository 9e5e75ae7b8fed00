//! A node that keeps units in memory and fails as it is told to.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::{NodeLink, mux::CALL_DEADLINE};
use infinicache_wire::{ChunkId, Reply, Request, WriteId};
use tokio::time;

/// How a node behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mood {
    #[default]
    Well,
    /// Nobody has a link to it, and what it held is gone.
    Dead,
    /// It never answers.
    Frozen,
    /// It takes so long for each answer.
    Slow(Duration),
    /// It has no room for another unit.
    Full,
    /// It keeps units, and after so long its link breaks before it has said so.
    Unheard(Duration),
    /// It loses units, and after so long its link breaks.
    Breaking(Duration),
}

/// A node. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct FakeNode(Arc<Mutex<State>>);

#[derive(Default)]
pub struct State {
    pub mood: Mood,
    /// After so many further units it behaves otherwise.
    pub turns: Option<(usize, Mood)>,
    units: HashMap<(ChunkId, u32), (Bytes, u64)>,
    complete: HashSet<ChunkId>,
    /// Chunks of these indexes come back with a bit flipped.
    pub corrupt: HashSet<u8>,
    /// Requests received.
    pub gets: usize,
    pub puts: usize,
}

impl FakeNode {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Takes `units` more units and then behaves otherwise.
    pub fn set_after(&self, units: usize, mood: Mood) {
        self.state().turns = Some((units, mood));
    }

    /// Loses what it holds of a chunk.
    pub fn lose(&self, chunk: ChunkId) {
        self.state().units.retain(|(held, _), _| *held != chunk);
    }

    /// Loses one unit.
    pub fn lose_unit(&self, chunk: ChunkId, unit: u32) {
        self.state()
            .units
            .remove(&(chunk, unit))
            .expect("it holds the unit");
    }

    /// The units of a chunk, in order; those that it lacks between others are `None`.
    pub fn units(&self, chunk: ChunkId) -> Vec<Option<Bytes>> {
        let state = self.state();
        let numbers = state
            .units
            .keys()
            .filter(|(held, _)| *held == chunk)
            .map(|(_, unit)| unit);
        let count = numbers.max().map_or(0, |last| last + 1);
        (0..count)
            .map(|unit| Some(state.units.get(&(chunk, unit))?.0.clone()))
            .collect()
    }

    /// Whether it holds anything of a write.
    pub fn holds(&self, write: WriteId) -> bool {
        self.state()
            .units
            .keys()
            .any(|(chunk, _)| chunk.write == write)
    }

    pub fn is_empty(&self) -> bool {
        self.state().units.is_empty()
    }

    pub fn is_complete(&self, chunk: ChunkId) -> bool {
        self.state().complete.contains(&chunk)
    }

    /// Does what a request asks for, at once.
    pub fn serve(&self, request: Request) -> Reply {
        let mut state = self.state();
        match request {
            Request::Ping { .. } => Reply::DONE,
            Request::Put {
                chunk,
                unit,
                checksum,
                bytes,
            } => {
                if state.complete.contains(&chunk) {
                    return Reply::Conflict;
                }
                state.puts += 1;
                // A real node copies off the network: what it keeps is no budget's any more.
                let kept = Bytes::copy_from_slice(&bytes);
                state.units.insert((chunk, unit), (kept, checksum));
                Reply::DONE
            }
            Request::Finish { chunk, units, .. } => {
                let is_whole = (0..units).all(|unit| state.units.contains_key(&(chunk, unit)));
                if !is_whole {
                    return Reply::Incomplete;
                }
                state.complete.insert(chunk);
                Reply::DONE
            }
            Request::Get { chunk, unit, .. } => {
                state.gets += 1;
                let Some((bytes, checksum)) = state.units.get(&(chunk, unit)).cloned() else {
                    return Reply::NotFound;
                };
                let bytes = match state.corrupt.contains(&chunk.index) {
                    false => bytes,
                    true => flipped(&bytes),
                };
                Reply::Done { bytes, checksum }
            }
            Request::Delete { chunk } | Request::Free { chunk } => {
                state.units.retain(|(held, _), _| *held != chunk);
                state.complete.remove(&chunk);
                Reply::DONE
            }
            Request::Expire { .. }
            | Request::Inventory { .. }
            | Request::Store { .. }
            | Request::Copy { .. }
            | Request::StoreView(_)
            | Request::ReadState => {
                panic!("only a proxy asks for this: {request:?}")
            }
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        let is_put = matches!(request, Request::Put { .. });
        let mood = {
            let mut state = self.state();
            if is_put {
                match state.turns {
                    Some((0, mood)) => (state.mood, state.turns) = (mood, None),
                    Some((left, mood)) => state.turns = Some((left - 1, mood)),
                    None => {}
                }
            }
            if state.mood == Mood::Dead {
                state.units.clear();
                state.complete.clear();
            }
            state.mood
        };
        match mood {
            Mood::Well => {}
            Mood::Dead => return Reply::Unreachable,
            Mood::Frozen => pending().await,
            Mood::Slow(delay) => time::sleep(delay).await,
            Mood::Full if is_put => return Reply::Full,
            Mood::Full => {}
            Mood::Unheard(delay) if is_put => {
                self.serve(request);
                time::sleep(delay).await;
                return Reply::Unreachable;
            }
            Mood::Breaking(delay) if is_put => {
                time::sleep(delay).await;
                return Reply::Unreachable;
            }
            Mood::Unheard(_) | Mood::Breaking(_) => {}
        }
        self.serve(request)
    }
}

impl NodeLink for FakeNode {
    async fn call(&self, request: Request) -> Reply {
        self.call_noting(request, || ()).await
    }

    async fn call_noting(&self, request: Request, sent: impl FnOnce() + Send) -> Reply {
        // As on a real link, an answer takes at least a turn of the scheduler.
        tokio::task::yield_now().await;
        sent();
        let answered = time::timeout(CALL_DEADLINE, self.answer(request)).await;
        answered.unwrap_or(Reply::Late)
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

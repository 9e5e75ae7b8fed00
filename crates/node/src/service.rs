//! One request answered: the store and the counters behind a link.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use infinicache_host::fail_point;
use infinicache_wire::{ChunkId, Reply, Request, message::NodeReport};
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::{
    acceptor::Acceptor,
    closed_chunks::ClosedChunks,
    metrics::{Counters, Resident},
    store::{Finish, Limits, Put, Store, StoredUnit},
};

#[derive(Debug)]
pub(crate) struct Service {
    store: Mutex<Store>,
    closed: Mutex<ClosedChunks>,
    acceptor: Mutex<Acceptor>,
    pub(crate) counters: Counters,
    resident: Resident,
    /// Told when the last chunk that counts has gone.
    until_empty: Notify,
    /// Whether the process ends, now that it has. Read and written while the store is locked.
    is_gone: AtomicBool,
}

impl Service {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            store: Mutex::new(Store::new(limits)),
            closed: Mutex::default(),
            acceptor: Mutex::default(),
            counters: Counters::default(),
            resident: Resident::default(),
            until_empty: Notify::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Answers a request that the proxy did not send, and that may come later than what the proxy
    /// sent after it. Never waits.
    pub(crate) fn answer_late(&self, now: Instant, request: Request) -> Reply {
        match &request {
            Request::Put { chunk, .. }
                if self.closed().has(*chunk, now) && !fail_point("freed_stays_freed") =>
            {
                Reply::Conflict
            }
            _ => self.answer(now, request),
        }
    }

    /// Answers a request. Never waits.
    pub(crate) fn answer(&self, now: Instant, request: Request) -> Reply {
        match request {
            Request::Ping { now_ms, lease } => {
                self.acceptor().pinged(now_ms, lease, now);
                let report = serde_json::to_vec(&self.report(now));
                let bytes = report.expect("plain data has a JSON form").into();
                Reply::Done { bytes, checksum: 0 }
            }
            Request::Put {
                chunk,
                unit,
                checksum,
                bytes,
            } => {
                self.counters.bytes_in.inc_by(bytes.len() as u64);
                let put = self.take(|store| store.put(now, chunk, unit, bytes, checksum));
                self.told(put, chunk, unit)
            }
            Request::Store {
                chunk,
                checksum,
                whole,
            } => {
                self.counters.bytes_in.inc_by(whole.unit().len() as u64);
                let put = self.take(|store| store.keep(now, chunk, &whole, checksum));
                self.told(put, chunk, 0)
            }
            Request::Finish {
                chunk,
                units,
                label,
            } => match self.store().finish(chunk, units, label) {
                Finish::Done => Reply::DONE,
                Finish::Incomplete => Reply::Incomplete,
                Finish::Full => Reply::Full,
            },
            Request::Get { chunk, unit, want } => {
                let store = self.store();
                // A relay set aside as much as was asked for, so more is never sent.
                let held = store
                    .get(chunk, unit)
                    .filter(|unit| unit.bytes.len() <= want as usize);
                let Some(held) = held else {
                    self.counters.not_found.inc();
                    return Reply::NotFound;
                };
                self.counters.gets.inc();
                self.counters.bytes_out.inc_by(held.bytes.len() as u64);
                Reply::Done {
                    bytes: held.bytes,
                    checksum: held.checksum,
                }
            }
            Request::Delete { chunk } => {
                self.change(|store| store.delete(now, chunk));
                Reply::DONE
            }
            Request::Free { chunk } => {
                if !self.store().is_finished(chunk) {
                    self.closed().close(chunk, now);
                }
                self.change(|store| store.free(chunk));
                Reply::DONE
            }
            Request::Expire { chunk, expiry } => match self.store().set_expiry(chunk, expiry) {
                true => Reply::DONE,
                false => Reply::NotFound,
            },
            Request::Inventory { after } => Reply::Done {
                bytes: self.store().inventory(after).into_bytes(),
                checksum: 0,
            },
            Request::ReadState => Reply::Done {
                bytes: self.acceptor().promise(now).to_bytes(),
                checksum: 0,
            },
            // It takes a while: the link sees to it.
            Request::Copy { .. } => Reply::Unreachable,
            Request::StoreView(view) => match self.acceptor().store_view(view) {
                true => Reply::DONE,
                false => Reply::Conflict,
            },
        }
    }

    /// Counts what became of a unit, and says it.
    fn told(&self, put: Option<Put>, chunk: ChunkId, unit: u32) -> Reply {
        let Some(put) = put else {
            return Reply::Unreachable;
        };
        match put {
            Put::Stored => {
                self.counters.puts.inc();
                Reply::DONE
            }
            Put::Full => {
                self.counters.full.inc();
                debug!(%chunk, unit, "no room for a unit");
                Reply::Full
            }
            Put::Conflict => Reply::Conflict,
        }
    }

    /// Whether a complete chunk of exactly `units` units is held.
    pub(crate) fn is_whole(&self, chunk: ChunkId, units: u32) -> bool {
        self.store().is_whole(chunk, units)
    }

    /// One unit of a chunk, to be passed on.
    pub(crate) fn unit(&self, chunk: ChunkId, number: u32) -> Option<StoredUnit> {
        self.store().get(chunk, number)
    }

    /// What the node tells of itself.
    pub(crate) fn report(&self, now: Instant) -> NodeReport {
        let usage = self.store().usage();
        let counters = &self.counters;
        NodeReport {
            capacity_bytes: self.capacity(),
            used_bytes: usage.used,
            pending_bytes: usage.pending,
            dead_bytes: usage.dead,
            chunks: usage.complete_chunks,
            puts: counters.puts.get(),
            gets: counters.gets.get(),
            not_found: counters.not_found.get(),
            full: counters.full.get(),
            abandoned: counters.abandoned.get(),
            bytes_in: counters.bytes_in.get(),
            bytes_out: counters.bytes_out.get(),
            resident_bytes: self.resident.bytes(now),
        }
    }

    /// Bytes that may be held.
    pub(crate) fn capacity(&self) -> u64 {
        self.store().limits().capacity
    }

    /// Bytes that are held.
    pub(crate) fn used(&self) -> u64 {
        self.store().usage().used
    }

    /// Lets go of what has been waiting too long.
    pub(crate) fn expire(&self, now: Instant) {
        let expired = self.change(|store| store.expire(now));
        if expired.abandoned > 0 {
            self.counters.abandoned.inc_by(expired.abandoned);
            warn!(
                chunks = expired.abandoned,
                "dropped chunks that no proxy went on writing"
            );
        }
        if expired.dead > 0 {
            debug!(
                chunks = expired.dead,
                "dropped dead chunks that no proxy freed"
            );
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&self) {
        self.change(Store::clear);
    }

    /// Lets go of what only a proxy that is fenced could go on with.
    pub(crate) fn forget_unfinished(&self) {
        self.change(Store::forget_unfinished);
    }

    /// A proxy that welcomed the node may rely on it for a while; `later` if it takes the place
    /// of an earlier run.
    pub(crate) fn follow(&self, later: bool, now: Instant) {
        self.acceptor().welcomed(later, now);
    }

    /// Waits until no chunk is held that anybody could miss. From then on none is taken: it would
    /// be acknowledged, and go with the process.
    pub(crate) async fn until_empty(&self) {
        while !self.close_if_empty() {
            self.until_empty.notified().await;
        }
    }

    fn close_if_empty(&self) -> bool {
        let store = self.store();
        let is_vacant = store.is_vacant();
        if is_vacant {
            self.is_gone.store(true, Relaxed);
        }
        is_vacant
    }

    /// Has the store take something; `None` if the process ends.
    fn take(&self, take: impl FnOnce(&mut Store) -> Put) -> Option<Put> {
        self.change(|store| (!self.is_gone.load(Relaxed)).then(|| take(store)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store();
        let outcome = change(&mut store);
        if store.is_vacant() {
            self.until_empty.notify_one();
        }
        outcome
    }

    pub(crate) fn acceptor(&self) -> MutexGuard<'_, Acceptor> {
        self.acceptor.lock().expect("acceptor does not panic")
    }

    fn closed(&self) -> MutexGuard<'_, ClosedChunks> {
        self.closed.lock().expect("what is closed does not panic")
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A store that was left half changed must not be served from.
        self.store.lock().expect("the store does not panic")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use infinicache_wire::{ChunkId, LabelledUnit, WriteId};

    use super::*;

    const CHUNK: ChunkId = ChunkId {
        write: WriteId {
            epoch: 1,
            sequence: 2,
        },
        index: 3,
    };

    fn service() -> Service {
        Service::new(Limits {
            capacity: 2000,
            pending_timeout: Duration::from_secs(60),
            dead_timeout: Duration::from_secs(300),
        })
    }

    fn put(unit: u32, length: usize) -> Request {
        Request::Put {
            chunk: CHUNK,
            unit,
            checksum: 9,
            bytes: vec![1; length].into(),
        }
    }

    fn get(unit: u32, want: u32) -> Request {
        Request::Get {
            chunk: CHUNK,
            unit,
            want,
        }
    }

    #[test]
    fn every_outcome_has_its_reply_and_its_counter() {
        let (service, now) = (service(), Instant::now());
        let answer = |request| service.answer(now, request);
        let finish = |units| Request::Finish {
            chunk: CHUNK,
            units,
            label: Bytes::new(),
        };
        assert_eq!(answer(get(0, 100)), Reply::NotFound);
        assert_eq!(answer(put(0, 100)), Reply::DONE);
        assert_eq!(answer(put(1, 2000)), Reply::Full);
        assert_eq!(answer(finish(2)), Reply::Incomplete);
        assert_eq!(answer(finish(1)), Reply::DONE);
        assert_eq!(answer(put(0, 100)), Reply::Conflict);
        let unit = Reply::Done {
            bytes: vec![1; 100].into(),
            checksum: 9,
        };
        assert_eq!(answer(get(0, 100)), unit);
        assert_eq!(answer(Request::Delete { chunk: CHUNK }), Reply::DONE);
        assert_eq!(answer(get(0, 100)), unit);

        let Reply::Done { bytes, .. } = answer(Request::Ping {
            now_ms: 1,
            lease: infinicache_wire::LeaseOffer::default(),
        }) else {
            panic!("a ping is answered by a report");
        };
        let report: NodeReport = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(report.puts, 1);
        assert_eq!(report.gets, 2);
        assert_eq!(report.not_found, 1);
        assert_eq!(report.full, 1);
        assert_eq!(report.bytes_in, 2200);
        assert_eq!(report.bytes_out, 200);
        assert_eq!(report.dead_bytes, report.used_bytes);
        assert!(report.used_bytes > 100);

        assert_eq!(answer(Request::Free { chunk: CHUNK }), Reply::DONE);
        assert_eq!(service.used(), 0);
    }

    #[test]
    fn a_whole_chunk_is_kept_in_one_go() {
        let (service, now) = (service(), Instant::now());
        let store = |unit: &[u8]| Request::Store {
            chunk: CHUNK,
            checksum: 9,
            whole: LabelledUnit::new(b"label", unit).unwrap(),
        };
        assert_eq!(service.answer(now, store(&[0; 2000])), Reply::Full);
        assert_eq!(service.used(), 0);
        assert_eq!(service.answer(now, store(b"unit")), Reply::DONE);
        assert_eq!(service.answer(now, store(b"unit")), Reply::DONE);
        assert!(service.is_whole(CHUNK, 1));
        let unit = Reply::Done {
            bytes: Bytes::from_static(b"unit"),
            checksum: 9,
        };
        assert_eq!(service.answer(now, get(0, 100)), unit);
        assert_eq!(service.report(now).chunks, 1);

        service.answer(now, Request::Delete { chunk: CHUNK });
        assert_eq!(service.answer(now, store(b"unit")), Reply::Conflict);
    }

    #[tokio::test]
    async fn a_node_that_goes_because_it_is_empty_takes_nothing_more() {
        let (service, now) = (service(), Instant::now());
        let store = Request::Store {
            chunk: CHUNK,
            checksum: 9,
            whole: LabelledUnit::new(b"label", b"unit").unwrap(),
        };
        assert_eq!(service.answer(now, store.clone()), Reply::DONE);
        service.answer(now, Request::Delete { chunk: CHUNK });
        service.answer(now, Request::Free { chunk: CHUNK });
        service.until_empty().await;
        assert_eq!(service.answer(now, put(0, 100)), Reply::Unreachable);
        assert_eq!(service.answer(now, store), Reply::Unreachable);
        assert_eq!(service.used(), 0);
    }

    #[test]
    fn no_more_is_given_than_was_asked_for() {
        let (service, now) = (service(), Instant::now());
        service.answer(now, put(0, 100));
        assert_eq!(service.answer(now, get(0, 99)), Reply::NotFound);
    }
}

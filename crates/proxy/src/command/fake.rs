//! A store in memory, and an observer that remembers, for tests.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::{Error, Expiry, ReadError, Source, Terms, Version};
use infinicache_host::clock;
use infinicache_wire::control::ControlCommand;

use super::{
    Answer, CommandRecord, ErrorReply, Observe,
    store::{Resources, SetOutcome, Store, StoredValue, Upload, ValueInfo, ValueStream},
};
use crate::info::{ClientLimits, Figures};

/// Values up to this length are small.
const SMALL: usize = 1_000;

/// Values up to this length are at hand once they are found.
const AT_HAND: usize = 100;

/// Longest value that is taken.
pub(crate) const MAX_OBJECT: u64 = 10_000_000;

/// Why a longer one is not.
pub(crate) const TOO_LONG: &str = "it is too long";

/// How a value is cut into pieces.
const PIECE: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct FakeStore(Arc<Mutex<Fakes>>);

#[derive(Debug, Default)]
struct Fakes {
    values: HashMap<Bytes, Value>,
    faults: Faults,
    /// Whether the last upload was blind.
    blind: bool,
    /// The thread on which a value was looked for last.
    found_on: Option<String>,
    /// How often connections are still to be found to own something.
    owned_for: usize,
}

/// What shall go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Uploads fail when this many bytes were read.
    pub(crate) upload_after: Option<usize>,
    /// Reads fail when this many bytes were given.
    pub(crate) read_after: Option<usize>,
    /// Values are lost.
    pub(crate) lost: bool,
    /// So many reads find that their value was replaced.
    pub(crate) replaced: usize,
    /// It does not know what there is.
    pub(crate) closed: bool,
    /// It is elsewhere: no answer is there at once.
    pub(crate) remote: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Value {
    bytes: Bytes,
    expires_at: Option<u64>,
}

impl FakeStore {
    pub(crate) fn inject(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    /// Whether an event loop has looked for a value last.
    pub(crate) fn is_on_event_loop(&self) -> bool {
        self.0.lock().unwrap().found_on.as_deref() == Some("event loop")
    }

    /// From now on, connections own something for as many times as it is looked for it.
    pub(crate) fn own_for(&self, times: usize) {
        self.0.lock().unwrap().owned_for = times;
    }

    /// How many of these times are left.
    pub(crate) fn owned_for(&self) -> usize {
        self.0.lock().unwrap().owned_for
    }

    /// Whether the last upload was blind.
    pub(crate) fn was_blind(&self) -> bool {
        self.0.lock().unwrap().blind
    }

    /// Waits for as long as a question takes that is asked of another process.
    async fn travel(&self) {
        if self.faults().remote {
            tokio::task::yield_now().await;
        }
    }

    fn faults(&self) -> Faults {
        self.0.lock().unwrap().faults
    }

    fn live(&self, key: &[u8]) -> Option<Value> {
        let now = self.now();
        let mut fakes = self.0.lock().unwrap();
        let live = |value: &Value| value.expires_at.is_none_or(|at| at > now);
        fakes.values.retain(|_, value| live(value));
        fakes.values.get(key).cloned()
    }
}

impl Store for FakeStore {
    type Value = Value;
    type Stream = Pieces;
    type Upload = Received;
    type Resources = Holdings;

    async fn is_open(&self) -> Result<(), ErrorReply> {
        self.travel().await;
        match self.faults().closed {
            true => Err(ErrorReply::LOADING),
            false => Ok(()),
        }
    }

    fn now(&self) -> u64 {
        clock::unix_ms()
    }

    async fn stat(&self, key: &[u8]) -> Result<Option<ValueInfo>, Error> {
        self.travel().await;
        Ok(self.live(key).map(|value| ValueInfo {
            size: value.bytes.len() as u64,
            expires_at: value.expires_at,
        }))
    }

    async fn len(&self) -> Result<u64, Error> {
        self.travel().await;
        Ok(self.0.lock().unwrap().values.len() as u64)
    }

    async fn find(&self, key: &[u8]) -> Result<Option<Value>, Error> {
        let here = thread::current().name().map(str::to_owned);
        self.0.lock().unwrap().found_on = here;
        self.travel().await;
        Ok(self.live(key))
    }

    fn at_hand(&self, found: &Value, range: Range<u64>) -> Option<Bytes> {
        let faults = self.faults();
        let is_read = faults.lost || faults.read_after.is_some() || faults.replaced > 0;
        let is_here = found.bytes.len() <= AT_HAND && !is_read;
        is_here.then(|| found.bytes.slice(range.start as usize..range.end as usize))
    }

    fn is_small(&self, size: u64) -> bool {
        (1..=SMALL as u64).contains(&size)
    }

    async fn read(&self, found: &Value, range: Range<u64>) -> Result<Option<Pieces>, ReadError> {
        let faults = self.faults();
        if faults.replaced > 0 {
            self.0.lock().unwrap().faults.replaced -= 1;
            let lost = Error::Lost { have: 0, need: 1 };
            return Err(ReadError::Replaced(lost));
        }
        let bytes = found.bytes.slice(range.start as usize..range.end as usize);
        let length = bytes.len() as u64;
        Ok((!faults.lost).then_some(Pieces {
            bytes,
            length,
            fail_after: faults.read_after,
        }))
    }

    async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        terms: Terms,
    ) -> Result<SetOutcome<Value>, Error> {
        let (size, blind) = (value.len() as u64, terms.are_blind());
        let received = self.upload(key, size, blind, value).await?;
        received.commit(terms).await
    }

    async fn upload(
        &self,
        key: &[u8],
        size: u64,
        blind: bool,
        mut source: impl Source,
    ) -> Result<Received, Error> {
        if size > MAX_OBJECT {
            return Err(Error::Refused(TOO_LONG.into()));
        }
        self.0.lock().unwrap().blind = blind;
        let mut value = Vec::new();
        while value.len() < size as usize {
            if self
                .faults()
                .upload_after
                .is_some_and(|limit| value.len() >= limit)
            {
                return Err(Error::OutOfMemory("injected".into()));
            }
            let piece = source.read(PIECE).await?;
            assert!(
                !piece.is_empty(),
                "a source gives as many bytes as were announced"
            );
            value.extend_from_slice(&piece);
        }
        assert_eq!(value.len() as u64, size);
        Ok(Received {
            store: self.clone(),
            key: Bytes::copy_from_slice(key),
            bytes: value.into(),
        })
    }

    async fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.live(key).is_some() && self.0.lock().unwrap().values.remove(key).is_some())
    }

    async fn set_expiry(&self, key: &[u8], at: Option<u64>) -> Result<bool, Error> {
        let mut fakes = self.0.lock().unwrap();
        let value = fakes.values.get_mut(key);
        Ok(value.map(|value| value.expires_at = at).is_some())
    }

    async fn clear(&self) -> Result<(), Error> {
        self.0.lock().unwrap().values.clear();
        Ok(())
    }

    fn no_resources(&self) -> Holdings {
        Holdings(self.clone())
    }

    async fn control(&self, _: &mut Holdings, _: ControlCommand) -> Answer {
        Err(ErrorReply::text("ERR no pool here"))
    }
}

/// What a connection is [said](FakeStore::own_for) to own.
pub(crate) struct Holdings(FakeStore);

impl Resources for Holdings {
    fn is_nothing(&mut self) -> bool {
        let owned_for = &mut self.0.0.lock().unwrap().owned_for;
        let is_nothing = *owned_for == 0;
        *owned_for = owned_for.saturating_sub(1);
        is_nothing
    }
}

impl StoredValue for Value {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

pub(crate) struct Pieces {
    bytes: Bytes,
    length: u64,
    fail_after: Option<usize>,
}

impl ValueStream for Pieces {
    fn len(&self) -> u64 {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let given = self.length as usize - self.bytes.len();
        if self.fail_after.is_some_and(|limit| given >= limit) {
            return Err(io::Error::other("injected").into());
        }
        let mut stripe = self.bytes.split_to(self.bytes.len().min(PIECE));
        let head = stripe.split_to(stripe.len() / 2);
        Ok(Some(vec![head, stripe]).filter(|parts| !parts[1].is_empty()))
    }
}

pub(crate) struct Received {
    store: FakeStore,
    key: Bytes,
    bytes: Bytes,
}

impl Upload for Received {
    type Value = Value;

    async fn commit(self, terms: Terms) -> Result<SetOutcome<Value>, Error> {
        let previous = self.store.live(&self.key);
        if !terms.hold(previous.is_some()) {
            return Ok(SetOutcome::ConditionFailed { current: previous });
        }
        let expires_at = match terms.expiry {
            Expiry::Never => None,
            Expiry::Keep => previous.as_ref().and_then(|previous| previous.expires_at),
            Expiry::At(at) => Some(at),
            Expiry::After(ttl_ms) => Some(self.store.now() + ttl_ms),
        };
        let value = Value {
            bytes: self.bytes,
            expires_at,
        };
        self.store.0.lock().unwrap().values.insert(self.key, value);
        let version = Version {
            epoch: 1,
            counter: 1,
        };
        Ok(SetOutcome::Stored { version, previous })
    }
}

/// Remembers what is reported, in words.
#[derive(Debug, Default)]
pub(crate) struct FakeObserver {
    told: Mutex<Vec<String>>,
    /// Reads that found a value, and that did not.
    reads: Mutex<(usize, usize)>,
}

impl FakeObserver {
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn reads(&self) -> (usize, usize) {
        *self.reads.lock().unwrap()
    }

    fn tell(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }
}

impl Observe for FakeObserver {
    fn connection_opened(&self) {
        self.tell("opened");
    }

    fn connection_closed(&self) {
        self.tell("closed");
    }

    fn connection_refused(&self) {
        self.tell("refused");
    }

    fn commands(&self, answered: &[CommandRecord]) {
        for it in answered {
            self.tell(format!("{} {:?} {}", it.name, it.result, it.bytes));
            let mut reads = self.reads.lock().unwrap();
            match it.hit {
                Some(true) => reads.0 += 1,
                Some(false) => reads.1 += 1,
                None => {}
            }
        }
    }

    fn aborted_reply(&self) {
        self.tell("aborted");
    }

    fn dropped(&self, reason: &'static str) {
        self.tell(reason);
    }

    fn figures(&self) -> Figures {
        Figures {
            limits: ClientLimits {
                max_clients: 10_000,
                keepalive: Duration::from_secs(300),
                max_object_bytes: MAX_OBJECT,
                ..ClientLimits::default()
            },
            ..Figures::default()
        }
    }
}

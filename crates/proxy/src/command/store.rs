//! What commands act on: the seam between Redis and whatever keeps the values.
//!
//! All that asks for something is a future, so that a store may be in another process. A store that
//! knows the answer gives a future that is ready when it is polled first: it costs no task switch
//! and no allocation, and that is how commands tell what is at hand
//! ([`FutureExt::now_or_never`](futures_util::FutureExt::now_or_never)). What is no future is
//! answered by this process.

use std::{convert::Infallible, ops::Range};

use bytes::Bytes;
use infinicache_engine::{CommitOutcome, Error, ReadError, Source, Terms};
use infinicache_wire::control::ControlCommand;

use super::{Answer, ErrorReply};

/// A map of keys to values. Expired keys are not in it.
pub(crate) trait Store: Clone + Send + Sync + 'static {
    /// A value that was current when it was found, and can be read until this is dropped. It may
    /// carry its bytes.
    type Value: StoredValue;
    /// A value on its way out.
    type Stream: ValueStream;
    /// A value that was received and is not current yet.
    type Upload: Upload<Value = Self::Value>;
    /// What a connection of a smart client has opened; it ends when this is dropped.
    type Resources: Resources;

    /// Whether it may answer.
    ///
    /// # Errors
    ///
    /// What to answer instead.
    fn is_open(&self) -> impl Future<Output = Result<(), ErrorReply>> + Send;

    /// Milliseconds since 1970, by the clock that expires its keys.
    fn now(&self) -> u64;

    /// What is known of a value without reading it.
    fn stat(&self, key: &[u8]) -> impl Future<Output = Result<Option<ValueInfo>, Error>> + Send;

    /// How many keys there are.
    fn len(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// The current value of a key, to be read.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing has changed.
    fn find(&self, key: &[u8]) -> impl Future<Output = Result<Option<Self::Value>, Error>> + Send;

    /// A part of a value that was found, if its bytes are here: it came with them, or they are in
    /// memory. What is given counts as given out.
    fn at_hand(&self, found: &Self::Value, range: Range<u64>) -> Option<Bytes>;

    /// Whether a value of `size` bytes may be held as a whole, of many that are read at once.
    fn is_small(&self, size: u64) -> bool;

    /// Begins to read a part of a value, once; `None` if the value is lost.
    fn read(
        &self,
        found: &Self::Value,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Option<Self::Stream>, ReadError>> + Send;

    /// Makes `value` the one of a key, under these terms.
    fn put(
        &self,
        key: &[u8],
        value: Bytes,
        terms: Terms,
    ) -> impl Future<Output = Result<SetOutcome<Self::Value>, Error>> + Send;

    /// Takes all of a value in. The terms of its commit ask nothing of the value before if it is
    /// `blind`. After an error a part of the source may be unread.
    fn upload(
        &self,
        key: &[u8],
        size: u64,
        blind: bool,
        source: impl Source,
    ) -> impl Future<Output = Result<Self::Upload, Error>> + Send;

    /// Removes a key; `false` if there was none.
    fn delete(&self, key: &[u8]) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Sets or clears the time when a key expires; `false` if there is no such key.
    fn set_expiry(
        &self,
        key: &[u8],
        at: Option<u64>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Removes every key.
    fn clear(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// What a connection owns that has just been accepted.
    fn no_resources(&self) -> Self::Resources;

    /// Answers a command of smart clients.
    fn control(
        &self,
        owned: &mut Self::Resources,
        command: ControlCommand,
    ) -> impl Future<Output = Answer> + Send;
}

/// What a connection has opened.
pub(crate) trait Resources: Send + Sync {
    /// Whether all of it has ended.
    fn is_nothing(&mut self) -> bool;
}

/// A value that can be read.
pub(crate) trait StoredValue: Send + Sync {
    /// Its length.
    fn size(&self) -> u64;
}

/// A value on its way out.
pub(crate) trait ValueStream: Send {
    /// How many bytes it gives in total.
    fn len(&self) -> u64;

    /// The next bytes.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Bytes>>, Error>> + Send;
}

/// A value that was received; dropping it gives it up.
pub(crate) trait Upload: Send {
    /// As of the store.
    type Value;

    /// Makes it the current value of its key, if the condition holds.
    fn commit(
        self,
        terms: Terms,
    ) -> impl Future<Output = Result<SetOutcome<Self::Value>, Error>> + Send;
}

/// What is known of a value without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValueInfo {
    /// Its length.
    pub(crate) size: u64,
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

/// What became of a value that was to be stored: a store answers once that is decided.
pub(crate) type SetOutcome<Value> = CommitOutcome<Value, Infallible>;

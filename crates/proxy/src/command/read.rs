//! Reads: how a command gets a value, or a part of it.
//!
//! A key is looked up once. What was found is given from memory if it is there, else read; that is
//! begun anew if the value was replaced, or may be had a moment later. What is read is taken as a
//! whole if it is small, and [sent](super::send) as it comes if not.

use std::ops::Range;

use bytes::Bytes;
use infinicache_engine::{Error, ReadError, ReadRetry};
use redis_protocol::resp2::types::BytesFrame;

use super::{
    Store,
    store::{StoredValue, ValueStream},
};

/// What is asked for.
pub(super) struct Read<'a> {
    pub(super) key: &'a Bytes,
    pub(super) part: Part,
}

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// The bytes between two positions, both included; negative ones count from the end.
    Between(i64, i64),
}

impl Part {
    /// Where it is in a value of `size` bytes, if that has such a part.
    fn of(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::All => Some(0..size),
            Self::Between(start, end) => {
                let range = between(start, end, size);
                (!range.is_empty()).then_some(range)
            }
        }
    }

    /// What is answered if there is no value, or no such part of it.
    pub(super) fn absent(self) -> BytesFrame {
        match self {
            Self::All => BytesFrame::Null,
            Self::Between(..) => BytesFrame::BulkString(Bytes::new()),
        }
    }
}

/// The part of a value of `size` bytes that lies between two positions.
fn between(start: i64, end: i64, size: u64) -> Range<u64> {
    // Redis, having counted from the end, takes what is before the value for
    // its first byte. So (0, -9) of "abc" is "a"; only two negative positions
    // in the wrong order are nothing.
    if size == 0 || (start < 0 && end < start) {
        return 0..0;
    }
    let last = i128::from(size) - 1;
    let position = |index: i64| match i128::from(index) {
        index @ ..0 => (last + 1 + index).max(0),
        index => index,
    };
    let (start, end) = (position(start), position(end).min(last));
    if start <= end {
        start as u64..end as u64 + 1
    } else {
        0..0
    }
}

/// What a look-up found.
pub(super) enum Found<S: Store> {
    /// There is no value.
    Nothing,
    /// The value has no such part.
    NoSuchPart,
    /// All that was asked for.
    AtHand(Bytes),
    /// It has to be read.
    Stored(Readable<S>),
}

impl Read<'_> {
    /// Looks the value up.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing has changed.
    pub(super) async fn find<S: Store>(&self, store: &S) -> Result<Found<S>, Error> {
        let Some(value) = store.find(self.key).await? else {
            return Ok(Found::Nothing);
        };
        let Some(range) = self.part.of(value.size()) else {
            return Ok(Found::NoSuchPart);
        };
        Ok(match store.at_hand(&value, range.clone()) {
            Some(bytes) => Found::AtHand(bytes),
            None => Found::Stored(Readable {
                key: Some(self.key.clone()),
                part: self.part,
                value,
                range,
            }),
        })
    }
}

/// A part of a value that has to be read.
pub(super) struct Readable<S: Store> {
    /// Whose value it is; that one is as good that takes its place. None if no other is.
    key: Option<Bytes>,
    part: Part,
    value: S::Value,
    range: Range<u64>,
}

/// What became of a read that was begun.
pub(super) enum Reading<S: Store> {
    /// There is no value any more, or no such part of it.
    Absent,
    /// All that was asked for.
    AtHand(Bytes),
    /// It is on its way.
    Stream(S::Stream),
}

impl<S: Store> Readable<S> {
    /// A value that was replaced by the command that answers with it.
    pub(super) fn replaced(value: S::Value) -> Self {
        Self {
            key: None,
            part: Part::All,
            range: 0..value.size(),
            value,
        }
    }

    /// The length of the value, of which this may be a part.
    pub(super) fn value_size(&self) -> u64 {
        self.value.size()
    }

    /// What is answered if it turns out to be lost.
    pub(super) fn absent(&self) -> BytesFrame {
        self.part.absent()
    }

    /// Begins to read it, or what has taken its place.
    pub(super) async fn begin(mut self, store: &S) -> Result<Reading<S>, Error> {
        let mut retry = ReadRetry::default();
        loop {
            let failed = match store.read(&self.value, self.range.clone()).await {
                Ok(Some(stream)) => return Ok(Reading::Stream(stream)),
                Ok(None) => return Ok(Reading::Absent),
                Err(failed) => failed,
            };
            let Some(key) = &self.key else {
                let failed = match failed {
                    ReadError::Replaced(_) => gone(),
                    failed => failed,
                };
                retry.wait(failed).await?;
                continue;
            };
            retry.wait(failed).await?;
            let part = self.part;
            match (Read { key, part }).find(store).await? {
                Found::Nothing | Found::NoSuchPart => return Ok(Reading::Absent),
                Found::AtHand(bytes) => return Ok(Reading::AtHand(bytes)),
                Found::Stored(readable) => self = readable,
            }
        }
    }
}

/// The value that a command has replaced is there no more.
fn gone() -> ReadError {
    let text = "the value was stored, but the one before it cannot be read any more";
    ReadError::Final(Error::Unreachable(text.into()))
}

/// All of a value that is small.
pub(super) async fn whole(mut stream: impl ValueStream) -> Result<Bytes, Error> {
    let mut value = Vec::new();
    while let Some(pieces) = stream.next().await? {
        value.extend(pieces);
    }
    Ok(match &mut value[..] {
        [whole] => std::mem::take(whole),
        pieces => pieces.concat().into(),
    })
}

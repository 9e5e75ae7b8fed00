//! A value becomes that of its key.

use std::{io, time::Duration};

use bytes::Bytes;
use infinicache_wire::Version;
use tokio::{io::AsyncRead, time};

use super::{Client, options::PutOptions, proxy::Proxy};
use crate::{Commit, Error, Source, Stream, Upload, upload};

impl Client {
    /// Makes `value` the value of `key`, and returns its version.
    ///
    /// # Guarantees
    ///
    /// The value survives the loss of as many of its nodes as the pool's code has
    /// parity chunks. Until this returns, others read the value before.
    ///
    /// # Errors
    ///
    /// Nothing has changed then; only after [`Error::TimedOut`] or
    /// [`Error::Unreachable`] it is not known whether the value was stored.
    ///
    /// # Cancellation
    ///
    /// Safe: the value is stored whole or not at all.
    pub async fn put(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Version, Error> {
        let stored = self.put_with(key, value, PutOptions::default()).await?;
        stored.ok_or_else(|| Error::Protocol("a condition failed that was not made".into()))
    }

    /// The same under conditions, or for a time; `None` if the condition did not hold.
    ///
    /// # Errors
    ///
    /// As of [`Client::put`].
    pub async fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Option<Version>, Error> {
        let (key, value) = (key.as_ref(), value.into());
        let proxy = self.proxy(key);
        let size = value.len() as u64;
        commit(upload(proxy, key, Some(size), value).await?, &options).await
    }

    /// Makes what `reader` gives the value of `key`, without holding more than a few stripes of it.
    ///
    /// Of a `size` that is told exactly so many bytes are read. If it is not
    /// told, the value ends where the reader does.
    ///
    /// # Errors
    ///
    /// As of [`Client::put`]; [`Error::Io`] is the reader's own, or says that it
    /// ended early or gave nothing for the length of the deadline.
    pub async fn put_stream(
        &self,
        key: impl AsRef<[u8]>,
        reader: impl AsyncRead + Unpin + Send,
        size: Option<u64>,
        options: PutOptions,
    ) -> Result<Option<Version>, Error> {
        let key = key.as_ref();
        let source = Watched {
            stream: Stream(reader),
            deadline: self.deadline(),
        };
        commit(upload(self.proxy(key), key, size, source).await?, &options).await
    }
}

async fn commit(upload: Upload<Proxy>, options: &PutOptions) -> Result<Option<Version>, Error> {
    match upload.commit(&options.terms()).await? {
        Commit::Stored { version, .. } => Ok(Some(version)),
        Commit::ConditionFailed { .. } => Ok(None),
        Commit::Incomplete(_) => Err(Error::Protocol("an upload that stayed incomplete".into())),
    }
}

/// A source that may not take longer than a deadline for each piece.
struct Watched<S> {
    stream: S,
    deadline: Duration,
}

impl<S: Source> Source for Watched<S> {
    async fn read(&mut self, length: usize) -> io::Result<Bytes> {
        let reading = time::timeout(self.deadline, self.stream.read(length)).await;
        reading
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the source stalls")))
    }
}

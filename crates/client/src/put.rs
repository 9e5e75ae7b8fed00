//! A value becomes that of its key.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::{CommitOutcome, Error, Stream, Upload, overwrite, upload};
use infinicache_wire::Version;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{self, Instant, Sleep},
};

use crate::{client::Client, options::PutOptions, proxy::Proxy};

impl Client {
    /// Makes `value` the value of `key`, and returns its version.
    ///
    /// # Guarantees
    ///
    /// The value survives the loss of as many of its nodes as the pool's code has
    /// parity chunks. Until this returns, others read the value before; or none, if the pool has
    /// no room for both.
    ///
    /// # Errors
    ///
    /// Nothing has changed then, but that the value before may be gone if the pool has no room for
    /// both; only after [`Error::TimedOut`] or
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
        let upload = if options.terms().are_blind() {
            overwrite(proxy, key, Some(size), value).await?
        } else {
            upload(proxy, key, Some(size), value).await?
        };
        commit(upload, &options).await
    }

    /// Makes what `reader` gives the value of `key`, without holding more than a few stripes of it.
    ///
    /// Of a `size` that is given exactly so many bytes are read. If it is not
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
        let source = Stream(Watched::new(reader, self.deadline()));
        let proxy = self.proxy(key);
        let upload = if options.terms().are_blind() {
            overwrite(proxy, key, size, source).await?
        } else {
            upload(proxy, key, size, source).await?
        };
        commit(upload, &options).await
    }
}

async fn commit(upload: Upload<Proxy>, options: &PutOptions) -> Result<Option<Version>, Error> {
    match upload.commit(&options.terms()).await? {
        CommitOutcome::Stored { version, .. } => Ok(Some(version)),
        CommitOutcome::ConditionFailed { .. } => Ok(None),
    }
}

/// A reader that may not give nothing for longer than a deadline.
struct Watched<R> {
    reader: R,
    deadline: Duration,
    /// When it counts as stalled; set anew each time it gives something.
    stalled: Pin<Box<Sleep>>,
}

impl<R> Watched<R> {
    fn new(reader: R, deadline: Duration) -> Self {
        let stalled = Box::pin(time::sleep(deadline));
        Self {
            reader,
            deadline,
            stalled,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.reader).poll_read(context, buffer) {
            let deadline = Instant::now() + self.deadline;
            self.stalled.as_mut().reset(deadline);
            return Poll::Ready(read);
        }
        ready!(self.stalled.as_mut().poll(context));
        let stalls = io::Error::new(io::ErrorKind::TimedOut, "the source stalls");
        Poll::Ready(Err(stalls))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use infinicache_engine::Source;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_slow_source_is_not_a_stalled_one() {
        let (reader, mut writer) = tokio::io::duplex(16);
        let mut source = Stream(Watched::new(reader, DEADLINE));
        let writing = tokio::spawn(async move {
            for _ in 0..5 {
                time::sleep(DEADLINE - Duration::from_secs(1)).await;
                writer.write_all(b"x").await.unwrap();
            }
            writer
        });
        assert_eq!(source.read(5).await.unwrap(), "xxxxx");
        let _open = writing.await.unwrap();
        let stalled = source.read(1).await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    }
}

//! A value, or a part of it, comes back.
//!
//! What is read is one version of the value, whatever happens to the key
//! meanwhile. A value that was replaced before its first bytes came is located
//! anew, so the caller does not notice.

use std::{future::Future, ops::Range, time::Duration};

use bytes::{Bytes, BytesMut};
use infinicache_engine::{
    Error, Holders, Pool, ReadError, ReadRetry, Reader,
    read::{fetch, reserve, stripe_memory},
};
use infinicache_host::clock;
use infinicache_wire::control::Located;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time,
};

use crate::{
    client::Client,
    download::Download,
    proxy::{LocatedValue, Proxy},
};

/// A single piece is given on as it came, if it does not keep a larger buffer alive.
const WORTH_KEEPING: usize = infinicache_wire::decode::LARGE_PAYLOAD;

impl Client {
    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is none.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Bytes, Error> {
        self.get_range(key, 0..u64::MAX).await
    }

    /// The bytes `range` of the value of `key`, as far as it has them.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is no value.
    pub async fn get_range(
        &self,
        key: impl AsRef<[u8]>,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        let proxy = self.proxy(key.as_ref());
        let deadline = self.deadline();
        located(proxy, key.as_ref(), deadline, |found| {
            whole(proxy, found, range.clone(), deadline)
        })
        .await
    }

    /// Begins to read the value of `key`: its first bytes are there when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is no value.
    pub async fn open(&self, key: impl AsRef<[u8]>) -> Result<Download, Error> {
        self.open_range(key, 0..u64::MAX).await
    }

    /// Begins to read the bytes `range` of the value of `key`, as far as it has them.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is no value.
    pub async fn open_range(
        &self,
        key: impl AsRef<[u8]>,
        range: Range<u64>,
    ) -> Result<Download, Error> {
        let proxy = self.proxy(key.as_ref());
        let deadline = self.deadline();
        let open = |found| Download::begin(proxy.clone(), found, range.clone(), deadline);
        located(proxy, key.as_ref(), deadline, open).await
    }

    /// Writes the value of `key` to `writer` as it comes, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::Miss`] if there is no value; nothing has been written then. After
    /// any other error part of it may have been. [`Error::Io`] is the writer's own.
    pub async fn get_into(
        &self,
        key: impl AsRef<[u8]>,
        mut writer: impl AsyncWrite + Unpin,
    ) -> Result<u64, Error> {
        let mut download = self.open(key).await?;
        let stalled = |_| Error::TimedOut("the destination takes nothing");
        while let Some(piece) = download.next().await? {
            let writing = time::timeout(self.deadline(), writer.write_all(&piece)).await;
            writing.map_err(stalled)??;
        }
        time::timeout(self.deadline(), writer.flush())
            .await
            .map_err(stalled)??;
        Ok(download.size())
    }
}

fn is_where_it_was(before: &Located, now: &Located) -> bool {
    (before.write, &before.members) == (now.write, &now.members)
}

/// Locates the value of `key` and reads it, again if it was replaced meanwhile:
/// however often that happens, until `deadline`.
async fn located<T, Reading>(
    proxy: &Proxy,
    key: &[u8],
    deadline: Duration,
    read: impl Fn(LocatedValue) -> Reading,
) -> Result<T, Error>
where
    Reading: Future<Output = Result<T, Error>>,
{
    let mut retry = ReadRetry::until(clock::now() + deadline);
    let mut before: Option<(Located, Error)> = None;
    loop {
        let found = proxy.locate(key).await?.ok_or(Error::Miss)?;
        let located = found.located().clone();
        if let Some((tried, lost)) = before.take() {
            // If it is where it was, and was not found there, the proxy may be about to know why.
            let failed = if is_where_it_was(&tried, &located) {
                ReadError::Unsettled(lost)
            } else {
                ReadError::Replaced(lost)
            };
            retry.wait(failed).await?;
        }
        match read(found).await {
            Ok(value) => return Ok(value),
            Err(lost @ Error::Lost { .. }) => before = Some((located, lost)),
            Err(error) => retry.wait(error.into()).await?,
        }
    }
}

/// Reads a range into one buffer of its own.
async fn whole(
    proxy: &Proxy,
    found: LocatedValue,
    range: Range<u64>,
    deadline: Duration,
) -> Result<Bytes, Error> {
    let geometry = found.geometry();
    let is_one_unit = geometry.size() > 0 && geometry.unit_len(0, 0) as u64 == geometry.size();
    if is_one_unit && range.start == 0 && range.end >= geometry.size() {
        return one_unit(proxy, &found).await;
    }
    let mut reader = Reader::new(proxy.clone(), found, range);
    let too_long = |_| Error::OutOfMemory("this process cannot hold the value".into());
    let length = usize::try_from(reader.remaining()).unwrap_or(usize::MAX);
    // A buffer that cannot be had is an error, not the end of the process.
    let mut value = Vec::new();
    value.try_reserve_exact(length).map_err(too_long)?;
    let stalled = |_| Error::TimedOut("the value did not come");
    while let Some(pieces) = time::timeout(deadline, reader.next())
        .await
        .map_err(stalled)??
    {
        pieces
            .iter()
            .for_each(|piece| value.extend_from_slice(piece));
    }
    Ok(value.into())
}

/// Reads a value that is a single unit, without copying it.
async fn one_unit(proxy: &Proxy, found: &LocatedValue) -> Result<Bytes, Error> {
    let mut memory = reserve(proxy.budget(), stripe_memory(&found.geometry())).await?;
    // What the caller keeps is the caller's: it must not weigh on the budget any longer.
    let nothing = memory.split(0);
    let units = fetch(proxy, found, 0, &[0], nothing).await?;
    let unit = units.into_iter().next().unwrap_or_default();
    Ok(match unit.len() {
        WORTH_KEEPING.. => unit,
        _ => BytesMut::from(&unit[..]).freeze(),
    })
}

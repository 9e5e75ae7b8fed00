//! The sending half of a connection.

use std::{io, time::Duration};

use bytes::Buf;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time,
};

use super::{error::Error, outbox::Outbox};

/// What a connection sends to.
pub trait Output: AsyncWrite + Unpin + Send {}
impl<W: AsyncWrite + Unpin + Send> Output for W {}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Writer<W> {
    pub(super) socket: W,
    pub(super) outbox: Outbox,
    stall_timeout: Duration,
}

impl<W> Writer<W> {
    /// The same with another socket, and the one before.
    pub(super) fn exchange<T>(self, socket: T) -> (Writer<T>, W) {
        let writer = Writer {
            socket,
            outbox: self.outbox,
            stall_timeout: self.stall_timeout,
        };
        (writer, self.socket)
    }
}

impl<W: Output> Writer<W> {
    pub(super) fn new(socket: W, stall_timeout: Duration) -> Self {
        Self {
            socket,
            outbox: Outbox::default(),
            stall_timeout,
        }
    }

    /// Writes all that is queued.
    ///
    /// # Cancellation
    ///
    /// Safe: what was not written stays queued.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        while self.outbox.has_remaining() {
            let write = self.socket.write_buf(&mut self.outbox);
            match time::timeout(self.stall_timeout, write).await {
                Ok(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => written?,
                Err(_) => return Err(Error::Stalled(self.stall_timeout)),
            };
        }
        Ok(())
    }
}

//! The ends of a connection, as sockets.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::pipe::{Pipe, Readable};

/// An end of a connection; closed when it is dropped.
#[derive(Debug)]
pub struct SimulatedStream {
    pipe: Arc<Pipe>,
    end: usize,
    /// Until something arrives.
    timer: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.pipe.close(self.end);
    }
}

impl SimulatedStream {
    pub(super) fn pair(pipe: Arc<Pipe>) -> [Self; 2] {
        [0, 1].map(|end| Self {
            pipe: pipe.clone(),
            end,
            timer: Mutex::default(),
        })
    }

    /// Where this end is.
    pub fn local_addr(&self) -> SocketAddr {
        self.pipe.addresses()[self.end]
    }

    /// Where the other end is.
    pub fn peer_addr(&self) -> SocketAddr {
        self.pipe.addresses()[1 - self.end]
    }

    /// What is received of it, and what is sent.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let shared = Arc::new(self);
        (ReadHalf(shared.clone()), WriteHalf(shared))
    }

    /// Waits until there is something to read.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await;
        Ok(())
    }

    /// Waits until something can be sent.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|context| self.pipe.poll_writable(self.end, context)).await;
        Ok(())
    }

    /// Reads what has arrived.
    ///
    /// # Errors
    ///
    /// If the connection is broken, or nothing has.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(self.end, buffer)
    }

    /// Reads what has arrived.
    ///
    /// # Errors
    ///
    /// If the connection is broken, or nothing has.
    pub fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        // As much as a system hands over at a time: some buffers have no end.
        let limited = buffer.limit(64 << 10);
        self.pipe.read(self.end, limited)
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    ///
    /// If the connection is broken, or there is none.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(self.end, bytes)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.pipe.readable(self.end, context) {
                Readable::Now => return Poll::Ready(()),
                Readable::Never => return Poll::Pending,
                Readable::At(due) => {
                    let mut timer = self.timer.lock().expect("plain data");
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due.into())));
                    if timer.deadline() != due.into() {
                        timer.as_mut().reset(due.into());
                    }
                    ready!(timer.as_mut().poll(context));
                }
            }
        }
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.pipe.read(self.end, &mut *buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
            ready!(self.poll_readable(context));
        }
    }

    fn poll_send(&self, context: &Context<'_>, bytes: impl Buf) -> Poll<io::Result<usize>> {
        ready!(self.pipe.poll_writable(self.end, context));
        Poll::Ready(self.pipe.write(self.end, bytes))
    }
}

/// The slices of a vectored write, as one buffer.
struct Slices<'a, 'b> {
    slices: &'a [io::IoSlice<'b>],
    read: usize,
}

impl Buf for Slices<'_, '_> {
    fn remaining(&self) -> usize {
        self.slices.iter().map(|it| it.len()).sum::<usize>() - self.read
    }

    fn chunk(&self) -> &[u8] {
        self.slices.first().map_or(&[], |it| &it[self.read..])
    }

    fn advance(&mut self, bytes: usize) {
        self.read += bytes;
        while let Some(first) = self.slices.first()
            && self.read >= first.len()
        {
            self.read -= first.len();
            self.slices = &self.slices[1..];
        }
    }
}

impl<'a, 'b> Slices<'a, 'b> {
    fn new(slices: &'a [io::IoSlice<'b>]) -> Self {
        let mut all = Self { slices, read: 0 };
        // Not to begin with an empty one.
        all.advance(0);
        all
    }
}

/// What is received.
#[derive(Debug)]
pub struct ReadHalf(Arc<SimulatedStream>);

/// What is sent.
#[derive(Debug)]
pub struct WriteHalf(Arc<SimulatedStream>);

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.0.pipe.shut_down(self.0.end);
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_receive(context, buffer)
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_receive(context, buffer)
    }
}

macro_rules! sends {
    ($type:ty, $it:ident => $stream:expr) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let $it = &*self;
                $stream.poll_send(context, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $it = &*self;
                $stream.poll_send(context, Slices::new(slices))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $it = &*self;
                let stream: &SimulatedStream = &$stream;
                stream.pipe.shut_down(stream.end);
                Poll::Ready(Ok(()))
            }
        }
    };
}

sends!(SimulatedStream, it => *it);
sends!(WriteHalf, it => it.0);

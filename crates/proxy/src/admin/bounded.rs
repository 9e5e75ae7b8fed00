//! A listener whose connections are few at a time, and end when nothing is asked over them.
//!
//! Anybody in the network may connect. Those who do must not use up the files that clients and
//! nodes need, nor keep probes out for good.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use infinicache_socket::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant, Sleep},
};

/// How many connections may be open at once. Further ones wait.
const MOST: usize = 64;

/// How long nothing may be asked: longer than the intervals of probes and of Prometheus.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// A bounded listener.
pub(super) struct Bounded<L> {
    listener: L,
    slots: Arc<Semaphore>,
}

impl Bounded<RetryingListener> {
    pub(super) fn new(listener: infinicache_socket::Listener) -> Self {
        Self {
            listener: RetryingListener(listener),
            slots: Arc::new(Semaphore::new(MOST)),
        }
    }
}

/// A listener that goes on after it failed.
pub(super) struct RetryingListener(infinicache_socket::Listener);

impl Listener for RetryingListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        infinicache_socket::accept(&self.0).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Open<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let slot = self.slots.clone().acquire_owned().await;
        let (stream, peer) = self.listener.accept().await;
        let open = Open {
            stream,
            idle: Box::pin(time::sleep(IDLE_TIMEOUT)),
            _slot: slot.expect("never closed"),
        };
        (open, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// An open connection, which fails once nothing has come over it for too long.
pub(super) struct Open<S> {
    stream: S,
    /// Set anew each time something comes.
    idle: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Open<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.idle.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
            return Poll::Ready(read);
        }
        let idle = self.idle.as_mut().poll(context);
        idle.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Open<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Gives the near ends of pipes, as many as there are.
    struct Pipes(Vec<DuplexStream>);

    impl Listener for Pipes {
        type Io = DuplexStream;
        type Addr = ();

        async fn accept(&mut self) -> (DuplexStream, ()) {
            match self.0.pop() {
                Some(pipe) => (pipe, ()),
                None => pending().await,
            }
        }

        fn local_addr(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_ask_for_nothing_make_way_for_others() {
        let (near, mut far): (Vec<_>, Vec<_>) = (0..=MOST).map(|_| duplex(10)).unzip();
        let mut listener = Bounded {
            listener: Pipes(near),
            slots: Arc::new(Semaphore::new(MOST)),
        };
        let mut open = Vec::new();
        for _ in 0..MOST {
            open.push(listener.accept().await.0);
        }
        let is_full = time::timeout(10 * IDLE_TIMEOUT, listener.accept()).await;
        assert!(is_full.is_err());

        // The last that was accepted is the second pipe.
        far[1].write_all(b"ask").await.unwrap();
        let mut asks = open.pop().unwrap();
        assert_eq!(asks.read(&mut [0; 10]).await.unwrap(), 3);
        let begun = Instant::now();
        let idle = asks.read(&mut [0]).await.unwrap_err();
        assert_eq!(idle.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), IDLE_TIMEOUT);
        drop(asks);
        let mut accepting = Box::pin(listener.accept());
        let accepted = poll_fn(|context| Poll::Ready(accepting.as_mut().poll(context))).await;
        assert!(accepted.is_ready());
    }
}

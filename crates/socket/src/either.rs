//! Sockets of the system, or of a simulation if one is running.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BufMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, tcp},
};

use crate::simulation;

/// A listener for TCP connections.
#[derive(Debug)]
pub enum Listener {
    /// Of the system.
    Tcp(TcpListener),
    /// Of a simulation.
    Simulated(simulation::Listener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// See [`TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Simulated(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Simulated(stream), peer))
            }
        }
    }

    /// See [`TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Simulated(listener) => Ok(listener.local_addr()),
        }
    }
}

/// A TCP connection.
#[derive(Debug)]
pub enum Stream {
    /// Of the system.
    Tcp(TcpStream),
    /// Of a simulation.
    Simulated(simulation::SimulatedStream),
}

/// What is received of a TCP connection.
#[derive(Debug)]
pub enum ReadHalf {
    /// Of the system.
    Tcp(tcp::OwnedReadHalf),
    /// Of a simulation.
    Simulated(simulation::ReadHalf),
}

/// What is sent of a TCP connection. Dropped, nothing more is sent.
#[derive(Debug)]
pub enum WriteHalf {
    /// Of the system.
    Tcp(tcp::OwnedWriteHalf),
    /// Of a simulation.
    Simulated(simulation::WriteHalf),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl Stream {
    /// See [`TcpStream::into_split`].
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadHalf::Tcp(reader), WriteHalf::Tcp(writer))
            }
            Self::Simulated(stream) => {
                let (reader, writer) = stream.into_split();
                (ReadHalf::Simulated(reader), WriteHalf::Simulated(writer))
            }
        }
    }

    /// See [`TcpStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Simulated(stream) => Ok(stream.local_addr()),
        }
    }

    /// See [`TcpStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Simulated(stream) => Ok(stream.peer_addr()),
        }
    }

    /// See [`TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, prompt: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(prompt),
            Self::Simulated(_) => Ok(()),
        }
    }

    /// See [`TcpStream::nodelay`].
    pub fn nodelay(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => stream.nodelay(),
            Self::Simulated(_) => Ok(true),
        }
    }

    /// See [`TcpStream::readable`].
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Simulated(stream) => stream.readable().await,
        }
    }

    /// See [`TcpStream::writable`].
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Simulated(stream) => stream.writable().await,
        }
    }

    /// See [`TcpStream::try_read`].
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Simulated(stream) => stream.try_read(buffer),
        }
    }

    /// See [`TcpStream::try_read_buf`].
    pub fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Simulated(stream) => stream.try_read_buf(buffer),
        }
    }

    /// See [`TcpStream::try_write`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Simulated(stream) => stream.try_write(bytes),
        }
    }
}

macro_rules! receives {
    ($($type:ty),*) => {$(
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
                    Self::Simulated(stream) => Pin::new(stream).poll_read(context, buffer),
                }
            }
        }
    )*};
}

macro_rules! sends {
    ($($type:ty),*) => {$(
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
                    Self::Simulated(stream) => Pin::new(stream).poll_write(context, bytes),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
                    Self::Simulated(stream) => {
                        Pin::new(stream).poll_write_vectored(context, slices)
                    }
                }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
                    Self::Simulated(stream) => Pin::new(stream).poll_flush(context),
                }
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
                    Self::Simulated(stream) => Pin::new(stream).poll_shutdown(context),
                }
            }
        }
    )*};
}

receives!(Stream, ReadHalf);
sends!(Stream, WriteHalf);

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd};

    use super::*;

    impl AsFd for Listener {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match self {
                Self::Tcp(listener) => listener.as_fd(),
                Self::Simulated(_) => unreachable!("no simulation is running"),
            }
        }
    }

    impl AsFd for Stream {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match self {
                Self::Tcp(stream) => stream.as_fd(),
                Self::Simulated(_) => unreachable!("no simulation is running"),
            }
        }
    }
}

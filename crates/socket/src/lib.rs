//! TCP sockets as values need them: what is written leaves at once, and a peer that is gone is
//! noticed.
//!
//! Two things hold bytes back. Nagle's algorithm waits for more of them
//! (`TCP_NODELAY` ends that). And where the system's congestion control is BBR,
//! the kernel spaces segments out by timers (`congestion`), which suits a long
//! way with queues of unknown length, and costs a process that sends units to a
//! dozen others over a short one a fifth of its throughput.
//!
//! What a peer that is gone would have sent is waited for until [`Keepalive`] ends that.
//!
//! Nothing here is needed for anything to work: what the system refuses stays as it is.
#![forbid(unsafe_code)]

mod congestion;
#[cfg(feature = "simulation")]
mod either;
mod keepalive;
#[cfg(feature = "simulation")]
pub mod simulation;

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host, tcp},
    runtime::Handle,
    time::sleep,
};
use tracing::{debug, warn};

#[cfg(feature = "simulation")]
pub use either::{Listener, ReadHalf, Stream, WriteHalf};
pub use keepalive::Keepalive;

/// How long a listener that failed is left alone.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener for TCP connections.
#[cfg(not(feature = "simulation"))]
pub type Listener = TcpListener;
/// A TCP connection.
#[cfg(not(feature = "simulation"))]
pub type Stream = TcpStream;
/// What is received of a TCP connection.
#[cfg(not(feature = "simulation"))]
pub type ReadHalf = tcp::OwnedReadHalf;
/// What is sent of a TCP connection.
#[cfg(not(feature = "simulation"))]
pub type WriteHalf = tcp::OwnedWriteHalf;

/// A listener whose connections are not paced, and kept alive.
///
/// # Errors
///
/// If the address cannot be bound.
#[cfg_attr(
    not(feature = "simulation"),
    expect(clippy::useless_conversion, reason = "one of two types")
)]
pub async fn listen(address: SocketAddr, keepalive: Keepalive) -> io::Result<Listener> {
    #[cfg(feature = "simulation")]
    if infinicache_host::simulation::is_running() {
        return simulation::Listener::bind(address).map(Listener::Simulated);
    }
    let listener = TcpListener::bind(address).await?;
    congestion::avoid_pacing(&listener);
    keepalive.apply(&listener);
    Ok(listener.into())
}

/// The next connection of a listener, and its peer. A listener that fails is asked again after a pause.
///
/// # Cancellation
///
/// Safe.
pub async fn accept(listener: &Listener) -> (Stream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Typically EMFILE: retrying at once would spin.
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connects to the first address behind `name` that answers, after each socket has been prepared.
///
/// # Errors
///
/// That of the last address, or that there is none. There is no deadline.
pub async fn connect(
    name: &str,
    keepalive: Keepalive,
    prepare: impl Fn(&TcpSocket) -> io::Result<()>,
) -> io::Result<Stream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host(name).await? {
        match connect_to(address, keepalive, &prepare).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                debug!(%address, %error, "cannot connect");
                failure = error;
            }
        }
    }
    Err(failure)
}

/// Connects to one address, after the socket has been prepared.
///
/// # Errors
///
/// That of the system. There is no deadline.
#[cfg_attr(
    not(feature = "simulation"),
    expect(clippy::useless_conversion, reason = "one of two types")
)]
pub async fn connect_to(
    address: SocketAddr,
    keepalive: Keepalive,
    prepare: &impl Fn(&TcpSocket) -> io::Result<()>,
) -> io::Result<Stream> {
    #[cfg(feature = "simulation")]
    if infinicache_host::simulation::is_running() {
        return simulation::connect(address).await.map(Stream::Simulated);
    }
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    congestion::avoid_pacing(&socket);
    keepalive.apply(&socket);
    prepare(&socket)?;
    socket.connect(address).await.map(Stream::from)
}

/// Has another runtime wait for what comes over a socket.
///
/// # Errors
///
/// If the halves are of two sockets, or the system does not allow it.
pub fn migrate(
    reader: ReadHalf,
    writer: WriteHalf,
    runtime: &Handle,
) -> io::Result<(ReadHalf, WriteHalf)> {
    let move_tcp = |reader: tcp::OwnedReadHalf, writer| {
        let stream = reader.reunite(writer).map_err(io::Error::other)?;
        let stream = stream.into_std()?;
        let _entered = runtime.enter();
        Ok::<_, io::Error>(TcpStream::from_std(stream)?.into_split())
    };
    #[cfg(not(feature = "simulation"))]
    return move_tcp(reader, writer);
    #[cfg(feature = "simulation")]
    match (reader, writer) {
        (ReadHalf::Tcp(reader), WriteHalf::Tcp(writer)) => {
            let (reader, writer) = move_tcp(reader, writer)?;
            Ok((ReadHalf::Tcp(reader), WriteHalf::Tcp(writer)))
        }
        // There is one runtime.
        halves => Ok(halves),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn local() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = listen(local(), Keepalive::PROMPT).await.unwrap();
        // The name has an address of the other family too, where nobody listens.
        let name = format!("localhost:{}", listener.local_addr().unwrap().port());
        let stream = connect(&name, Keepalive::PROMPT, |_| Ok(())).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_prepared_is_not_connected() {
        let listener = listen(local(), Keepalive::PROMPT).await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let refused = connect(&name, Keepalive::PROMPT, |_| {
            Err(io::ErrorKind::Unsupported.into())
        })
        .await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}

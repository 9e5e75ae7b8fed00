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
mod keepalive;

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
use tracing::debug;

pub use keepalive::Keepalive;

/// A listener whose connections are not paced, and kept alive.
///
/// # Errors
///
/// If the address cannot be bound.
pub async fn listen(address: impl ToSocketAddrs, keepalive: Keepalive) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    congestion::avoid_pacing(&listener);
    keepalive.apply(&listener);
    Ok(listener)
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
) -> io::Result<TcpStream> {
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
pub async fn connect_to(
    address: SocketAddr,
    keepalive: Keepalive,
    prepare: &impl Fn(&TcpSocket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    congestion::avoid_pacing(&socket);
    keepalive.apply(&socket);
    prepare(&socket)?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let listener = listen("127.0.0.1:0", Keepalive::PROMPT).await.unwrap();
        // The name has an address of the other family too, where nobody listens.
        let name = format!("localhost:{}", listener.local_addr().unwrap().port());
        let stream = connect(&name, Keepalive::PROMPT, |_| Ok(())).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_socket_that_cannot_be_prepared_is_not_connected() {
        let listener = listen("127.0.0.1:0", Keepalive::PROMPT).await.unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let refused = connect(&name, Keepalive::PROMPT, |_| {
            Err(io::ErrorKind::Unsupported.into())
        })
        .await;
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}

//! One attempt to reach a proxy and be welcomed by it.
//!
//! A name may have the addresses of two runs of the proxy for a while: of one
//! that is gone, or fenced, and of the one that wakes this node.
//! So each address is tried in turn until one welcomes the node.

use std::{io, net::SocketAddr, time::Duration};

use infinicache_host::{clock, fail_point};
use infinicache_socket::{Keepalive, Stream};
use infinicache_wire::{
    Decoder, FrameError, Outbox,
    handshake::{Hello, Welcome, is_compatible},
    secret::Secret,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, lookup_host},
    time::timeout,
};
use tracing::debug;

use crate::session::FencedError;

/// How long finding the addresses of a proxy may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting to a proxy may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the proxy may take to welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;

/// Four units, so that a burst of them crosses the kernel in few calls.
const SOCKET_BUFFER: u32 = 1 << 20;

/// A fresh connection, welcomed.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    /// Holds what the proxy sent right behind its welcome.
    pub(crate) decoder: Decoder,
    pub(crate) welcome: Welcome,
}

/// Why a proxy was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot find its address")]
    Lookup(#[source] io::Error),
    #[error("its address was not found within {LOOKUP_TIMEOUT:?}")]
    LookupTimeout,
    #[error("its name has no address")]
    NoAddress,
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("not connected within {0:?}")]
    ConnectTimeout(Duration),
    #[error("not welcomed within {0:?}")]
    WelcomeTimeout(Duration),
    #[error("connection lost before the welcome")]
    Lost(#[from] io::Error),
    #[error("not welcomed")]
    Frame(#[from] FrameError),
    #[error("welcome without proof of the secret")]
    Forged,
    #[error("welcome of protocol {0}, which this node does not speak")]
    Incompatible(u16),
    #[error(transparent)]
    Fenced(#[from] FencedError),
}

/// Connects to `proxy` and introduces the node, which listens on `direct` for others.
///
/// # Errors
///
/// That of the last address tried, at the latest after [`LOOKUP_TIMEOUT`], [`CONNECT_TIMEOUT`]
/// and [`WELCOME_TIMEOUT`].
pub(crate) async fn dial(
    proxy: &str,
    hello: Hello,
    direct: Option<SocketAddr>,
    secret: &Secret,
) -> Result<Dialled, DialError> {
    let found = timeout(LOOKUP_TIMEOUT, lookup_host(proxy)).await;
    let found = found.map_err(|_| DialError::LookupTimeout)?;
    let addresses = found.map_err(DialError::Lookup)?.take(MOST_ADDRESSES);
    dial_in_turn(&addresses.collect::<Vec<_>>(), &hello, direct, secret).await
}

/// Dials one address after the other until one welcomes the node.
async fn dial_in_turn(
    addresses: &[SocketAddr],
    hello: &Hello,
    direct: Option<SocketAddr>,
    secret: &Secret,
) -> Result<Dialled, DialError> {
    let end = clock::now() + CONNECT_TIMEOUT + WELCOME_TIMEOUT;
    let mut failure = DialError::NoAddress;
    for (left, address) in (1..=addresses.len() as u32).rev().zip(addresses) {
        let limit = end.saturating_duration_since(clock::now()) / left;
        match dial_address(*address, hello, direct, secret, limit).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => {
                debug!(%address, %error, "not welcomed here");
                failure = error;
            }
        }
    }
    Err(failure)
}

/// Dials one address, for as long as `limit` at most.
async fn dial_address(
    address: SocketAddr,
    hello: &Hello,
    direct: Option<SocketAddr>,
    secret: &Secret,
    limit: Duration,
) -> Result<Dialled, DialError> {
    let (connecting, welcoming) = (
        CONNECT_TIMEOUT.min(limit / 2),
        WELCOME_TIMEOUT.min(limit / 2),
    );
    let connected = infinicache_socket::connect_to(address, Keepalive::PROMPT, &prepare);
    let mut stream = timeout(connecting, connected)
        .await
        .map_err(|_| DialError::ConnectTimeout(connecting))?
        .map_err(DialError::Connect)?;
    let direct = direct
        .map(|direct| reachable(direct, &stream))
        .transpose()?;
    let hello = Hello {
        direct: direct.map_or_else(String::new, |direct| direct.to_string()),
        ..hello.clone()
    }
    .signed(secret);

    let mut decoder = Decoder::new();
    let introduced = introduce(&mut stream, &mut decoder, &hello);
    let welcome = timeout(welcoming, introduced)
        .await
        .map_err(|_| DialError::WelcomeTimeout(welcoming))??;
    if !is_compatible(welcome.protocol) {
        return Err(DialError::Incompatible(welcome.protocol));
    }
    if !welcome.is_genuine(secret, &hello) {
        return Err(DialError::Forged);
    }
    let (epoch, highest) = (welcome.epoch, hello.epoch);
    if epoch < highest && !fail_point("highest_epoch") {
        return Err(FencedError::Fenced { epoch, highest }.into());
    }
    Ok(Dialled {
        stream,
        decoder,
        welcome,
    })
}

/// Where others reach a listener: if it is bound to all addresses, at the one from which the proxy
/// is reached.
fn reachable(mut listener: SocketAddr, link: &Stream) -> io::Result<SocketAddr> {
    if listener.ip().is_unspecified() {
        listener.set_ip(link.local_addr()?.ip());
    }
    Ok(listener)
}

/// Connects to another node, by its direct address.
pub(crate) async fn connect(address: &str) -> io::Result<Stream> {
    infinicache_socket::connect(address, Keepalive::PROMPT, prepare).await
}

/// Sets what a socket needs before it connects, as its window scale is settled by then.
fn prepare(socket: &TcpSocket) -> io::Result<()> {
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)
}

async fn introduce(
    stream: &mut Stream,
    decoder: &mut Decoder,
    hello: &Hello,
) -> Result<Welcome, DialError> {
    let mut outbox = Outbox::new();
    outbox.push(hello.to_frame());
    stream.write_all_buf(&mut outbox).await?;
    loop {
        if let Some(frame) = decoder.decode()? {
            return Ok(Welcome::from_frame(&frame)?);
        }
        if stream.read_buf(&mut decoder.buffer()).await? == 0 {
            return Err(DialError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{InstanceId, MemberId, PROTOCOL_VERSION};
    use tokio::net::TcpListener;

    use super::*;

    fn secret() -> Secret {
        Secret::new(b"a secret of the tests").unwrap()
    }

    fn hello(epoch: u64) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            node: "n".into(),
            instance: InstanceId(1),
            session: "s".into(),
            pod: String::new(),
            host: String::new(),
            zone: String::new(),
            capacity: 0,
            used: 0,
            direct: String::new(),
            epoch,
            proof: String::new(),
        }
    }

    /// What a proxy does with a node that dials it.
    enum Proxy {
        Refuses,
        Welcomes { epoch: u64 },
    }

    /// The address of a proxy that answers one node.
    async fn answer(proxy: Proxy) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut decoder = Decoder::new();
            let frame = loop {
                if let Some(frame) = decoder.decode().unwrap() {
                    break frame;
                }
                stream.read_buf(&mut decoder.buffer()).await.unwrap();
            };
            let hello = Hello::from_frame(&frame).unwrap();
            let Proxy::Welcomes { epoch } = proxy else {
                return;
            };
            let welcome = Welcome {
                protocol: PROTOCOL_VERSION,
                member: MemberId(1),
                epoch,
                fresh: false,
                proof: String::new(),
            };
            let mut outbox = Outbox::new();
            outbox.push(welcome.signed(&secret(), &hello).to_frame());
            stream.write_all_buf(&mut outbox).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_address_that_refuses_the_node_is_not_the_last_to_be_dialled() {
        let addresses = [
            // No process listens there any more.
            TcpListener::bind("127.0.0.1:0")
                .await
                .unwrap()
                .local_addr()
                .unwrap(),
            answer(Proxy::Refuses).await,
            answer(Proxy::Welcomes { epoch: 6 }).await,
            answer(Proxy::Welcomes { epoch: 7 }).await,
        ];
        let dialled = dial_in_turn(&addresses, &hello(7), None, &secret()).await;
        assert_eq!(dialled.expect("the last welcomes it").welcome.epoch, 7);
    }

    #[tokio::test]
    async fn a_node_that_no_address_welcomes_says_why() {
        let stale = answer(Proxy::Welcomes { epoch: 6 }).await;
        let refused = dial_in_turn(&[stale], &hello(7), None, &secret()).await;
        assert!(matches!(refused, Err(DialError::Fenced(_))));
        let nowhere = dial_in_turn(&[], &hello(7), None, &secret()).await;
        assert!(matches!(nowhere, Err(DialError::NoAddress)));
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_leaves_time_for_the_next() {
        // Its backlog takes the connection, and nobody reads from it.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [
            silent.local_addr().unwrap(),
            answer(Proxy::Welcomes { epoch: 7 }).await,
        ];
        let dialled = dial_in_turn(&addresses, &hello(7), None, &secret()).await;
        assert!(dialled.is_ok());
    }
}

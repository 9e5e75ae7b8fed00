//! One attempt to reach a proxy and be welcomed by it.

use std::{io, net::SocketAddr, time::Duration};

use infinicache_socket::Keepalive;
use infinicache_wire::{
    Decoder, FrameError, Outbox,
    handshake::{Hello, Welcome, is_compatible},
    secret::Secret,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long finding and connecting to a proxy may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the proxy may take to welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);

/// Four units, so that a burst of them crosses the kernel in few calls.
const SOCKET_BUFFER: u32 = 1 << 20;

/// A fresh connection, welcomed.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    /// Holds what the proxy sent right behind its welcome.
    pub(crate) decoder: Decoder,
    pub(crate) welcome: Welcome,
}

/// Why a proxy was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("not connected within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout,
    #[error("not welcomed within {WELCOME_TIMEOUT:?}")]
    WelcomeTimeout,
    #[error("connection lost before the welcome")]
    Lost(#[from] io::Error),
    #[error("not welcomed")]
    Frame(#[from] FrameError),
    #[error("welcome without proof of the secret")]
    Forged,
    #[error("welcome of protocol {0}, which this node does not speak")]
    Incompatible(u16),
}

/// Connects to `proxy` and introduces the node, which listens on `direct` for others.
///
/// # Errors
///
/// At the latest after [`CONNECT_TIMEOUT`] and [`WELCOME_TIMEOUT`].
pub(crate) async fn dial(
    proxy: &str,
    hello: Hello,
    direct: Option<SocketAddr>,
    secret: &Secret,
) -> Result<Dialled, DialError> {
    let mut stream = timeout(CONNECT_TIMEOUT, connect(proxy))
        .await
        .map_err(|_| DialError::ConnectTimeout)?
        .map_err(DialError::Connect)?;
    let direct = direct
        .map(|direct| reachable(direct, &stream))
        .transpose()?;
    let hello = Hello {
        direct: direct.map_or_else(String::new, |direct| direct.to_string()),
        ..hello
    }
    .signed(secret);

    let mut decoder = Decoder::new();
    let introduced = introduce(&mut stream, &mut decoder, &hello);
    let welcome = timeout(WELCOME_TIMEOUT, introduced)
        .await
        .map_err(|_| DialError::WelcomeTimeout)??;
    if !is_compatible(welcome.protocol) {
        return Err(DialError::Incompatible(welcome.protocol));
    }
    if !welcome.is_genuine(secret, &hello) {
        return Err(DialError::Forged);
    }
    Ok(Dialled {
        stream,
        decoder,
        welcome,
    })
}

/// Where others reach a listener: if it is bound to all addresses, at the one from which the proxy
/// is reached.
fn reachable(mut listener: SocketAddr, link: &TcpStream) -> io::Result<SocketAddr> {
    if listener.ip().is_unspecified() {
        listener.set_ip(link.local_addr()?.ip());
    }
    Ok(listener)
}

/// Connects to the proxy, or to another node, by name.
pub(crate) async fn connect(name: &str) -> io::Result<TcpStream> {
    infinicache_socket::connect(name, Keepalive::PROMPT, |socket| {
        // Before connecting, as the window scale is settled by then.
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)
    })
    .await
}

async fn introduce(
    stream: &mut TcpStream,
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

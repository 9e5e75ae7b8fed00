//! The direct listener: where other nodes and clients exchange units, without the proxy in between.
//!
//! A node that dials proves that it knows the pool's secret, and is answered with
//! a proof ([`infinicache_wire::direct`]). A client shows a pass that the proxy
//! made for it ([`infinicache_wire::pass`]). Then they may put and get units, and
//! nothing else: what exists is the proxy's to decide. Before that a connection
//! costs one small buffer for a few seconds, and there are not many at once.
//! Clients leave some of the connections to the nodes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use infinicache_wire::{
    Decoder, Frame, FrameError, Kind, Outbox,
    direct::{Call, MAX_DOCUMENT, Nonce, Refused, Seal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    keeper::Keeper,
    link::{Link, Rights},
    listen::{accept_each, affordable},
    passes::Passes,
};

/// How many connections may be open at once.
const MAX_CONNECTIONS: usize = 576;

/// How many of them are kept for nodes. Those of clients end when they have not been used for a while.
const FOR_NODES: usize = 64;

/// How long a handshake may take, on either side.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);

/// Why a direct link did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the other side said something else")]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("too many clients")]
    TooMany,
    #[error("the other side did not answer in time")]
    Late,
    #[error("no source of random numbers")]
    Random(#[from] getrandom::Error),
}

/// Serves `listener` until dropped, and its connections with it.
pub(crate) async fn serve(listener: TcpListener, keeper: Arc<Keeper>) {
    let most = affordable(MAX_CONNECTIONS, 2);
    let clients = Arc::new(Semaphore::new(most - FOR_NODES.min(most / 4)));
    accept_each(listener, most, |stream, peer| {
        attend(stream, peer, Arc::clone(&keeper), Arc::clone(&clients))
    })
    .await;
}

async fn attend(stream: TcpStream, peer: SocketAddr, keeper: Arc<Keeper>, clients: Arc<Semaphore>) {
    let accepted = timeout(HANDSHAKE_DEADLINE, accept(stream, &keeper, clients)).await;
    let (link, _slot) = match accepted.unwrap_or(Err(HandshakeError::Late)) {
        Ok(link) => link,
        Err(error) => {
            keeper.service.counters.refused_peers.inc();
            return warn!(%peer, %error, "direct link refused");
        }
    };
    let ended = link.serve(&keeper).await;
    debug!(%peer, ?ended, "direct link ended");
}

/// A link, and a client's place among the others, if it is one's.
async fn accept(
    mut stream: TcpStream,
    keeper: &Keeper,
    clients: Arc<Semaphore>,
) -> Result<(Link, Option<OwnedSemaphorePermit>), HandshakeError> {
    stream.set_nodelay(true)?;
    let identity = &keeper.identity;
    let mut decoder = Decoder::new();
    let first = read(&mut stream, &mut decoder).await?;
    if first.header.kind == Kind::Pass {
        let slot = clients.try_acquire_owned();
        let slot = slot.map_err(|_| HandshakeError::TooMany)?;
        let mut passes = Passes::default();
        passes.show(&first, identity)?;
        let link = Link::new(stream, decoder, Rights::Client(passes));
        return Ok((link, Some(slot)));
    }
    let call = Call::from_frame(&first)?;
    let answer = call.answer(identity.instance, nonce()?, &identity.secret)?;
    write(&mut stream, answer.to_frame()).await?;
    let seal = Seal::from_frame(&read(&mut stream, &mut decoder).await?)?;
    seal.check(&call, &answer, &identity.secret)?;
    Ok((Link::new(stream, decoder, Rights::Peer), None))
}

/// A number that nobody has seen before.
pub(crate) fn nonce() -> Result<Nonce, getrandom::Error> {
    Ok([getrandom::u64()?, getrandom::u64()?])
}

/// Reads one document, and takes no memory for anything longer.
pub(crate) async fn read(
    stream: &mut TcpStream,
    decoder: &mut Decoder,
) -> Result<Frame, HandshakeError> {
    loop {
        if let Some(frame) = decoder.decode()? {
            return Ok(frame);
        }
        if let Some(header) = decoder.awaited()
            && header.length as usize > MAX_DOCUMENT
        {
            return Err(FrameError::Malformed(header.kind).into());
        }
        if stream.read_buf(&mut decoder.buffer()).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

pub(crate) async fn write(stream: &mut TcpStream, frame: Frame) -> io::Result<()> {
    let mut outbox = Outbox::new();
    outbox.push(frame);
    stream.write_all_buf(&mut outbox).await
}

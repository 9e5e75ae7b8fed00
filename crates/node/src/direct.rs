//! The direct listener: where other nodes put chunks, without the proxy in between.
//!
//! Whoever dials proves that they know the pool's secret, and is answered with
//! a proof ([`infinicache_wire::direct`]); then they may put and get units, and
//! nothing else: what exists is the proxy's to decide. Before that proof a
//! connection costs one small buffer for a few seconds, and there are not many
//! at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use infinicache_wire::{
    Decoder, Frame, FrameError, Outbox,
    direct::{Call, MAX_DOCUMENT, Nonce, Refused, Seal},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    keeper::Keeper,
    link::{Link, Rights},
    listen::accept_each,
};

/// How many connections may be open at once.
const MAX_CONNECTIONS: usize = 64;

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
    #[error("the other side did not answer in time")]
    Late,
    #[error("no source of random numbers")]
    Random(#[from] getrandom::Error),
}

/// Serves `listener` until dropped, and its connections with it.
pub(crate) async fn serve(listener: TcpListener, keeper: Arc<Keeper>) {
    accept_each(listener, MAX_CONNECTIONS, |stream, peer| {
        attend(stream, peer, Arc::clone(&keeper))
    })
    .await;
}

async fn attend(stream: TcpStream, peer: SocketAddr, keeper: Arc<Keeper>) {
    let accepted = timeout(HANDSHAKE_DEADLINE, accept(stream, &keeper)).await;
    let link = match accepted.unwrap_or(Err(HandshakeError::Late)) {
        Ok(link) => link,
        Err(error) => {
            keeper.service.counters.refused_peers.inc();
            return warn!(%peer, %error, "direct link refused");
        }
    };
    let ended = link.serve(&keeper).await;
    debug!(%peer, ?ended, "direct link ended");
}

async fn accept(mut stream: TcpStream, keeper: &Keeper) -> Result<Link, HandshakeError> {
    stream.set_nodelay(true)?;
    let identity = &keeper.identity;
    let mut decoder = Decoder::new();
    let call = Call::from_frame(&read(&mut stream, &mut decoder).await?)?;
    let answer = call.answer(identity.instance, nonce()?, &identity.secret)?;
    write(&mut stream, answer.to_frame()).await?;
    let seal = Seal::from_frame(&read(&mut stream, &mut decoder).await?)?;
    seal.check(&call, &answer, &identity.secret)?;
    Ok(Link::new(stream, decoder, Rights::OfAnybody))
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

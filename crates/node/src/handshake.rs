//! What both ends of a direct link do before units are exchanged over it.

use std::{io, time::Duration};

use infinicache_host::random;
use infinicache_socket::Stream;
use infinicache_wire::{
    Decoder, Frame, FrameError, Outbox,
    direct::{DirectRefused, MAX_DOCUMENT, Nonce},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    Refused(#[from] DirectRefused),
    #[error("too many clients")]
    TooMany,
    #[error("the other side did not answer in time")]
    Late,
    #[error("no source of random numbers")]
    Random(#[from] random::Error),
}

/// A fresh random number.
pub(crate) fn nonce() -> Result<Nonce, random::Error> {
    Ok([random::u64()?, random::u64()?])
}

/// Reads one document, and takes no memory for anything longer.
pub(crate) async fn read(
    stream: &mut Stream,
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

pub(crate) async fn write(stream: &mut Stream, frame: Frame) -> io::Result<()> {
    let mut outbox = Outbox::new();
    outbox.push(frame);
    stream.write_all_buf(&mut outbox).await
}

//! The relay: a smart client's frames to the nodes, and their answers back.
//!
//! After `IC.LINK` a client connection carries frames, each naming the member it
//! is for. A frame is read only once there is memory for its payload, and passed
//! on only once there is memory for its answer, so a client that floods or does
//! not read costs no more than its share. A member that does not answer holds up
//! only the requests made of it.
//!
//! A client may put units of writes that it has opened, where the proxy placed
//! them, and get units. Everything that decides what exists is the proxy's alone.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use infinicache_client::{Budget, NodeLink, Pool, budget::Reservation};
use infinicache_wire::{Decoder, Frame, FrameError, MAX_PAYLOAD, Outbox, Reply, Request};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time,
};
use tracing::debug;

use crate::cache::Cache;

/// Payload that one client may have under way, both ways together: what the windows of a few
/// streams take at once.
const CLIENT_BYTES: usize = 256 * MAX_PAYLOAD;

/// What a request counts for at least.
const LEAST_BYTES: usize = 4 * 1024;

/// Answers that may wait to be written.
const ANSWERS: usize = 64;

/// Relays until the client leaves or breaks the rules. `ahead` was read already.
///
/// # Errors
///
/// Whatever ended the connection, other than its end.
pub(crate) async fn serve<R, W>(
    reader: R,
    writer: W,
    ahead: BytesMut,
    cache: Cache,
    stall_timeout: Duration,
) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (answers, queue) = mpsc::channel(ANSWERS);
    tokio::select! {
        ended = read(reader, Decoder::starting_with(ahead), answers, cache) => ended,
        ended = write(writer, queue, stall_timeout) => ended,
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    answers: mpsc::Sender<Frame>,
    cache: Cache,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CLIENT_BYTES));
    let mut memory = None;
    loop {
        while let Some(frame) = decoder.decode().map_err(invalid)? {
            relay(frame, memory.take(), &slots, &answers, &cache).await?;
        }
        let awaited = decoder.awaited().map_or(0, |header| header.length as usize);
        if awaited > 0 && memory.is_none() {
            memory = Some(reserve(cache.budget(), awaited).await?);
        }
        if reader.read_buf(&mut decoder.buffer()).await? == 0 {
            return Ok(());
        }
    }
}

async fn relay(
    frame: Frame,
    memory: Option<Reservation>,
    slots: &Arc<Semaphore>,
    answers: &mpsc::Sender<Frame>,
    cache: &Cache,
) -> io::Result<()> {
    let (id, member) = (frame.header.id, frame.header.member);
    let mut request = Request::from_frame(frame).map_err(invalid)?;
    let refusal = match &mut request {
        Request::Put { chunk, bytes, .. } => {
            if let Some(memory) = memory {
                *bytes = memory.hold(std::mem::take(bytes));
            }
            match cache.writes().get(chunk.write) {
                Some(write) if write.is_on(chunk.index, member) => {
                    write.touch();
                    None
                }
                _ => Some(Reply::Conflict),
            }
        }
        Request::Get { .. } => None,
        other => {
            debug!(?other, "request that a client may not make");
            return Err(invalid(FrameError::Unexpected(other.kind())));
        }
    };

    let want = request.want();
    let metrics = cache.metrics().clone();
    metrics.served().relayed(request.payload_len() as u64);
    let weight = (request.payload_len() + want).max(LEAST_BYTES) as u32;
    let slot = slots
        .clone()
        .acquire_many_owned(weight)
        .await
        .expect("never closed");
    let answer_memory = reserve(cache.budget(), want).await?;
    let link = cache.link(member);
    let answers = answers.clone();
    tokio::spawn(async move {
        let reply = match (refusal, link) {
            (Some(refusal), _) => refusal,
            (None, Some(link)) => link.call(request).await,
            (None, None) => Reply::Unreachable,
        };
        let reply = match reply {
            Reply::Done { bytes, checksum } if !bytes.is_empty() => {
                metrics.served().relayed(bytes.len() as u64);
                let bytes = answer_memory.hold(bytes);
                Reply::Done { bytes, checksum }
            }
            reply => reply,
        };
        // The client may have left.
        let _ = answers.send(reply.into_frame(id)).await;
        drop(slot);
    });
    Ok(())
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Frame>,
    stall_timeout: Duration,
) -> io::Result<()> {
    let mut outbox = Outbox::new();
    while let Some(frame) = queue.recv().await {
        outbox.push(frame);
        while let Ok(frame) = queue.try_recv() {
            outbox.push(frame);
        }
        while outbox.frames() > 0 {
            let written = time::timeout(stall_timeout, writer.write_buf(&mut outbox)).await;
            if written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
    Ok(())
}

async fn reserve(budget: &Budget, bytes: usize) -> io::Result<Reservation> {
    let reserving = infinicache_client::read::reserve(budget, bytes).await;
    reserving.map_err(|late| io::Error::new(io::ErrorKind::TimedOut, late))
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

//! The relay: a smart client's frames to the nodes, and their answers back.
//!
//! After `IC.LINK` a client connection carries frames, each naming the member it
//! is for. A frame is read only once there is memory for its payload, and passed
//! on only once there is memory for its answer, so a client that floods or does
//! not read costs no more than its share, nor for longer than others may stall. A member that does not answer holds up
//! only the requests made of it.
//!
//! A client may put units of writes that it has opened, where the proxy placed
//! them, and get units. Everything that decides what exists is the proxy's alone.

use std::{io, sync::Arc, time::Duration};

use infinicache_engine::{Budget, NodeLink, Pool, budget::Reservation};
use infinicache_host::task;
use infinicache_resp::{ConnectionParts, Error, Timeouts};
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

/// Relays until the client leaves, breaks the rules or is silent for too long.
///
/// # Errors
///
/// Whatever ended the connection, other than its end.
pub(crate) async fn serve<R, W>(
    parts: ConnectionParts<R, W>,
    cache: Cache,
    timeouts: Timeouts,
) -> Result<(), Error>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (answers, queue) = mpsc::channel(ANSWERS);
    let decoder = Decoder::starting_with(parts.ahead);
    tokio::select! {
        biased;
        ended = read(parts.reader, decoder, answers, cache, timeouts) => ended,
        ended = write(parts.writer, queue, timeouts.stall) => ended,
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    answers: mpsc::Sender<Frame>,
    cache: Cache,
    timeouts: Timeouts,
) -> Result<(), Error> {
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
        let is_between = decoder.is_between_frames();
        let limit = match is_between {
            true => timeouts.idle,
            // There is memory for the rest.
            false => Some(timeouts.stall),
        };
        match within(limit, reader.read_buf(&mut decoder.buffer())).await {
            Some(received) => {
                if received? == 0 {
                    return Ok(());
                }
            }
            None if !is_between => return Err(Error::Stalled(timeouts.stall)),
            // It waits for an answer.
            None if slots.available_permits() < CLIENT_BYTES => {}
            None => return Err(Error::Idle(timeouts.idle.unwrap_or_default())),
        }
    }
}

/// What `future` gives within a time, if that is limited.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

async fn relay(
    frame: Frame,
    memory: Option<Reservation>,
    slots: &Arc<Semaphore>,
    answers: &mpsc::Sender<Frame>,
    cache: &Cache,
) -> Result<(), Error> {
    let (id, member) = (frame.header.id, frame.header.member);
    let mut request = Request::from_frame(frame).map_err(invalid)?;
    let refusal = match &mut request {
        Request::Put { chunk, bytes, .. } => {
            if let Some(memory) = memory {
                *bytes = memory.hold(std::mem::take(bytes));
            }
            match cache.writes().open().get(chunk.write) {
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
            return Err(invalid(FrameError::Unexpected(other.kind())).into());
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
    task::spawn(async move {
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
) -> Result<(), Error> {
    let mut outbox = Outbox::new();
    while let Some(frame) = queue.recv().await {
        outbox.push(frame);
        while let Ok(frame) = queue.try_recv() {
            outbox.push(frame);
        }
        while outbox.frames() > 0 {
            let written = time::timeout(stall_timeout, writer.write_buf(&mut outbox)).await;
            if written.map_err(|_| Error::Stalled(stall_timeout))?? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
    }
    Ok(())
}

async fn reserve(budget: &Budget, bytes: usize) -> io::Result<Reservation> {
    let reserving = infinicache_engine::read::reserve(budget, bytes).await;
    reserving.map_err(|late| io::Error::new(io::ErrorKind::OutOfMemory, late))
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use infinicache_wire::{Header, Kind};
    use tokio::io::{duplex, split};

    use super::*;
    use crate::cache::fixture::OneNode;

    const TIMEOUTS: Timeouts = Timeouts {
        stall: Duration::from_millis(40),
        idle: Some(Duration::from_millis(20)),
    };

    /// What ends the link of a client that sends so many bytes of a frame, and then nothing.
    async fn ended_after(sent: usize) -> Result<(), Error> {
        let one = OneNode::new().await;
        let payload = vec![7; 100_000];
        let header = Header {
            length: payload.len() as u32,
            ..Header::of(Kind::Put)
        };
        let frame = [&header.encode()[..], &payload].concat();
        let (ours, mut theirs) = duplex(2 * frame.len());
        theirs.write_all(&frame[..sent]).await.unwrap();
        let (reader, writer) = split(ours);
        let ahead = bytes::BytesMut::new();
        let parts = ConnectionParts {
            reader,
            writer,
            ahead,
        };
        let ended = serve(parts, one.cache.clone(), TIMEOUTS).await;
        assert_eq!(one.cache.budget().used(), 0);
        drop(theirs);
        ended
    }

    #[tokio::test]
    async fn a_client_that_stops_within_a_frame_is_dropped_and_its_memory_is_free() {
        for sent in [1, 40, 1_000, 100_000] {
            let ended = ended_after(sent).await;
            assert!(matches!(ended, Err(Error::Stalled(_))), "{sent}: {ended:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_no_frame_is_idle() {
        let ended = ended_after(0).await;
        assert!(matches!(ended, Err(Error::Idle(_))), "{ended:?}");
    }
}

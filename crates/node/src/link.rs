//! Frames in, frames out, over one connection: to the proxy, or from a peer that exchanges units
//! directly.
//!
//! One task reads, answers and writes: answering never waits, so a second task
//! would only add hops. Replies queue up in an outbox while there is more to
//! read, and go out together in one vectored write once there is not, or once
//! enough have gathered. Reading goes on while a write is stuck, until the
//! outbox is full; then the proxy finds the connection full in its turn.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use infinicache_host::{clock, task};
use infinicache_socket::Stream;
use infinicache_wire::{ByeReason, Decoder, FrameError, Kind, Outbox, Reply, Request};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::{instance::Instance, session_timer::LinkActivity, tokens::Tokens, transfer::Transfers};

/// Replies that may wait to be written before reading pauses.
const MAX_FRAMES: usize = 1024;

/// Bytes of replies that may wait, payload included.
const MAX_BYTES: usize = 16 << 20;

/// Replies worth a write of their own even if there is more to read. Eight
/// units take about 0.3 ms to arrive, so no reply waits for longer than that.
const BATCH_FRAMES: usize = 8;

/// Bytes of replies worth a write of their own: a unit, or half of one.
const BATCH_BYTES: usize = 64 << 10;

/// How long the proxy may take nothing of what waits for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Chunks that the proxy may have copied at once.
const MAX_COPIES: usize = 256;

/// How long the last replies and the goodbye may take to be written.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the other side closed it")]
    Closed,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the other side sent what it may not ask for")]
    Frame(#[from] FrameError),
    #[error("the other side made no progress for {STALL_TIMEOUT:?}")]
    Stalled,
}

/// What the peer of a link may ask for.
#[derive(Debug)]
pub(crate) enum Rights {
    /// Everything; and it may be idle for as long as it likes.
    Proxy,
    /// To put and get units.
    Peer,
    /// To put and get those that there are tokens for.
    Client(Tokens),
}

impl Rights {
    /// Whether the other side may ask for such things at all.
    fn cover(&self, request: &Request) -> bool {
        match request {
            Request::Put { .. } | Request::Get { .. } => true,
            _ => matches!(self, Self::Proxy),
        }
    }

    /// Whether it may ask for this one now.
    fn allow(&self, request: &Request) -> bool {
        match self {
            Self::Client(tokens) => tokens.allow(request),
            _ => true,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    rights: Rights,
    stream: Stream,
    decoder: Decoder,
    outbox: Outbox,
    /// Chunks on their way to other nodes.
    copying: usize,
}

/// What a link got done.
enum Step {
    Read(usize),
    Written,
}

impl Link {
    /// A link over a connection of which `decoder` has read the handshake, and perhaps more.
    pub(crate) fn new(stream: Stream, decoder: Decoder, rights: Rights) -> Self {
        Self {
            rights,
            stream,
            decoder,
            outbox: Outbox::new(),
            copying: 0,
        }
    }

    /// Answers requests until the link is lost, or the node goes.
    ///
    /// # Errors
    ///
    /// When the link is lost. `Ok` only after `exit.now`.
    pub(crate) async fn serve(
        mut self,
        instance: &Instance,
        transfers: &Arc<Transfers>,
    ) -> Result<(), LinkError> {
        let exit = &instance.exit;
        let mut attendance = instance.clock.attend();
        // The requests that wait for copies; dropped, and the copies with them, when the link ends.
        let mut copies = JoinSet::new();
        let mut said_bye = false;
        let mut progress = clock::now();
        let mut stall = std::pin::pin!(sleep(STALL_TIMEOUT));
        loop {
            self.answer(instance, transfers, &mut attendance, &mut copies)?;
            let waiting = self.outbox.has_remaining();
            if !waiting && copies.is_empty() {
                attendance.served();
            }
            tokio::select! {
                // A busy link never waits, so what comes seldom is looked at first.
                biased;
                () = exit.announced.cancelled(), if !said_bye => {
                    said_bye = true;
                    progress = clock::now();
                    self.outbox.push(ByeReason::Terminated.to_frame());
                }
                () = attendance.session_over(), if !said_bye => {
                    progress = clock::now();
                    self.outbox.push(ByeReason::SessionOver.to_frame());
                }
                () = exit.now.cancelled() => break,
                Some(Ok((id, reply))) = copies.join_next() => {
                    self.copying -= 1;
                    if !waiting {
                        progress = clock::now();
                    }
                    self.outbox.push(reply.into_frame(id));
                }
                () = &mut stall => {
                    let may_idle = matches!(self.rights, Rights::Proxy) && !waiting;
                    let stuck = if !may_idle { clock::now() - progress } else { Duration::ZERO };
                    let Some(rest) = STALL_TIMEOUT.checked_sub(stuck) else {
                        return Err(LinkError::Stalled);
                    };
                    stall.set(sleep(rest));
                }
                step = poll_fn(|context| self.poll_step(context)) => match step? {
                    Step::Read(0) => return Err(LinkError::Closed),
                    // What waits has not moved by that.
                    Step::Read(_) if waiting => {}
                    Step::Read(_) | Step::Written => progress = clock::now(),
                },
            }
        }
        if !said_bye {
            self.outbox.push(ByeReason::Terminated.to_frame());
        }
        // Nothing is lost by giving up: the proxy notices that the link is gone.
        let _ = timeout(FAREWELL_TIMEOUT, self.end()).await;
        Ok(())
    }

    /// Answers what has been read, as far as there is room for replies.
    fn answer(
        &mut self,
        instance: &Instance,
        transfers: &Arc<Transfers>,
        attendance: &mut LinkActivity<'_>,
        copies: &mut JoinSet<(u32, Reply)>,
    ) -> Result<(), FrameError> {
        let now = clock::now();
        while self.has_room()
            && let Some(frame) = self.decoder.decode()?
        {
            if let Rights::Client(tokens) = &mut self.rights
                && frame.header.kind == Kind::Token
            {
                tokens.show(&frame, &instance.identity)?;
                continue;
            }
            let id = frame.header.id;
            let request = Request::from_frame(frame)?;
            if !self.rights.cover(&request) {
                return Err(FrameError::Unexpected(request.kind()));
            }
            // Sessions of nodes that are asked for nothing but signs of life shall end.
            attendance.serving(!matches!(request, Request::Ping { .. }));
            if let Request::Copy {
                chunk,
                units,
                target,
            } = request
            {
                let transfers = Arc::clone(transfers);
                self.copying += 1;
                let copying = async move { (id, transfers.copy(chunk, units, target).await) };
                copies.spawn(task::scoped(copying));
                continue;
            }
            let reply = match &self.rights {
                Rights::Proxy => instance.service.answer(now, request),
                rights if rights.allow(&request) => instance.service.answer_late(now, request),
                Rights::Peer | Rights::Client(_) => Reply::Unreachable,
            };
            self.outbox.push(reply.into_frame(id));
        }
        Ok(())
    }

    /// Reads or writes once, whichever is due.
    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let enough = self.outbox.frames() >= BATCH_FRAMES || self.outbox.remaining() >= BATCH_BYTES;
        if enough && let Poll::Ready(written) = self.poll_write(context) {
            return Poll::Ready(written);
        }
        if self.has_room() {
            let buffer = &mut self.decoder.buffer();
            let read = poll_read_buf(Pin::new(&mut self.stream), context, buffer);
            if let Poll::Ready(read) = read {
                return Poll::Ready(read.map(Step::Read));
            }
        }
        if !enough && self.outbox.has_remaining() {
            return self.poll_write(context);
        }
        Poll::Pending
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let stream = Pin::new(&mut self.stream);
        ready!(poll_write_buf(stream, context, &mut self.outbox))?;
        Poll::Ready(Ok(Step::Written))
    }

    fn has_room(&self) -> bool {
        self.outbox.frames() < MAX_FRAMES
            && self.outbox.remaining() < MAX_BYTES
            && self.copying < MAX_COPIES
    }

    /// Writes what waits and closes, so that the proxy reads it to the last byte.
    async fn end(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.outbox).await?;
        self.stream.shutdown().await?;
        // Closing over unread requests would reset the connection, and what
        // the proxy has not read yet would be lost with it.
        let mut ignored = Vec::with_capacity(64 << 10);
        while self.stream.read_buf(&mut ignored).await? > 0 {
            ignored.clear();
        }
        Ok(())
    }
}

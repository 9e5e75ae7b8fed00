//! One connection, many requests: frames out, frames in, answers to their callers.
//!
//! A reader and a writer task own the two halves of the connection. A caller
//! leaves a ticket for its answer and queues its frame; the writer takes all
//! that is queued into one vectored write; the reader hands each reply to the
//! holder of its ticket. Answers may come in any order, and a caller that has
//! left does not disturb the others.
//!
//! Payload in flight to each member is bounded by credit: a member that does
//! not answer delays its own callers and no others.
//!
//! `gather` asks several members at once.

pub mod gather;
mod gather_slot;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use infinicache_host::{clock, hash::HashMap, task};
use infinicache_wire::{
    Decoder, Frame, FrameError, Kind, MAX_PAYLOAD, MemberId, Outbox, Reply, Request,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc, oneshot},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::gather_slot::GatherSlot;
use crate::link::NodeLink;

/// Payload that may be on its way to one member: 8 units.
pub const MEMBER_CREDIT: usize = 8 * MAX_PAYLOAD;

/// Frames that may wait for the writer.
const QUEUE: usize = 64;

/// Payload of a frame that is written as soon as it comes; smaller ones are gathered.
const WORTH_A_WRITE: usize = 32 * 1024;

/// How long a member may take to answer before it counts as late.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A connection that many callers share. Clones are handles to the same one; it ends with the last.
#[derive(Clone, Debug)]
pub struct Mux(Arc<Handle>);

/// What the callers share. The tasks do not: they end when it is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<Frame>,
    tickets: Mutex<PendingCalls>,
    closed: CancellationToken,
    started: Instant,
    /// When something was read last, in microseconds since the start.
    heard: AtomicU64,
}

#[derive(Debug, Default)]
struct PendingCalls {
    waiting: HashMap<u32, CallWaiter>,
    last: u32,
    closed: bool,
}

/// Who waits for an answer.
#[derive(Debug)]
enum CallWaiter {
    Alone(oneshot::Sender<Reply>),
    Slot(GatherSlot),
}

impl CallWaiter {
    fn answer(self, reply: Reply) {
        match self {
            // The caller may have left in the meantime.
            Self::Alone(sender) => drop(sender.send(reply)),
            Self::Slot(seat) => seat.answer(reply),
        }
    }
}

impl Mux {
    /// Starts the two tasks. `decoder` may hold bytes that were read already;
    /// `unsolicited` is given each frame that answers nothing.
    pub fn start<R, W>(
        reader: R,
        writer: W,
        decoder: Decoder,
        unsolicited: impl FnMut(Frame) + Send + 'static,
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (queue, queued) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            queue,
            tickets: Mutex::default(),
            closed: CancellationToken::new(),
            started: clock::now(),
            heard: AtomicU64::new(0),
        });

        let (reading, writing) = (shared.clone(), shared.closed.clone());
        task::spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = read_frames(reader, decoder, &reading, unsolicited) => ended,
                () = reading.closed.cancelled() => Ok(()),
            };
            debug!(?ended, "link ended");
            reading.close();
        });
        task::spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = write_frames(writer, queued) => ended,
                () = writing.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                debug!(%error, "link cannot be written to");
            }
            writing.cancel();
        });
        Self(Arc::new(Handle(shared)))
    }

    /// The route to one member over this connection.
    pub fn link(&self, member: MemberId) -> MuxLink {
        MuxLink {
            mux: self.clone(),
            member,
            credit: Arc::new(Semaphore::new(MEMBER_CREDIT)),
        }
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.shared().closed.cancelled().await;
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared().closed.is_cancelled()
    }

    /// When anything last came over the connection; at first, when it began.
    pub fn heard(&self) -> Instant {
        let shared = self.shared();
        shared.started + Duration::from_micros(shared.heard.load(Relaxed))
    }

    /// Ends the connection: every caller that waits for an answer gets [`Reply::Unreachable`].
    pub fn close(&self) {
        self.shared().close();
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// Queues a frame that nothing is answered to; whether there was room.
    pub fn post(&self, frame: Frame) -> bool {
        self.shared().queue.try_send(frame).is_ok()
    }

    async fn exchange(
        &self,
        member: MemberId,
        request: Request,
        sent: impl FnOnce() + Send,
    ) -> Reply {
        let (sender, answer) = oneshot::channel();
        let Some(ticket) = PendingCall::take(self.shared(), CallWaiter::Alone(sender)) else {
            return Reply::Unreachable;
        };
        let frame = request.into_frame(ticket.id, member);
        if self.shared().queue.send(frame).await.is_err() {
            return Reply::Unreachable;
        }
        sent();
        answer.await.unwrap_or(Reply::Unreachable)
    }
}

impl Shared {
    fn tickets(&self) -> MutexGuard<'_, PendingCalls> {
        // A map of senders is whole between any two statements.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.closed.cancel();
        let waiting = {
            let mut tickets = self.tickets();
            tickets.closed = true;
            std::mem::take(&mut tickets.waiting)
        };
        drop(waiting);
    }
}

/// A caller's place in the queue for answers; given up when dropped.
struct PendingCall<'a> {
    shared: &'a Shared,
    id: u32,
}

impl<'a> PendingCall<'a> {
    /// Enters a caller that waits for an answer; `None` if the link has ended.
    fn take(shared: &'a Shared, asker: CallWaiter) -> Option<Self> {
        let mut tickets = shared.tickets();
        if tickets.closed {
            return None;
        }
        let id = loop {
            tickets.last = tickets.last.wrapping_add(1);
            if !tickets.waiting.contains_key(&tickets.last) {
                break tickets.last;
            }
        };
        tickets.waiting.insert(id, asker);
        Some(Self { shared, id })
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        let abandoned = self.shared.tickets().waiting.remove(&self.id);
        drop(abandoned);
    }
}

async fn read_frames(
    mut reader: impl AsyncRead + Unpin,
    mut decoder: Decoder,
    shared: &Shared,
    mut unsolicited: impl FnMut(Frame),
) -> io::Result<()> {
    let broken = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        while let Some(frame) = decoder.decode().map_err(broken)? {
            if frame.header.kind != Kind::Reply {
                unsolicited(frame);
                continue;
            }
            let asker = shared.tickets().waiting.remove(&frame.header.id);
            let reply = Reply::from_frame(frame).map_err(broken)?;
            if let Some(asker) = asker {
                asker.answer(reply);
            }
        }
        if reader.read_buf(&mut decoder.buffer()).await? == 0 {
            return Ok(());
        }
        let heard = (clock::now() - shared.started).as_micros() as u64;
        shared.heard.store(heard, Relaxed);
    }
}

async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut outbox = Outbox::new();
    while let Some(frame) = queue.recv().await {
        if frame.payload.len() < WORTH_A_WRITE {
            // Those who are about to queue theirs do so before this task is run again.
            tokio::task::yield_now().await;
        }
        outbox.push(frame);
        while let Ok(frame) = queue.try_recv() {
            outbox.push(frame);
        }
        writer.write_all_buf(&mut outbox).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// The route to one member over a shared connection.
#[derive(Clone, Debug)]
pub struct MuxLink {
    mux: Mux,
    member: MemberId,
    credit: Arc<Semaphore>,
}

impl MuxLink {
    /// The connection.
    pub fn mux(&self) -> &Mux {
        &self.mux
    }

    /// The same as [`NodeLink::call`], with a deadline of its own: for what takes longer than
    /// an answer usually does.
    pub async fn call_within(&self, request: Request, deadline: Duration) -> Reply {
        self.within(request, deadline, || ()).await
    }

    async fn within(
        &self,
        request: Request,
        deadline: Duration,
        sent: impl FnOnce() + Send,
    ) -> Reply {
        time::timeout(deadline, self.exchange(request, sent))
            .await
            .unwrap_or(Reply::Late)
    }

    async fn exchange(&self, request: Request, sent: impl FnOnce() + Send) -> Reply {
        // What decides something must not queue up behind the units that wait for credit.
        let weight = match &request {
            Request::Put { bytes, .. } => bytes.len(),
            _ => 0,
        };
        let credit = u32::try_from(weight).expect("a payload is at most one unit");
        let _credit = self
            .credit
            .acquire_many(credit)
            .await
            .expect("never closed");
        self.mux.exchange(self.member, request, sent).await
    }
}

impl NodeLink for MuxLink {
    async fn call(&self, request: Request) -> Reply {
        self.call_within(request, CALL_DEADLINE).await
    }

    async fn call_noting(&self, request: Request, sent: impl FnOnce() + Send) -> Reply {
        self.within(request, CALL_DEADLINE, sent).await
    }
}

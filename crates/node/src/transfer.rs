//! Couriers: chunks on their way to another node.
//!
//! There is one for each node that something goes to: a task with a connection
//! that stays open for a while. It puts the units of one chunk after the other,
//! with a bounded window of them unacknowledged, across chunks, so that many
//! small ones take hardly longer than one large one. Payload is referred to where
//! the store holds it, and never copied. A caller that wants a chunk moved waits
//! until the other node has acknowledged every unit, or their time is over: then
//! the rest is not sent.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Buf;
use infinicache_host::{hash::HashMap, task};
use infinicache_socket::{ReadHalf, Stream};
use infinicache_wire::{
    ChunkId, Decoder, InstanceId, Kind, MAX_PAYLOAD, MemberId, Outbox, Reply, Request,
    copy::Target,
    direct::{DirectAnswer, DirectCall},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use crate::{
    dial::connect,
    handshake::{HANDSHAKE_DEADLINE, HandshakeError, nonce, read, write},
    instance::Instance,
};

/// Bytes that may be unacknowledged by one node: 8 units.
const WINDOW_BYTES: usize = 8 * MAX_PAYLOAD;

/// Units that may be.
const WINDOW_UNITS: usize = 256;

/// Chunks that may wait for one transfer task.
const QUEUE: usize = 256;

/// Nodes that chunks may be on their way to at once.
const MAX_TRANSFERS: usize = 64;

/// How long a transfer task without work stays, and how long one waits for the other side to move.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// All transfer tasks, by whom they go to.
#[derive(Debug)]
pub(crate) struct Transfers {
    /// Whose chunks they carry.
    from: Arc<Instance>,
    running: Mutex<HashMap<InstanceId, mpsc::Sender<TransferJob>>>,
}

/// A chunk that is to be put elsewhere.
#[derive(Debug)]
struct TransferJob {
    chunk: ChunkId,
    units: u32,
    longest: u32,
    /// Closed once the caller waits no more.
    done: oneshot::Sender<Reply>,
}

impl Transfers {
    /// None yet.
    pub(crate) fn new(from: Arc<Instance>) -> Self {
        Self {
            from,
            running: Mutex::default(),
        }
    }

    /// Puts a complete chunk on another node; what became of it.
    pub(crate) async fn copy(self: Arc<Self>, chunk: ChunkId, units: u32, target: Target) -> Reply {
        if !self.from.service.is_whole(chunk, units) {
            return Reply::NotFound;
        }
        let deadline = Duration::from_millis(target.deadline_ms.into());
        let (done, answer) = oneshot::channel();
        let job = TransferJob {
            chunk,
            units,
            longest: target.longest,
            done,
        };
        let Some(transfer) = self.transfer(target) else {
            return Reply::Unreachable;
        };
        let asking = async {
            match transfer.send(job).await {
                Ok(()) => answer.await.unwrap_or(Reply::Unreachable),
                Err(_) => Reply::Unreachable,
            }
        };
        timeout(deadline, asking).await.unwrap_or(Reply::Late)
    }

    /// The transfer task to a node; a new one if there is none.
    fn transfer(self: &Arc<Self>, target: Target) -> Option<mpsc::Sender<TransferJob>> {
        let mut transfers = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.retain(|_, transfer| !transfer.is_closed());
        if let Some(transfer) = transfers.get(&target.instance) {
            return Some(transfer.clone());
        }
        if transfers.len() >= MAX_TRANSFERS {
            return None;
        }
        let (sender, jobs) = mpsc::channel(QUEUE);
        transfers.insert(target.instance, sender.clone());
        let transfers = Arc::clone(self);
        task::spawn(async move {
            tokio::select! {
                biased;
                () = transfers.go(target, jobs) => {}
                () = transfers.from.exit.now.cancelled() => {}
            }
        });
        Some(sender)
    }

    async fn go(&self, target: Target, jobs: mpsc::Receiver<TransferJob>) {
        let (address, instance) = (&target.address, target.instance);
        let dialling = timeout(HANDSHAKE_DEADLINE, self.dial_node(address, instance)).await;
        let (stream, decoder) = match dialling.unwrap_or(Err(HandshakeError::Late)) {
            Ok(dialled) => dialled,
            // Callers that wait learn it from the end of the queue.
            Err(error) => return warn!(address, %instance, %error, "node not reached"),
        };
        match TransferTask::new(&self.from, jobs)
            .go(stream, decoder)
            .await
        {
            Ok(()) => debug!(address, %instance, "transfer is idle and ends"),
            Err(error) => warn!(address, %instance, %error, "transfer failed"),
        }
    }

    async fn dial_node(
        &self,
        address: &str,
        instance: InstanceId,
    ) -> Result<(Stream, Decoder), HandshakeError> {
        let mut stream = connect(address).await?;
        let mut decoder = Decoder::new();
        let call = DirectCall::new(instance, nonce()?);
        write(&mut stream, call.to_frame()).await?;
        let answer = DirectAnswer::from_frame(&read(&mut stream, &mut decoder).await?)?;
        let seal = call.seal(&answer, &self.from.identity.secret)?;
        write(&mut stream, seal.to_frame()).await?;
        Ok((stream, decoder))
    }
}

/// The work of one transfer task.
struct TransferTask<'a> {
    from: &'a Instance,
    jobs: mpsc::Receiver<TransferJob>,
    /// By number: chunks that are not acknowledged to their last unit.
    transfers_by_number: HashMap<u64, ChunkTransfer>,
    /// Those of which not every unit has been sent, in the order of their arrival.
    unsent: VecDeque<u64>,
    /// By request: which order each unit belongs to that is not acknowledged, and its length.
    flying: HashMap<u32, (u64, usize)>,
    flying_bytes: usize,
    outbox: Outbox,
    last_transfer: u64,
    last_request: u32,
}

async fn read_more(reader: &mut ReadHalf, decoder: &mut Decoder) -> io::Result<usize> {
    reader.read_buf(&mut decoder.buffer()).await
}

struct ChunkTransfer {
    job: TransferJob,
    sent: u32,
    acknowledged: u32,
}

impl<'a> TransferTask<'a> {
    fn new(from: &'a Instance, jobs: mpsc::Receiver<TransferJob>) -> Self {
        Self {
            from,
            jobs,
            transfers_by_number: HashMap::default(),
            unsent: VecDeque::new(),
            flying: HashMap::default(),
            flying_bytes: 0,
            outbox: Outbox::new(),
            last_transfer: 0,
            last_request: 0,
        }
    }

    /// Works until there is nothing to do for a while.
    async fn go(mut self, stream: Stream, mut decoder: Decoder) -> Result<(), HandshakeError> {
        let (mut reader, mut writer) = stream.into_split();
        let mut due = Instant::now() + IDLE_TIMEOUT;
        loop {
            self.fill();
            let is_idle = self.transfers_by_number.is_empty() && self.flying.is_empty();
            tokio::select! {
                biased;
                job = self.jobs.recv(), if self.transfers_by_number.len() < QUEUE => {
                    let Some(job) = job else { return Ok(()) };
                    if is_idle {
                        due = Instant::now() + IDLE_TIMEOUT;
                    }
                    self.take(job);
                }
                written = writer.write_buf(&mut self.outbox), if self.outbox.has_remaining() => {
                    written?;
                    due = Instant::now() + IDLE_TIMEOUT;
                }
                read = read_more(&mut reader, &mut decoder) => {
                    if read? == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    due = Instant::now() + IDLE_TIMEOUT;
                    while let Some(frame) = decoder.decode()? {
                        if frame.header.kind == Kind::Reply {
                            self.answered(frame.header.id, Reply::from_frame(frame)?);
                        }
                    }
                }
                () = sleep_until(due) => match is_idle {
                    true => return Ok(()),
                    false => return Err(HandshakeError::Late),
                },
            }
        }
    }

    fn take(&mut self, job: TransferJob) {
        self.last_transfer += 1;
        let order = ChunkTransfer {
            job,
            sent: 0,
            acknowledged: 0,
        };
        self.transfers_by_number.insert(self.last_transfer, order);
        self.unsent.push_back(self.last_transfer);
    }

    /// Sends units until the window is full.
    fn fill(&mut self) {
        while self.flying_bytes < WINDOW_BYTES
            && self.flying.len() < WINDOW_UNITS
            && let Some(number) = self.unsent.front().copied()
        {
            let Some(order) = self.transfers_by_number.get_mut(&number) else {
                self.unsent.pop_front();
                continue;
            };
            let (chunk, unit) = (order.job.chunk, order.sent);
            if order.job.done.is_closed() {
                self.end(number, Reply::Late);
                continue;
            }
            if unit == order.job.units {
                self.unsent.pop_front();
                if order.acknowledged == unit {
                    self.end(number, Reply::DONE);
                }
                continue;
            }
            let held = self.from.service.unit(chunk, unit);
            let held = held.filter(|held| held.bytes.len() <= order.job.longest as usize);
            let Some(held) = held else {
                self.end(number, Reply::NotFound);
                continue;
            };
            order.sent += 1;
            self.last_request = self.last_request.wrapping_add(1);
            let length = held.bytes.len();
            self.flying.insert(self.last_request, (number, length));
            self.flying_bytes += length;
            let put = Request::Put {
                chunk,
                unit,
                checksum: held.checksum,
                bytes: held.bytes,
            };
            self.outbox
                .push(put.into_frame(self.last_request, MemberId(0)));
        }
    }

    fn answered(&mut self, request: u32, reply: Reply) {
        let Some((number, length)) = self.flying.remove(&request) else {
            return;
        };
        self.flying_bytes -= length;
        let Some(order) = self.transfers_by_number.get_mut(&number) else {
            return;
        };
        if !matches!(reply, Reply::Done { .. }) {
            return self.end(number, reply);
        }
        order.acknowledged += 1;
        self.from.service.counters.bytes_out.inc_by(length as u64);
        if order.acknowledged == order.job.units {
            self.end(number, Reply::DONE);
        }
    }

    fn end(&mut self, number: u64, reply: Reply) {
        if let Some(order) = self.transfers_by_number.remove(&number) {
            // The caller may have left.
            let _ = order.job.done.send(reply);
        }
    }
}

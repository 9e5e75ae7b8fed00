//! One connection: bytes on their way to each of its ends.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut, Bytes};
use infinicache_host::clock;

use super::latency::latency;

/// Bytes that may be under way, or unread, to each end.
const WINDOW: usize = 512 << 10;

/// The most that one write sends.
const SEGMENT: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Pipe {
    id: u64,
    ends: [SocketAddr; 2],
    ways: Mutex<[Way; 2]>,
}

/// What is on its way to one end.
#[derive(Debug, Default)]
struct Way {
    segments: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// When the last of it arrives: nothing overtakes.
    last: Option<Instant>,
    /// When this end learns that nothing more will come.
    ended: Option<Instant>,
    /// When this end learns that the connection is broken.
    broken: Option<Instant>,
    /// Nothing gets there any more.
    is_severed: bool,
    /// The end is closed: nobody takes what arrives.
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    /// When what is sent now arrives.
    fn arrival(&mut self) -> Instant {
        let due = clock::now() + latency();
        let arrival = self.last.map_or(due, |last| last.max(due));
        self.last = Some(arrival);
        arrival
    }

    /// When there is something to see next at this end.
    fn due(&self) -> Option<Instant> {
        let first = self.segments.front().map(|(due, _)| *due);
        let due = match first {
            Some(_) => first,
            None => self.ended,
        };
        [due, self.broken].into_iter().flatten().min()
    }

    fn is_broken(&self) -> bool {
        self.broken.is_some_and(|at| at <= clock::now())
    }

    fn breaks_at(&mut self, at: Instant) {
        self.broken = Some(self.broken.map_or(at, |it| it.min(at)));
        self.wake_reader();
        self.wake_writer();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Wakes those who write to this end.
    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// What there is to read.
pub(super) enum Readable {
    Now,
    At(Instant),
    Never,
}

impl Pipe {
    pub(super) fn new(id: u64, ends: [SocketAddr; 2]) -> Self {
        Self {
            id,
            ends,
            ways: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        self.ends
    }

    fn ways(&self) -> MutexGuard<'_, [Way; 2]> {
        self.ways.lock().expect("plain data")
    }

    /// Whether bytes get through, both ways.
    pub(super) fn is_up(&self) -> bool {
        let ways = self.ways();
        let is_up = |way: &Way| way.broken.is_none() && way.ended.is_none() && !way.is_severed;
        ways.iter().all(is_up)
    }

    /// What is under way is lost, and each end learns of it after so long.
    pub(super) fn sever(&self, one: Duration, other: Duration) {
        let now = clock::now();
        for (way, notices) in self.ways().iter_mut().zip([one, other]) {
            let arrived = way
                .segments
                .iter()
                .take_while(|(due, _)| *due <= now)
                .count();
            for (_, lost) in way.segments.drain(arrived..) {
                way.bytes -= lost.len();
            }
            way.is_severed = true;
            way.ended = way.ended.filter(|due| *due <= now);
            way.breaks_at(now + notices);
        }
    }

    /// Whether an end has something to read; who asks is told when there may be.
    pub(super) fn readable(&self, end: usize, context: &Context<'_>) -> Readable {
        let way = &mut self.ways()[end];
        match way.due() {
            Some(due) if due <= clock::now() => Readable::Now,
            due => {
                way.reader = Some(context.waker().clone());
                due.map_or(Readable::Never, Readable::At)
            }
        }
    }

    /// Takes what has arrived at an end.
    pub(super) fn read(&self, end: usize, mut buffer: impl BufMut) -> io::Result<usize> {
        let now = clock::now();
        let way = &mut self.ways()[end];
        if way.is_broken() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut read = 0;
        while let Some((due, bytes)) = way.segments.front_mut()
            && *due <= now
            && buffer.has_remaining_mut()
        {
            let taken = bytes.len().min(buffer.remaining_mut());
            buffer.put(bytes.split_to(taken));
            read += taken;
            if bytes.is_empty() {
                way.segments.pop_front();
            }
        }
        way.bytes -= read;
        if read > 0 {
            way.wake_writer();
            return Ok(read);
        }
        let is_ended = way.segments.is_empty() && way.ended.is_some_and(|at| at <= now);
        if is_ended || !buffer.has_remaining_mut() {
            return Ok(0);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Whether an end can send; who asks is woken when it can.
    pub(super) fn poll_writable(&self, end: usize, context: &Context<'_>) -> Poll<()> {
        let ways = &mut *self.ways();
        if ways[end].is_broken() || ways[1 - end].bytes < WINDOW {
            return Poll::Ready(());
        }
        ways[1 - end].writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Sends from an end as much as there is room for.
    pub(super) fn write(&self, end: usize, mut bytes: impl Buf) -> io::Result<usize> {
        let ways = &mut *self.ways();
        if ways[end].is_broken() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let way = &mut ways[1 - end];
        if way.ended.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if way.is_severed {
            return Ok(bytes.remaining());
        }
        if way.bytes >= WINDOW {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let arrival = way.arrival();
        if way.is_closed {
            // Its system answers that nobody is there.
            let sent = bytes.remaining();
            ways[end].breaks_at(arrival + latency());
            return Ok(sent);
        }
        let sent = bytes.remaining().min(SEGMENT).min(WINDOW - way.bytes);
        way.segments.push_back((arrival, bytes.copy_to_bytes(sent)));
        way.bytes += sent;
        way.wake_reader();
        Ok(sent)
    }

    /// An end sends nothing any more.
    pub(super) fn shut_down(&self, end: usize) {
        let way = &mut self.ways()[1 - end];
        if way.ended.is_none() && !way.is_severed {
            way.ended = Some(way.arrival());
            way.wake_reader();
        }
    }

    /// An end is gone. If it has not read all that came, the other end is told so.
    pub(super) fn close(&self, end: usize) {
        let is_unread = {
            let ways = &mut *self.ways();
            ways[end].is_closed = true;
            ways[end].wake_writer();
            let is_unread = !ways[end].segments.is_empty() && !ways[end].is_severed;
            ways[end].segments.clear();
            ways[end].bytes = 0;
            if is_unread {
                let arrival = ways[1 - end].arrival();
                ways[1 - end].breaks_at(arrival);
            }
            is_unread
        };
        if !is_unread {
            self.shut_down(end);
        }
    }
}

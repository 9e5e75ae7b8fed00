//! Event loops: threads of their own for connections that are answered with what is at hand.
//!
//! A small value that is at hand is sent in less time than it takes to wake
//! another thread. Workers that share all connections wake each other for every
//! few of them all the same, and take the cores from the clients of this machine.
//! So a connection that has asked for nothing else for a while goes to an event loop,
//! one thread that waits for all of its connections at once and answers what
//! comes, as an event loop does. It comes back with the first command that needs
//! anything else: no event loop ever waits for a node, nor holds a large value.

use std::{
    io,
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use infinicache_host::task;
use infinicache_resp::{Error, Input, Output};
use infinicache_socket::{ReadHalf, WriteHalf, migrate};
use tokio::runtime::{Builder, Handle};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};
use tracing::{Instrument, warn};

use super::{Habit, next};
use crate::command::{self, Flow, RedisSession, Store};

/// Cores to an event loop: the workers need some, and so may clients.
const CORES_EACH: usize = 2;

/// A session over a TCP connection.
type TcpSession<S> = RedisSession<S, ReadHalf, WriteHalf>;

/// All event loops; their threads end when this is dropped.
pub(super) struct EventLoops {
    event_loops: Vec<Handle>,
    next: AtomicUsize,
    _running: DropGuard,
}

impl EventLoops {
    /// Starts as many as suit this machine.
    pub(super) fn start() -> Self {
        let cores = task::cores().map_or(0, NonZero::get);
        let ended = CancellationToken::new();
        let start = |_| event_loop(ended.clone());
        let event_loops: io::Result<Vec<_>> = (0..cores.div_ceil(CORES_EACH)).map(start).collect();
        let event_loops = event_loops.unwrap_or_else(|error| {
            warn!(%error, "no event loops: the workers serve all connections");
            Vec::new()
        });
        Self {
            event_loops,
            next: AtomicUsize::new(0),
            _running: ended.drop_guard(),
        }
    }

    /// Has an event loop answer commands with what is at hand. The session that it gives back is
    /// the caller's runtime's again; it takes the next command after [`Flow::Continue`].
    ///
    /// # Errors
    ///
    /// If the socket cannot change hands, or the event loop failed.
    pub(super) async fn serve<S: Store>(
        &self,
        session: TcpSession<S>,
        draining: &CancellationToken,
    ) -> io::Result<(TcpSession<S>, Result<Flow, Error>)> {
        let turn = self.next.fetch_add(1, Relaxed);
        let Some(event_loop) = self.event_loops.get(turn % self.event_loops.len().max(1)) else {
            return Ok((session, Ok(Flow::Continue)));
        };
        let mut session = session.adopted(|reader, writer| migrate(reader, writer, event_loop))?;
        let draining = draining.clone();
        let serving = async move {
            let flow = commands_now(&mut session, &draining).await;
            (session, flow)
        };
        let serving = AbortOnDropHandle::new(event_loop.spawn(serving.in_current_span()));
        let (session, flow) = serving.await.map_err(io::Error::other)?;
        let here = Handle::current();
        let session = session.adopted(|reader, writer| migrate(reader, writer, &here))?;
        Ok((session, flow))
    }
}

/// Answers commands with what is at hand, until one comes that takes anything else, or many come
/// together: of those, the workers answer more at a time.
async fn commands_now<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    draining: &CancellationToken,
) -> Result<Flow, Error> {
    let mut suits_workers = Habit::default();
    loop {
        let Some((command, is_first)) = next(session, draining).await? else {
            return Ok(Flow::Close);
        };
        if !command::answer_now(session, &command) {
            session.connection.put_back(command);
            return Ok(Flow::Continue);
        }
        session.connection.flush_if_full().await?;
        let is_alone = is_first && !session.connection.is_ready();
        if suits_workers.was(!is_alone) {
            return Ok(Flow::Continue);
        }
    }
}

/// Starts an event loop, for as long as it is not `ended`.
fn event_loop(ended: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("event loop".into())
        .spawn(move || runtime.block_on(ended.cancelled()))?;
    Ok(handle)
}

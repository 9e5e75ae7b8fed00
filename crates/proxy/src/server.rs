//! The Redis port: accepts connections, runs one task for each, here or on a
//! [`event_loop`], drains on shutdown.

mod event_loop;

use std::{sync::Arc, time::Duration};

use infinicache_host::task;
use infinicache_resp::{Command, Connection, ConnectionParts, Error, Input, Output, Timeouts};
use infinicache_socket::{Listener, ReadHalf, Stream, WriteHalf};
use tokio::{sync::Semaphore, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, debug_span, info, warn};

use self::event_loop::EventLoops;
use crate::command::{self, Flow, Observe, RedisSession, ServerContext, Store, store::Resources};

/// So many commands of a kind that follow each other are a habit.
const SETTLED: u32 = 64;

/// Limits of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerConfig {
    /// How many connections may be open at once.
    pub(crate) max_connections: usize,
    pub(crate) timeouts: Timeouts,
    /// How long open connections may take to finish once shutdown begins.
    pub(crate) drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            timeouts: Timeouts {
                stall: Duration::from_secs(30),
                idle: None,
            },
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// Serves a connection after a command has [taken it over](Flow::Takeover).
pub(crate) trait TakeOver: Clone + Send + 'static {
    /// Serves it to its end, or until `draining` is cancelled and it can stop.
    fn take_over(
        self,
        parts: ConnectionParts<ReadHalf, WriteHalf>,
        draining: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// Serves `listener` until `shutdown` completes, then drains: no connection is
/// accepted any more, and each open one is closed as soon as the commands that
/// were received on it are answered.
pub(crate) async fn serve<S: Store>(
    listener: Listener,
    state: Arc<ServerContext<S>>,
    take_over: impl TakeOver,
    config: ServerConfig,
    shutdown: impl Future,
) {
    let server = Server {
        event_loops: Arc::new(EventLoops::start()),
        state,
        take_over,
        config,
        draining: CancellationToken::new(),
        abandoned: CancellationToken::new(),
    };
    let connections = TaskTracker::new();

    tokio::select! {
        biased;
        _ = shutdown => info!(open = connections.len(), "shutdown requested"),
        () = accept(&listener, &server, &connections) => {}
    }

    // Close the port first, so that clients find another replica.
    drop(listener);
    server.draining.cancel();
    connections.close();
    if time::timeout(config.drain_timeout, connections.wait())
        .await
        .is_err()
    {
        warn!(open = connections.len(), "drain timed out");
        server.abandoned.cancel();
        connections.wait().await;
    }
}

/// What every connection is served with.
struct Server<S, T> {
    event_loops: Arc<EventLoops>,
    state: Arc<ServerContext<S>>,
    take_over: T,
    config: ServerConfig,
    /// Connections shall end between two commands.
    draining: CancellationToken,
    /// Connections shall end now.
    abandoned: CancellationToken,
}

impl<S, T: Clone> Clone for Server<S, T> {
    fn clone(&self) -> Self {
        Self {
            event_loops: self.event_loops.clone(),
            state: self.state.clone(),
            take_over: self.take_over.clone(),
            config: self.config,
            draining: self.draining.clone(),
            abandoned: self.abandoned.clone(),
        }
    }
}

async fn accept<S: Store>(
    listener: &Listener,
    server: &Server<S, impl TakeOver>,
    connections: &TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(server.config.max_connections));
    loop {
        let (stream, peer) = infinicache_socket::accept(listener).await;
        // A Redis client expects an error when there are too many, so it is not
        // left waiting in the backlog.
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            server.state.observer.connection_refused();
            debug!(%peer, "connection refused");
            continue;
        };

        let server = server.clone();
        let span = debug_span!("connection", %peer);
        let connection = async move {
            let _open = Open::new(server.state.observer.clone());
            let abandoned = server.abandoned.clone();
            let result = abandoned
                .run_until_cancelled(serve_one(stream, server))
                .await;
            debug!(?result, "closed");
            drop(slot);
        };
        task::spawn(connections.track_future(connection.instrument(span)));
    }
}

/// An open connection, counted for as long as this lives.
struct Open(Arc<dyn Observe>);

impl Open {
    fn new(observer: Arc<dyn Observe>) -> Self {
        observer.connection_opened();
        Self(observer)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

async fn serve_one<S: Store>(
    stream: Stream,
    server: Server<S, impl TakeOver>,
) -> Result<(), Error> {
    // Replies are gathered before they are written, so nothing is gained by
    // the kernel's gathering them again.
    stream.set_nodelay(true)?;
    let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
    let (reader, writer) = stream.into_split();
    let connection = Connection::new(reader, writer, server.config.timeouts);
    let state = server.state.clone();
    let mut session = RedisSession::new(state, connection, peer.to_string(), local.to_string());

    let ended = loop {
        let flow = commands(&mut session, &server.draining).await;
        if !matches!(flow, Ok(Flow::Immediate)) {
            break flow;
        }
        let flow;
        (session, flow) = server.event_loops.serve(session, &server.draining).await?;
        if !matches!(flow, Ok(Flow::Continue)) {
            break flow;
        }
    };
    session.tell();
    match ended {
        Ok(Flow::Takeover) => {
            let parts = session.connection.into_parts().await?;
            server.take_over.take_over(parts, server.draining).await;
        }
        Ok(_) => session.connection.close().await,
        Err(Error::Protocol(reason)) => {
            debug!(%reason, "protocol error");
            session.connection.refuse(reason).await;
        }
        Err(error) => {
            if let Some(reason) = error.reason() {
                server.state.observer.dropped(reason);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Runs commands until the connection is to be closed or taken over, or suits an event loop.
///
/// Draining is observed only when no whole command is left to answer.
async fn commands<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    draining: &CancellationToken,
) -> Result<Flow, Error> {
    let mut suits_lane = Habit::default();
    loop {
        let Some((command, is_first)) = next(session, draining).await? else {
            return Ok(Flow::Close);
        };
        let flow = command::run(session, command).await?;
        if !matches!(flow, Flow::Continue | Flow::Immediate) {
            return Ok(flow);
        }
        session.connection.flush_if_full().await?;
        let is_alone = is_first && !session.connection.is_ready();
        if suits_lane.was(is_alone && flow == Flow::Immediate) {
            return Ok(Flow::Immediate);
        }
    }
}

/// What a connection has done lately.
#[derive(Default)]
struct Habit(u32);

impl Habit {
    /// It has done it, or not; whether it has so often that it can be expected to go on.
    fn was(&mut self, done: bool) -> bool {
        self.0 = if done { self.0 + 1 } else { 0 };
        self.0 >= SETTLED
    }
}

/// The next command of a session, and whether it was not received together with the one before;
/// `None` if there is none before the session is to end.
async fn next<S: Store, R: Input, W: Output>(
    session: &mut RedisSession<S, R, W>,
    draining: &CancellationToken,
) -> Result<Option<(Command, bool)>, Error> {
    let is_first = !session.connection.is_ready();
    if is_first {
        session.tell();
    }
    let command = loop {
        let next = session.connection.next_command(draining.cancelled());
        match next.await {
            // It may have a write open, and send its units over other connections.
            Err(Error::Idle(_)) if !session.owned.is_nothing() => {}
            next => break next?,
        }
    };
    if is_first {
        session.begin();
    }
    Ok(command.map(|command| (command, is_first)))
}

#[cfg(test)]
mod tests;

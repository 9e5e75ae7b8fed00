//! Requests to a proxy, over a few connections that are kept open.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use infinicache_engine::Error;
use redis_protocol::resp2::types::BytesFrame;
use tokio::{sync::Semaphore, time};
use tracing::debug;

use crate::{
    connection::{Connection, Owner},
    connector::Connector,
    error_reply::refusal,
};

/// Whether a request may be sent again when it is not known if it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice does no harm.
    Harmless,
    /// Doing it twice is not the same as once.
    Never,
}

/// Connections to one proxy, as many as there are requests at once, up to a bound.
#[derive(Debug)]
pub(crate) struct Control {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    slots: Semaphore,
    deadline: Duration,
}

impl Control {
    /// At most `connections`, each request for at most `deadline`.
    pub(crate) fn new(connector: Arc<Connector>, connections: usize, deadline: Duration) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
            slots: Semaphore::new(connections),
            deadline,
        }
    }

    /// Sends a request and waits for what is not an error.
    ///
    /// # Errors
    ///
    /// What the proxy refused the request with, or what kept the answer from coming.
    ///
    /// # Cancellation
    ///
    /// Safe: the connection is closed, and the request may have been done or not.
    pub(crate) async fn request(
        &self,
        repeat: Repeat,
        request: Vec<Bytes>,
    ) -> Result<BytesFrame, Error> {
        let (answer, _) = self.request_to_open(repeat, request).await?;
        Ok(answer)
    }

    /// The same of a request that opens something, with what keeps the connection open to which
    /// that belongs.
    ///
    /// # Errors
    ///
    /// As of [`Self::request`].
    pub(crate) async fn request_to_open(
        &self,
        repeat: Repeat,
        request: Vec<Bytes>,
    ) -> Result<(BytesFrame, Owner), Error> {
        let answered = time::timeout(self.deadline, self.exchange(repeat, &request)).await;
        match answered.unwrap_or(Err(Error::TimedOut("the proxy did not answer")))? {
            (BytesFrame::Error(text), _) => Err(refusal(&text)),
            answer => Ok(answer),
        }
    }

    async fn exchange(
        &self,
        repeat: Repeat,
        request: &[Bytes],
    ) -> Result<(BytesFrame, Owner), Error> {
        let _slot = self.slots.acquire().await.expect("never closed");
        let mut used = self.take_idle();
        loop {
            let is_used = used.is_some();
            let mut connection = match used.take() {
                Some(connection) => connection,
                None => self.connector.enter().await?,
            };
            match connection.exchange(request).await {
                Ok(answer) => {
                    let owner = connection.owner();
                    self.idle().push(connection);
                    return Ok((answer, owner));
                }
                // The peer may have closed it just before: a new one shows.
                Err(error) if is_used && repeat == Repeat::Harmless => {
                    debug!(proxy = self.connector.address(), %error, "idle connection broken");
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::Protocol(error.to_string()));
                }
                Err(error) => {
                    return Err(Error::Unreachable(format!(
                        "{}: {error}",
                        self.connector.address()
                    )));
                }
            }
        }
    }

    /// A connection that is open as far as this side knows: the one used last.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // A list is whole between any two statements.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

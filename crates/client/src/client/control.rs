//! Requests to a proxy, over a few connections that are kept open.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tokio::{sync::Semaphore, time};
use tracing::debug;

use super::{
    connection::{Connection, Owner},
    connector::Connector,
};
use crate::Error;

/// Whether a request may be sent again when it is not known if it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice does no harm.
    Harmless,
    /// Doing it twice is not the same as once.
    Never,
}

/// Connections to one proxy, as many as there are requests at once, up to a bound.
#[derive(Debug)]
pub(super) struct Control {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    slots: Semaphore,
    deadline: Duration,
}

impl Control {
    /// At most `connections`, each request for at most `deadline`.
    pub(super) fn new(connector: Arc<Connector>, connections: usize, deadline: Duration) -> Self {
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
    pub(super) async fn request(
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
    pub(super) async fn request_to_open(
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

/// What an error answer means: its first word says.
pub(super) fn refusal(text: &str) -> Error {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "OOM" => Error::OutOfMemory(rest.into()),
        "LOST" => {
            let mut numbers = rest
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse().ok());
            let (have, need) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
            Error::Lost { have, need }
        }
        "TRYAGAIN" | "LOADING" => Error::Unreachable(rest.into()),
        "NOWRITE" => Error::NoWrite,
        "ERR" => Error::Refused(rest.into()),
        _ => Error::Refused(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_an_error_answer_says_what_to_do() {
        assert!(matches!(refusal("OOM no room"), Error::OutOfMemory(why) if why == "no room"));
        let lost = Error::Lost { have: 7, need: 10 };
        assert!(matches!(
            refusal(&format!("LOST {lost}")),
            Error::Lost { have: 7, need: 10 }
        ));
        assert!(matches!(refusal("LOST"), Error::Lost { have: 0, need: 1 }));
        assert!(matches!(refusal("TRYAGAIN later"), Error::Unreachable(why) if why == "later"));
        assert!(matches!(refusal("NOWRITE gone"), Error::NoWrite));
        assert!(
            matches!(refusal("ERR syntax error"), Error::Refused(why) if why == "syntax error")
        );
        assert!(matches!(refusal("WRONGTYPE x"), Error::Refused(why) if why == "WRONGTYPE x"));
    }
}

//! The way in to a proxy: connections are dialled, and not too often.
//!
//! After a failure the connector refuses for a while, and twice as long after the
//! next one. A caller that comes meanwhile is refused at once, so that a proxy that
//! is gone costs its users no waiting, and one that comes back no stampede.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use infinicache_backoff::Backoff;
use infinicache_engine::Error;
use infinicache_host::{clock, random};
use infinicache_socket::{Keepalive, Stream};
use redis_protocol::resp2::types::BytesFrame;
use tokio::time;

use crate::{address::Login, connection::Connection, error_reply::refusal};

/// How long dialling may take, looking the name up included.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// How long the connector waits after a failure.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(3));

/// Dials one proxy.
#[derive(Debug)]
pub(crate) struct Connector {
    address: String,
    login: Option<Login>,
    pause: Mutex<Pause>,
}

impl Connector {
    /// The connector of the proxy at `address`.
    pub(crate) fn new(address: String, login: Option<Login>) -> Self {
        Self {
            address,
            login,
            pause: Mutex::default(),
        }
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A new connection, on which the login has been given if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], at once while the connector waits; [`Error::Refused`] if the
    /// password is not the right one.
    pub(crate) async fn enter(&self) -> Result<Connection, Error> {
        let mut connection = Connection::new(self.dial().await?);
        let Some(Login { user, password }) = &self.login else {
            return Ok(connection);
        };
        let mut request = vec![Bytes::from_static(b"AUTH")];
        if !user.is_empty() {
            request.push(user.clone().into());
        }
        request.push(password.clone().into());
        let unreachable = |why: String| Error::Unreachable(format!("{}: {why}", self.address));
        match time::timeout(DIAL_DEADLINE, connection.exchange(&request)).await {
            Ok(Ok(BytesFrame::Error(text))) => Err(refusal(&text)),
            Ok(Ok(_)) => Ok(connection),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer within {DIAL_DEADLINE:?}"))),
        }
    }

    async fn dial(&self) -> Result<Stream, Error> {
        if let Some(rest) = self.pause().rest(clock::now()) {
            let text = format!(
                "{} could not be reached, next attempt in {rest:?}",
                self.address
            );
            return Err(Error::Unreachable(text));
        }
        let why = match time::timeout(
            DIAL_DEADLINE,
            infinicache_socket::connect(&self.address, Keepalive::PROMPT, |_| Ok(())),
        )
        .await
        {
            Ok(Ok(stream)) => {
                self.pause().end();
                return Ok(stream);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {DIAL_DEADLINE:?}"),
        };
        self.pause()
            .extend(clock::now(), random::u32().unwrap_or(0));
        Err(Error::Unreachable(format!("{}: {why}", self.address)))
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        // Plain numbers: whatever a panic left there is usable.
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long nobody should try, after failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// How much longer no caller should try.
    pub(crate) fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = self.until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }

    /// An attempt failed. Several that ran side by side count once.
    pub(crate) fn extend(&mut self, now: Instant, random: u32) {
        if self.rest(now).is_some() {
            return;
        }
        self.until = Some(now + BACKOFF.jittered(self.failures, random));
        self.failures = self.failures.saturating_add(1);
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_success() {
        let mut pause = Pause::default();
        let mut now = clock::now();
        assert_eq!(pause.rest(now), None);
        for expected in [50, 100, 200, 400, 800, 1600, 3000, 3000] {
            pause.extend(now, u32::MAX);
            assert_eq!(pause.rest(now), Some(Duration::from_millis(expected)));
            now += Duration::from_millis(expected);
            assert_eq!(pause.rest(now), None);
        }
        pause.end();
        pause.extend(now, 0);
        assert_eq!(
            pause.rest(now),
            Some(BACKOFF.first() / 2),
            "half of a pause is certain"
        );
    }

    #[test]
    fn failures_of_one_time_count_once() {
        let mut pause = Pause::default();
        let now = clock::now();
        for _ in 0..100 {
            pause.extend(now, u32::MAX);
        }
        assert_eq!(pause.rest(now), Some(BACKOFF.first()));
    }

    #[tokio::test]
    async fn while_the_door_is_shut_nobody_dials() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = Connector::new(listener.local_addr().unwrap().to_string(), None);
        drop(listener);
        assert!(matches!(connector.dial().await, Err(Error::Unreachable(_))));
        let Err(Error::Unreachable(why)) = connector.dial().await else {
            panic!("connected")
        };
        assert!(why.contains("next attempt in"), "{why}");
    }

    /// A proxy that reads one AUTH and says `answer`.
    async fn asked(user: &str, answer: &'static [u8]) -> Result<Connection, Error> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let login = Login {
            user: user.into(),
            password: "hunter2".into(),
        };
        let expected: &[u8] = match user {
            "" => b"*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n",
            _ => b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$7\r\nhunter2\r\n",
        };
        let connector = Connector::new(address, Some(login));
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; expected.len()];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, expected);
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(connector.enter(), proxy).0
    }

    #[tokio::test]
    async fn the_password_is_given_before_anything_else() {
        for user in ["", "me"] {
            assert!(asked(user, b"+OK\r\n").await.is_ok());
            let refused = asked(user, b"-WRONGPASS invalid\r\n").await;
            assert!(matches!(refused, Err(Error::Refused(why)) if why.contains("WRONGPASS")));
            assert!(matches!(asked(user, b"").await, Err(Error::Unreachable(_))));
        }
    }
}

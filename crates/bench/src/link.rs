//! One user of a target: asks, waits for the answers, and connects again if that breaks.

use std::{sync::Arc, time::Duration};

use infinicache_backoff::Backoff;
use infinicache_client::Client;
use tokio::time;

use crate::{
    keys::Keys,
    native,
    request::{Failure, Request, RequestOutcome},
    resp::connection::RespConnection,
    target::Target,
    value::Pattern,
};

/// How long is waited after requests of which none succeeded.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

/// What all users of a target share.
#[derive(Debug)]
pub struct Door {
    target: Target,
    timeout: Duration,
    /// The client, if it is by our protocol.
    client: Option<Client>,
    /// How keys are named.
    pub keys: Keys,
    /// What values are made of.
    pub pattern: Pattern,
}

impl Door {
    /// Prepares to use a target, with `users` at once.
    ///
    /// # Errors
    ///
    /// If it cannot be reached in time.
    pub async fn open(
        target: Target,
        users: usize,
        timeout: Duration,
        keys: Keys,
        pattern: Pattern,
    ) -> Result<Self, Failure> {
        let client = match &target {
            Target::Redis(_) => None,
            Target::Infinicache(addresses) => {
                let connecting = native::connect(addresses, users, timeout);
                let connected = time::timeout(timeout, connecting).await;
                Some(connected.map_err(|_| Failure::TimedOut)??)
            }
        };
        Ok(Self {
            target,
            timeout,
            client,
            keys,
            pattern,
        })
    }
}

/// One user.
#[derive(Debug)]
pub struct Link {
    door: Arc<Door>,
    connection: Option<RespConnection>,
    /// In a row.
    failures: u32,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If that fails, or is not done in time.
    pub async fn open(door: Arc<Door>) -> Result<Self, Failure> {
        let mut link = Self {
            door,
            connection: None,
            failures: 0,
        };
        link.connect().await?;
        Ok(link)
    }

    /// Makes requests, and tells of each what came of it, exactly once, by its place among them.
    ///
    /// All of them together may take as long as one may.
    pub async fn exchange(
        &mut self,
        requests: &[Request],
        mut told: impl FnMut(usize, Result<RequestOutcome, Failure>),
    ) {
        let mut succeeded = false;
        self.attempt(requests, |place, outcome| {
            succeeded |= outcome.is_ok();
            told(place, outcome);
        })
        .await;
        if succeeded {
            self.failures = 0;
        } else {
            time::sleep(BACKOFF.wait(self.failures)).await;
            self.failures = self.failures.saturating_add(1);
        }
    }

    async fn attempt(
        &mut self,
        requests: &[Request],
        mut told: impl FnMut(usize, Result<RequestOutcome, Failure>),
    ) {
        let door = self.door.clone();
        let (keys, pattern) = (&door.keys, &door.pattern);
        if let Some(client) = &door.client {
            let mut is_told = vec![false; requests.len()];
            let exchange = native::exchange(client, requests, keys, pattern, |place, outcome| {
                is_told[place] = true;
                told(place, outcome);
            });
            if time::timeout(door.timeout, exchange).await.is_err() {
                let rest = (0..requests.len()).filter(|place| !is_told[*place]);
                rest.for_each(|place| told(place, Err(Failure::TimedOut)));
            }
            return;
        }
        let mut answered = 0;
        let exchange = async {
            let connection = self.connect().await?.ok_or(Failure::Protocol)?;
            let tell = |outcome| {
                told(answered, outcome);
                answered += 1;
            };
            connection.exchange(requests, keys, pattern, tell).await
        };
        let ended = time::timeout(door.timeout, exchange).await;
        if let Err(failure) = ended.unwrap_or(Err(Failure::TimedOut)) {
            self.connection = None;
            (answered..requests.len()).for_each(|place| told(place, Err(failure.clone())));
        }
    }

    /// The connection, which is made if there is none; none if the client makes its own.
    async fn connect(&mut self) -> Result<Option<&mut RespConnection>, Failure> {
        if let (Target::Redis(address), None) = (&self.door.target, &self.connection) {
            let opening = RespConnection::open(address);
            let opened = time::timeout(self.door.timeout, opening).await;
            self.connection = Some(opened.map_err(|_| Failure::TimedOut)??);
        }
        Ok(self.connection.as_mut())
    }
}

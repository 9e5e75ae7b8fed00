//! How a client behaves, and how one value is put.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::address::{Address, Login};
use crate::{Condition, Error, Expiry, Terms, client::Client};

/// How a [`Client`] behaves.
///
/// ```no_run
/// # async fn run() -> Result<(), infinicache_client::Error> {
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
///
/// let client = infinicache_client::Options::default()
///     .deadline(Duration::from_secs(10))
///     .connect(["localhost:6378"])
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) deadline: Duration,
    pub(super) budget: usize,
    pub(super) connections: usize,
    pub(super) links: usize,
    pub(super) direct: bool,
    pub(super) login: Option<Login>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            budget: 256 << 20,
            connections: 16,
            links: 2,
            direct: true,
            login: None,
        }
    }
}

impl Options {
    /// How long an operation may make no progress before it fails. 60 seconds unless told.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many bytes may be buffered at once, by all operations together. 256 MiB unless told.
    ///
    /// What an operation is given or gives whole is not counted.
    #[must_use]
    pub fn budget(self, bytes: usize) -> Self {
        Self {
            budget: bytes.max(1),
            ..self
        }
    }

    /// How many requests may be under way to each proxy at once, each on a
    /// connection of its own. 16 unless told.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self {
            connections: connections.max(1),
            ..self
        }
    }

    /// How many connections carry data to and from each proxy. 2 unless told.
    #[must_use]
    pub fn links(self, links: usize) -> Self {
        Self {
            links: links.max(1),
            ..self
        }
    }

    /// Whether data goes straight between client and nodes where they can reach each other.
    /// Otherwise, and until they do, the proxy relays it. It does unless told.
    #[must_use]
    pub fn direct(self, direct: bool) -> Self {
        Self { direct, ..self }
    }

    /// The password of the proxies, if they need one. That of a proxy's own URL goes first.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        Self {
            login: Some(Login::of_default_user(password.into())),
            ..self
        }
    }

    /// Connects a client to the proxies at these addresses, as [`Client::connect`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if there is no address or one makes no sense, and what
    /// went wrong with the first if none can be reached.
    pub async fn connect<A>(self, addresses: impl IntoIterator<Item = A>) -> Result<Client, Error>
    where
        A: TryInto<Address, Error: Into<Error>>,
    {
        let addresses = addresses.into_iter().map(TryInto::try_into);
        let addresses = addresses.collect::<Result<_, _>>().map_err(Into::into);
        Client::with_options(addresses, self).await
    }
}

/// How a value is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// How long the value lives, by this machine's clock; for ever if not told.
    pub ttl: Option<Duration>,
    /// Whether the value takes over the time to live of the one it replaces. A `ttl` goes first.
    pub keep_ttl: bool,
    /// What must hold of the key.
    pub condition: Option<Condition>,
}

impl PutOptions {
    /// The terms of a commit that happens now.
    pub(super) fn terms(&self) -> Terms {
        let expiry = match self.ttl {
            Some(ttl) => {
                Expiry::At(millis_since_1970(SystemTime::now()).saturating_add(millis(ttl)))
            }
            None if self.keep_ttl => Expiry::Keep,
            None => Expiry::Never,
        };
        Terms {
            condition: self.condition,
            expiry,
            previous: false,
        }
    }
}

fn millis_since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_counts_from_the_commit_and_goes_before_keeping_the_old_one() {
        let mut options = PutOptions {
            keep_ttl: true,
            ..PutOptions::default()
        };
        assert_eq!(options.terms().expiry, Expiry::Keep);
        options.ttl = Some(Duration::from_secs(60));
        let now = millis_since_1970(SystemTime::now());
        let Expiry::At(at) = options.terms().expiry else {
            panic!("{:?}", options.terms())
        };
        assert!((now + 59_000..now + 120_000).contains(&at));
        options.ttl = Some(Duration::MAX);
        assert!(matches!(options.terms().expiry, Expiry::At(_)));
    }
}

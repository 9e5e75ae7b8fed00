//! How a client behaves, and how one value is put.

use std::time::Duration;

use infinicache_engine::{Condition, Expiry, Terms};

use crate::address::Login;

/// The longest time to live, in milliseconds: Redis counts times since 1970 in a signed number.
const LONGEST_TTL: u64 = i64::MAX as u64 / 2;

/// How a [`Client`](crate::Client) behaves.
///
/// ```no_run
/// # async fn run() -> Result<(), infinicache_client::Error> {
/// use std::time::Duration;
///
/// let client = infinicache_client::Options::default()
///     .deadline(Duration::from_secs(10))
///     .connect(["localhost:6378"])
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) deadline: Duration,
    pub(crate) budget: usize,
    pub(crate) connections: usize,
    pub(crate) links: usize,
    pub(crate) direct: bool,
    pub(crate) login: Option<Login>,
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
}

/// How a value is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// How long the value lives from when it is stored, by the proxy's clock; for ever if not
    /// told. Counted in milliseconds, at least one.
    pub ttl: Option<Duration>,
    /// Whether the value takes over the time to live of the one it replaces. A `ttl` goes first.
    pub keep_ttl: bool,
    /// What must hold of the key.
    pub condition: Option<Condition>,
}

impl PutOptions {
    /// The value lives for so long from when it is stored; otherwise for ever.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        let ttl = Some(ttl);
        Self { ttl, ..self }
    }

    /// The value takes over the time to live of the one it replaces.
    #[must_use]
    pub fn keep_ttl(self) -> Self {
        let keep_ttl = true;
        Self { keep_ttl, ..self }
    }

    /// The value is stored only if that holds of the key.
    #[must_use]
    pub fn condition(self, condition: Condition) -> Self {
        let condition = Some(condition);
        Self { condition, ..self }
    }

    /// The terms of a commit.
    pub(crate) fn terms(&self) -> Terms {
        let expiry = match self.ttl {
            Some(ttl) => Expiry::After(ttl.as_millis().clamp(1, LONGEST_TTL.into()) as u64),
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
        for (ttl, millis) in [
            (Duration::from_secs(60), 60_000),
            (Duration::ZERO, 1),
            (Duration::MAX, LONGEST_TTL),
        ] {
            options.ttl = Some(ttl);
            assert_eq!(options.terms().expiry, Expiry::After(millis));
        }
    }
}

//! What can be set, on the command line or in the environment.

mod units;

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context, bail};
use clap::Parser;
use infinicache_wire::Secret;

pub use self::units::{ByteSize, parse_duration};
use crate::store::Limits;

/// A cache node of infinicache: holds chunks in memory for the proxy that wakes it.
#[derive(Clone, Debug, Parser)]
#[command(name = "infinicache-node", version)]
pub struct Config {
    /// Port of the wake endpoint; 0 takes any free one.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,

    /// Address of the wake endpoint. Containers set 0.0.0.0.
    #[arg(
        long,
        env = "INFINICACHE_LISTEN_ADDRESS",
        default_value = "127.0.0.1",
        value_name = "ADDRESS"
    )]
    pub listen_address: IpAddr,

    /// Name of the node in the pool: wakes for other names are refused.
    #[arg(long, env = "K_SERVICE")]
    pub name: String,

    /// Bytes that it may hold, such as 256MiB or 1GiB.
    ///
    /// Covers chunks and their bookkeeping. The process needs about 32 MiB
    /// besides, for buffers and replies under way, and allocators round up.
    #[arg(long, env = "INFINICACHE_NODE_MEMORY", value_name = "BYTES")]
    pub memory: ByteSize,

    /// File with the secret that the pool shares.
    #[arg(long, env = "INFINICACHE_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// The secret itself. Best set by its variable, since command lines are not private.
    #[arg(long, env = "INFINICACHE_SECRET", hide_env_values = true)]
    pub secret: Option<SecretText>,

    /// Failure domain: the host it runs on.
    #[arg(long, env = "INFINICACHE_HOST", default_value = "")]
    pub host: String,

    /// Failure domain: the zone of that host.
    #[arg(long, env = "INFINICACHE_ZONE", default_value = "")]
    pub zone: String,

    /// The pod it runs in.
    #[arg(long, env = "HOSTNAME", default_value = "")]
    pub pod: String,

    /// How long it stays after SIGTERM for its chunks to be moved away.
    #[arg(
        long,
        env = "INFINICACHE_DRAIN",
        default_value = "20s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub drain: Duration,

    /// After how long without a unit a chunk that is being written is dropped.
    #[arg(
        long,
        env = "INFINICACHE_PENDING_TIMEOUT",
        default_value = "60s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub pending_timeout: Duration,

    /// After how long a deleted chunk is dropped, even if reads may go on from it.
    #[arg(
        long,
        env = "INFINICACHE_DEAD_TIMEOUT",
        default_value = "300s",
        value_parser = parse_duration,
        value_name = "DURATION"
    )]
    pub dead_timeout: Duration,
}

impl Config {
    /// The secret, from the one place that names it.
    ///
    /// # Errors
    ///
    /// If no place or both name one, if the file cannot be read, or the secret is too short.
    pub fn load_secret(&self) -> anyhow::Result<Secret> {
        let bytes = match (&self.secret_file, &self.secret) {
            (None, None) => bail!("no secret: set INFINICACHE_SECRET_FILE or INFINICACHE_SECRET"),
            (Some(_), Some(_)) => bail!("both a secret file and a secret are set, one expected"),
            (None, Some(secret)) => secret.0.clone().into_bytes(),
            (Some(file), None) => std::fs::read(file)
                .with_context(|| format!("cannot read the secret file {}", file.display()))?,
        };
        Ok(Secret::new(&bytes)?)
    }

    /// What the store may hold, and for how long.
    pub fn limits(&self) -> Limits {
        Limits {
            capacity: self.memory.0,
            pending_timeout: self.pending_timeout,
            dead_timeout: self.dead_timeout,
        }
    }
}

/// A secret as it was typed: parsed without a check, so that no error message repeats it, and never printed.
#[derive(Clone)]
pub struct SecretText(String);

impl FromStr for SecretText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn config(arguments: &[&str]) -> Config {
        let required = ["infinicache-node", "--name", "n", "--memory", "1MiB"];
        Config::parse_from(required.iter().chain(arguments))
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Config::command().debug_assert();
    }

    #[test]
    fn exactly_one_place_names_the_secret() {
        assert!(config(&["--secret", SECRET]).load_secret().is_ok());
        assert!(config(&[]).load_secret().is_err());
        let both = config(&["--secret", SECRET, "--secret-file", "/dev/null"]);
        assert!(both.load_secret().is_err());
        let empty = config(&["--secret-file", "/dev/null"]);
        let error = empty.load_secret().unwrap_err().to_string();
        assert_eq!(error, "secret of 0 bytes, at least 16 needed");
    }

    #[test]
    fn the_secret_is_never_printed() {
        let config = config(&["--secret", SECRET]);
        assert!(!format!("{config:?}").contains(SECRET));
    }
}

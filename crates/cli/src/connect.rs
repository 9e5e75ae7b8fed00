//! How a command reaches the cache, and how it takes its leave.

use std::{ffi::OsString, fmt, io, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use infinicache_client::{Address, Client, Options, ParseAddressError};
use infinicache_daemon::{parse_duration, read_secret_file};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time,
};

use crate::exit::Ending;

/// Memory for values on their way: several stripes of any usual code, so that two
/// are always under way.
const BUDGET: usize = 64 << 20;

/// Threads that move the data. Beyond these the network is what limits.
const THREADS: usize = 4;

/// How long taking leave may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Which cache, and how patiently.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Servers {
    /// The cache's proxy, or all of them: each owns part of the keys
    ///
    /// HOST:PORT, or a URL as in REDIS_URL: redis://[USER:PASSWORD@]HOST[:PORT][/0].
    #[arg(
        long = "server",
        env = "INFINICACHE_SERVERS",
        hide_env_values = true,
        default_value = "127.0.0.1:6378",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = address
    )]
    addresses: Vec<Address>,

    /// How long the transfer may stand still before it is given up
    #[arg(
        long,
        env = "INFINICACHE_TIMEOUT",
        default_value = "60s",
        value_name = "TIME",
        value_parser = time_span
    )]
    timeout: Duration,

    /// File with the cache's password, if it needs one
    #[arg(long, env = "INFINICACHE_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(Address::as_str).collect();
        f.write_str(&addresses.join(", "))
    }
}

impl Servers {
    /// Connects, and runs `operation` to its end or until a signal asks to stop.
    ///
    /// Then `operation` is dropped, and what it has begun is given up.
    ///
    /// # Errors
    ///
    /// Those of connecting and of `operation`, and [`Ending::Signal`].
    pub fn run(&self, operation: impl AsyncFnOnce(&Client) -> Result<()>) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores.min(THREADS))
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(async {
            let mut stop = Box::pin(stop()?);
            let client = tokio::select! {
                connected = self.connect() => connected?,
                stopped = &mut stop => return Err(stopped.into()),
            };
            let outcome = tokio::select! {
                outcome = operation(&client) => outcome,
                stopped = &mut stop => Err(stopped.into()),
            };
            take_leave(&client).await;
            outcome
        });
        // A name that is still being looked up is of no interest any more.
        runtime.shutdown_background();
        outcome
    }

    async fn connect(&self) -> Result<Client> {
        let mut options = Options::default().deadline(self.timeout).budget(BUDGET);
        if let Some(password) = self.password()? {
            options = options.password(password);
        }
        Ok(options.connect(self.addresses.iter().cloned()).await?)
    }

    fn password(&self) -> Result<Option<String>> {
        let Some(file) = &self.password_file else {
            return Ok(None);
        };
        let what = || format!("cannot read the password file {}", file.display());
        let password = read_secret_file(file).with_context(what)?;
        let password = String::from_utf8(password).with_context(what)?;
        Ok(Some(password.trim_ascii_end().to_owned()))
    }
}

/// Lets the proxies know of what has ended, so that they need not wait for more of it.
///
/// A write that was given up and a read that has ended are told in the background.
async fn take_leave(client: &Client) {
    let _ = time::timeout(FAREWELL, client.flush()).await;
}

/// Waits for Ctrl-C or SIGTERM, which are caught from now on.
fn stop() -> io::Result<impl Future<Output = Ending>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        };
        Ending::Signal(kind.as_raw_value() as u8)
    })
}

/// Reads an address, so that a slip, such as a word alone, is told before anything is tried.
fn address(text: &str) -> Result<Address, String> {
    let after_host = text.rsplit(']').next().unwrap_or_default();
    if !text.contains("://") && !after_host.contains(':') {
        return Err("host:port or redis://host:port expected".into());
    }
    text.parse()
        .map_err(|error: ParseAddressError| error.to_string())
}

/// Reads a duration that is not zero.
pub fn time_span(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("some time needed".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A key: the bytes of an argument, whatever they are.
#[derive(Clone, Debug)]
pub struct Key(OsString);

impl From<OsString> for Key {
    fn from(argument: OsString) -> Self {
        Self(argument)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.0.as_encoded_bytes()
    }
}

impl Key {
    /// The key as text; what is no text in it is replaced.
    pub fn to_text(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

impl fmt::Display for Key {
    /// In quotes, with what cannot be printed escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        servers: Servers,
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("cache:6378", "cache:6378"),
            (" [::1]:6378/", "[::1]:6378"),
            ("redis://cache:6378", "cache:6378"),
            ("redis://cache", "cache:6379"),
            ("redis://default:secret@cache:6378/0", "cache:6378"),
            ("redis://[::1]", "[::1]:6379"),
        ] {
            assert_eq!(address(text).unwrap().as_str(), expected, "{text:?}");
        }
        for text in [
            "",
            "cache",
            "cache:",
            ":6378",
            "cache:port",
            "cache:65536",
            "[::1]",
            "rediss://cache:6378",
            "redis://cache:6378/1",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_is_not_told() {
        let servers = Line::parse_from(["", "--server", "redis://:secret@a:1,b:2"]).servers;
        assert_eq!(servers.to_string(), "a:1, b:2");
        assert!(!format!("{servers:?}").contains("secret"));
    }

    #[test]
    fn no_time_is_not_enough() {
        assert_eq!(time_span("10m"), Ok(Duration::from_mins(10)));
        assert!(time_span("0s").is_err());
        assert!(time_span("soon").is_err());
    }

    #[test]
    fn a_key_is_told_in_one_line() {
        assert_eq!(Key::from(OsString::from("a\nb")).to_string(), r#""a\nb""#);
    }
}

//! Logs: to stderr, as text or JSON, filtered by a directive.
//!
//! `INFINICACHE_LOG` is a filter such as `info` or `infinicache_node=debug`,
//! `INFINICACHE_LOG_FORMAT` is `text` or `json`.

use std::{env, io};

use anyhow::{Context, bail};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Sends the events of this process to stderr, as the environment says.
///
/// # Errors
///
/// If a variable has a value that means nothing, or logs go somewhere already.
pub fn init() -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_env_var("INFINICACHE_LOG")
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .context("INFINICACHE_LOG is no filter")?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match env::var("INFINICACHE_LOG_FORMAT").as_deref() {
        Ok("json") => events.json().flatten_event(true).try_init(),
        Ok("text" | "") | Err(_) => events.try_init(),
        Ok(other) => bail!("INFINICACHE_LOG_FORMAT is {other:?}, text or json expected"),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}

//! Logs: to standard error, as text or JSON, filtered by a directive.
//!
//! `INFINICACHE_LOG` is a filter such as `info` or `infinicache_node=debug`,
//! `INFINICACHE_LOG_FORMAT` is `text` or `json`.

use std::{
    env,
    io::{IsTerminal, stderr},
};

use anyhow::{Context, bail};
use tracing_subscriber::EnvFilter;

/// Sends the events of this process to standard error, as the environment says.
///
/// # Errors
///
/// If a variable has a value that means nothing, or logs go somewhere already.
pub fn init_from_env() -> anyhow::Result<()> {
    init(&env::var("INFINICACHE_LOG").unwrap_or_else(|_| "info".into()))
}

/// Sends those events of this process that pass `filter` to standard error.
///
/// # Errors
///
/// If the filter or the format means nothing, or logs go somewhere already.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("unusable log filter {filter:?}"))?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        // Where there is no place for an event there is none to say so either.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal());
    let started = match env::var("INFINICACHE_LOG_FORMAT").as_deref() {
        Ok("json") => events.json().flatten_event(true).try_init(),
        Ok("text" | "") | Err(_) => events.try_init(),
        Ok(other) => bail!("INFINICACHE_LOG_FORMAT is {other:?}, text or json expected"),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}

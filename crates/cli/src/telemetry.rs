//! The log: lines on standard error, so that standard output stays for results.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Starts logging what passes `filter`, for instance `info` or `warn,infinicache=debug`.
///
/// # Errors
///
/// If the filter cannot be read.
pub fn init(filter: &str) -> Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("unusable log filter {filter:?}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    Ok(())
}

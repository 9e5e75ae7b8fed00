//! How long peers are waited for.

use std::time::Duration;

/// How long the peer of a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// In the middle of something, where it makes no progress.
    pub stall: Duration,
    /// Between two commands, if that is limited.
    pub idle: Option<Duration>,
}

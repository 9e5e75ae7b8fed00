//! What the server reports to its observer.

use std::time::Duration;

use crate::info::Figures;

/// Counts what happens on the Redis port.
pub(crate) trait Observe: Send + Sync + 'static {
    /// A connection was accepted.
    fn connection_opened(&self);

    /// An accepted connection ended.
    fn connection_closed(&self);

    /// A connection was refused because there are too many.
    fn connection_refused(&self);

    /// Commands were answered, one after another.
    fn commands(&self, answered: &[CommandRecord]);

    /// A reply ended midway: its bytes could not be had, after its length was sent.
    fn aborted_reply(&self);

    /// A connection was dropped: its peer stalled, was idle for too long, or vanished.
    fn dropped(&self, reason: &'static str);

    /// What `INFO` and `CONFIG GET` tell.
    fn figures(&self) -> Figures;
}

/// A command that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandRecord {
    /// Its name, or `unknown`.
    pub(crate) name: &'static str,
    pub(crate) result: CommandResult,
    /// Whether it found a value, if it was to read one.
    pub(crate) hit: Option<bool>,
    /// Bytes of values that went in and out with it.
    pub(crate) bytes: u64,
    /// How long that took.
    pub(crate) elapsed: Duration,
}

/// How a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandResult {
    Ok,
    Error,
}

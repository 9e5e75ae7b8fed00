//! What the server reports to its observer.

use crate::{info::Figures, metrics::CommandRecord};

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

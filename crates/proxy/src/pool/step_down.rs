//! The end of a run of the proxy before it is stopped.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Why a run steps down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepDown {
    /// No member can say whether it leads.
    #[error("paused for longer than the lease, with no member to renew it")]
    NoLease,
    /// Its members follow a later run.
    #[error("a later run of the proxy has fenced this one, which has no majority any more")]
    Fenced,
    /// Another run was there first.
    #[error("another proxy leads this pool, and there can be one only")]
    OtherLeader,
}

/// Whether this run has to end. The first reason stays.
#[derive(Debug, Default)]
pub(crate) struct Termination {
    why: OnceLock<StepDown>,
    ended: CancellationToken,
}

impl Termination {
    /// Why this run has to end; without end while it has not.
    pub(crate) async fn over(&self) -> StepDown {
        self.ended.cancelled().await;
        self.why.get().copied().unwrap_or(StepDown::NoLease)
    }

    /// This run has to end.
    pub(crate) fn end(&self, why: StepDown) {
        let _ = self.why.set(why);
        self.ended.cancel();
    }
}

//! A route to a node.

use std::future::Future;

use infinicache_wire::{Reply, Request};

/// Passes requests to one member and gives its replies back: over a link that
/// the node dialled, over a relay, or, in tests, to a fake in memory.
pub trait NodeLink: Clone + Send + Sync + 'static {
    /// Asks the member. Always ends, with [`Reply::Late`] or [`Reply::Unreachable`] if need be.
    ///
    /// # Cancellation
    ///
    /// Safe: the member may still do what it was asked, but no caller waits for its answer.
    fn call(&self, request: Request) -> impl Future<Output = Reply> + Send;

    /// The same; `sent` is called once what is asked of the member after this cannot overtake it.
    ///
    /// It is dropped without having been called where that is never known.
    fn call_noting(
        &self,
        request: Request,
        sent: impl FnOnce() + Send,
    ) -> impl Future<Output = Reply> + Send {
        drop(sent);
        self.call(request)
    }
}

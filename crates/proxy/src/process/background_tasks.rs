//! The tasks of the process that have no end of their own.

use std::future::Future;

use infinicache_host::task;
use tokio_util::task::AbortOnDropHandle;

/// Tasks that end when this is dropped.
#[derive(Default)]
pub(super) struct BackgroundTasks(Vec<AbortOnDropHandle<()>>);

impl BackgroundTasks {
    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.push(AbortOnDropHandle::new(task::spawn(work)));
    }
}

//! A worker of a queue: takes one object after another, and is slower while nothing succeeds.

use std::{sync::Arc, time::Duration};

use infinicache_backoff::Backoff;
use infinicache_engine::Error;
use tokio::time::{self, Instant};

use super::{QueueKind, RepairQueue};
use crate::metadata::catalog::Object;

/// The pauses after failures.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

/// Takes objects of one queue.
///
/// A pool without a target fails every object that waits. Each object backs off for itself, and
/// a worker for all of them: there may be a million.
pub(crate) struct Worker {
    queue: Arc<RepairQueue>,
    kind: QueueKind,
    /// In a row.
    failures: u32,
    not_before: Instant,
}

impl Worker {
    pub(crate) fn new(queue: Arc<RepairQueue>, kind: QueueKind) -> Self {
        Self {
            queue,
            kind,
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// The most degraded object, for as long as it is not given back.
    pub(crate) async fn next(&self) -> Arc<Object> {
        time::sleep_until(self.not_before).await;
        self.queue.next(self.kind).await
    }

    /// What the object was taken for is done, or it is gone.
    pub(crate) fn done(&mut self, object: &Arc<Object>) {
        self.failures = 0;
        self.queue.done(object, self.kind);
    }

    /// What the object was taken for failed: it is tried again later.
    pub(crate) fn failed(&mut self, object: &Arc<Object>, error: &Error) {
        self.not_before = Instant::now() + BACKOFF.wait(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.queue.failed(object, self.kind, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::catalog::fixture;

    const OBJECTS: usize = 1000;

    fn repair_queue() -> (Arc<RepairQueue>, Vec<Arc<Object>>) {
        let queue = Arc::new(RepairQueue::default());
        let object = |_| fixture::object("key", 2048, (2, 2), None);
        let objects: Vec<_> = (0..OBJECTS).map(object).collect();
        let kind = QueueKind::Draining;
        objects.iter().for_each(|object| queue.add(object, kind));
        (queue, objects)
    }

    #[tokio::test(start_paused = true)]
    async fn objects_for_which_nothing_can_be_done_are_not_tried_all_the_time() {
        let (queue, _objects) = repair_queue();
        let mut worker = Worker::new(queue, QueueKind::Draining);
        let mut attempts = 0;
        let working = async {
            loop {
                let object = worker.next().await;
                attempts += 1;
                worker.failed(&object, &Error::NoWrite);
            }
        };
        let minute = Duration::from_secs(60);
        assert!(time::timeout(minute, working).await.is_err());
        assert!((60..80).contains(&attempts), "{attempts}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_succeeds_goes_on_at_once() {
        let (queue, objects) = repair_queue();
        let mut worker = Worker::new(queue.clone(), QueueKind::Draining);
        for object in &objects[..5] {
            assert!(Arc::ptr_eq(&worker.next().await, object));
            worker.failed(object, &Error::NoWrite);
        }
        worker.next().await;
        worker.done(&objects[5]);
        let began = Instant::now();
        for object in &objects[6..] {
            let taken = worker.next().await;
            assert!(Arc::ptr_eq(&taken, object));
            worker.done(&taken);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(queue.len(), 5);
    }
}

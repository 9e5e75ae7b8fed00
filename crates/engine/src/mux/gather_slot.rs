//! The answers of several members, and the place of each among them.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use infinicache_wire::Reply;

/// The answers so far.
#[derive(Debug)]
pub(super) struct Gathering(Mutex<GatherState>);

#[derive(Debug)]
struct GatherState {
    answers: Vec<Option<Reply>>,
    missing: usize,
    waker: Option<Waker>,
}

impl Gathering {
    pub(super) fn new(count: usize) -> Self {
        Self(Mutex::new(GatherState {
            answers: vec![None; count],
            missing: count,
            waker: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, GatherState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no answer is missing.
    pub(super) async fn complete(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.missing == 0 {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(super) fn answers(&self) -> Vec<Reply> {
        let answers = std::mem::take(&mut self.state().answers).into_iter();
        answers.map(|it| it.unwrap_or(Reply::Late)).collect()
    }

    fn answered(&self, index: usize, reply: Reply) {
        let waker = {
            let mut state = self.state();
            match state.answers.get_mut(index) {
                Some(answer @ None) => *answer = Some(reply),
                // The caller has left with what there was.
                _ => return,
            }
            state.missing -= 1;
            match state.missing {
                0 => state.waker.take(),
                _ => None,
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Where one answer belongs. Dropped without one, its link has ended.
#[derive(Debug)]
pub(super) struct GatherSlot {
    gathering: Arc<Gathering>,
    index: usize,
}

impl GatherSlot {
    /// The place of an answer among those that are gathered.
    pub(super) fn new(gathering: &Arc<Gathering>, index: usize) -> Self {
        Self {
            gathering: gathering.clone(),
            index,
        }
    }

    pub(super) fn answer(self, reply: Reply) {
        self.gathering.answered(self.index, reply);
    }
}

impl Drop for GatherSlot {
    fn drop(&mut self) {
        self.gathering.answered(self.index, Reply::Unreachable);
    }
}

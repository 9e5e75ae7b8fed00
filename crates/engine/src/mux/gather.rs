//! Several members asked at once, and heard as one.
//!
//! A small value is sent to a few members, and nothing is to be done before all have answered.
//! Waiting for each alone would wake the caller once for each, and take a timer and a channel for
//! each. Here they share one: the last to answer wakes the caller.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Instant,
};

use infinicache_wire::{Reply, Request};
use tokio::{sync::mpsc::error::TrySendError, time};

use super::{CallWaiter, MuxLink, PendingCall};

/// Asks each member what is asked of it; the answers, in the same order.
///
/// Members that have not answered by `deadline` are [`Reply::Late`]; they may have done what they
/// were asked nevertheless. Payload is not bounded by credit here: it has to be small.
///
/// # Cancellation
///
/// Safe: no caller waits for the answers any more.
pub async fn ask_at_once(asked: Vec<(MuxLink, Request)>, deadline: Instant) -> Vec<Reply> {
    let gathering = Arc::new(Gathering::new(asked.len()));
    let (links, requests): (Vec<MuxLink>, Vec<Request>) = asked.into_iter().unzip();
    let mut tickets = Vec::with_capacity(links.len());
    for (index, (link, request)) in links.iter().zip(requests).enumerate() {
        let seat = GatherSlot {
            gathering: gathering.clone(),
            index,
        };
        let shared = link.mux.shared();
        // Without a ticket the link has ended, and the seat has said so.
        let Some(ticket) = PendingCall::take(shared, CallWaiter::Slot(seat)) else {
            continue;
        };
        let frame = request.into_frame(ticket.id, link.member);
        tickets.push(ticket);
        // If the link ends, its tickets do.
        if let Err(TrySendError::Full(frame)) = shared.queue.try_send(frame) {
            let _ = time::timeout_at(deadline.into(), shared.queue.send(frame)).await;
        }
    }
    let _ = time::timeout_at(deadline.into(), gathering.complete()).await;
    gathering.answers()
}

/// The answers so far.
#[derive(Debug)]
struct Gathering(Mutex<GatherState>);

#[derive(Debug)]
struct GatherState {
    answers: Vec<Option<Reply>>,
    missing: usize,
    waker: Option<Waker>,
}

impl Gathering {
    fn new(count: usize) -> Self {
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
    async fn complete(&self) {
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

    fn answers(&self) -> Vec<Reply> {
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
    pub(super) fn answer(self, reply: Reply) {
        self.gathering.answered(self.index, reply);
    }
}

impl Drop for GatherSlot {
    fn drop(&mut self) {
        self.gathering.answered(self.index, Reply::Unreachable);
    }
}

//! The clock of the session: a [`Lifetime`] with a real timer.
//!
//! The wake endpoint begins sessions, links tell when they serve, and both
//! learn here when a session is over: the one to end the response that it held
//! open, the others to say goodbye.

use std::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use infinicache_host::{clock, watch};
use infinicache_wire::{ByeReason, wake::Lifetimes, wake_answer::SessionEnd};
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::lifetime::Lifetime;

/// What is known of the latest session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SessionPhase {
    /// How many wakes there were.
    wakes: u64,
    /// Why it is over, if it is.
    over: Option<ByeReason>,
}

/// A lifetime, and for when the timer is set.
#[derive(Debug, Default)]
struct Timed {
    lifetime: Lifetime,
    timer: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct SessionTimer {
    timed: Mutex<Timed>,
    phase: watch::Sender<SessionPhase>,
    /// Told when the session may be over sooner than the timer tells.
    changed: Notify,
}

impl SessionTimer {
    /// A wake begins a session; what comes when it is over is why.
    pub(crate) fn begin(
        &self,
        lifetimes: &Lifetimes,
    ) -> impl Future<Output = SessionEnd> + Send + use<> {
        let mut phase = self.phase.subscribe();
        let mut timed = self.timed();
        timed.lifetime.woken(clock::now(), lifetimes);
        let wakes = phase.borrow().wakes + 1;
        self.phase.send_replace(SessionPhase { wakes, over: None });
        drop(timed);
        self.changed.notify_one();
        async move {
            let is_over = |phase: &SessionPhase| phase.wakes != wakes || phase.over.is_some();
            match phase.wait_for(is_over).await {
                Ok(phase) if phase.wakes != wakes => SessionEnd::renewed(),
                Ok(phase) => SessionEnd::because(phase.over.as_ref().expect("it is over")),
                Err(_) => SessionEnd::because(&ByeReason::Terminated),
            }
        }
    }

    /// Ends sessions in time, and the last when the node is `leaving`.
    pub(crate) async fn run(&self, leaving: &CancellationToken, ended: impl Fn()) {
        loop {
            let due = {
                let mut timed = self.timed();
                timed.timer = timed.lifetime.due();
                timed.timer
            };
            let until_due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let reason = tokio::select! {
                biased;
                () = leaving.cancelled() => ByeReason::Terminated,
                () = self.changed.notified() => ByeReason::SessionOver,
                () = until_due => ByeReason::SessionOver,
            };
            let is_last = reason == ByeReason::Terminated;
            let mut timed = self.timed();
            let is_over = if is_last {
                timed.lifetime.end()
            } else {
                timed.lifetime.tick(clock::now())
            };
            if is_over {
                debug!(reason = reason.as_str(), "session over");
                ended();
                let over = |phase: &mut SessionPhase| phase.over = Some(reason);
                self.phase.send_modify(over);
            }
            if is_last {
                return;
            }
        }
    }

    /// For one link, to tell when it serves and learn when to say goodbye.
    pub(crate) fn attend(&self) -> LinkActivity<'_> {
        let mut phase = self.phase.subscribe();
        // A link that comes after the end of the session says goodbye as well.
        phase.mark_changed();
        LinkActivity {
            clock: self,
            phase,
            serving: false,
            extends: false,
        }
    }

    fn timed(&self) -> MutexGuard<'_, Timed> {
        self.timed.lock().expect("a lifetime does not panic")
    }
}

/// What one link tells the clock. When it is dropped, nothing is being served.
#[derive(Debug)]
pub(crate) struct LinkActivity<'a> {
    clock: &'a SessionTimer,
    phase: watch::Receiver<SessionPhase>,
    serving: bool,
    extends: bool,
}

impl LinkActivity<'_> {
    /// A request is being served. `extends`: it is a reason for the session to go on.
    pub(crate) fn serving(&mut self, extends: bool) {
        self.extends |= extends;
        if !self.serving {
            self.serving = true;
            self.clock.timed().lifetime.serving();
        }
    }

    /// All replies have been written.
    pub(crate) fn served(&mut self) {
        if !self.serving {
            return;
        }
        let now = clock::now();
        let mut timed = self.clock.timed();
        timed.lifetime.served(now, self.extends);
        // A timer that is set too early sets itself anew. While something was
        // served it may not have been set at all.
        let due = timed.lifetime.due();
        let is_late = due.is_some_and(|due| timed.timer.is_none_or(|timer| due < timer));
        drop(timed);
        (self.serving, self.extends) = (false, false);
        if is_late {
            self.clock.changed.notify_one();
        }
    }

    /// Waits until a session is over, other than because the node goes.
    pub(crate) async fn session_over(&mut self) {
        loop {
            // The clock outlives every link.
            if self.phase.changed().await.is_err() {
                return std::future::pending().await;
            }
            if self.phase.borrow_and_update().over == Some(ByeReason::SessionOver) {
                return;
            }
        }
    }
}

impl Drop for LinkActivity<'_> {
    fn drop(&mut self) {
        self.served();
    }
}

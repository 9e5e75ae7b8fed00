//! Tells users when their next request is due.
//!
//! The timers of the runtime tick once a millisecond, which is longer than many
//! requests take. So a thread of its own sleeps until the next request is due;
//! the system wakes it within some 0.1 ms. That lateness is counted as well.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::schedule::Schedule;

/// How soon the thread notices that no user waits any more.
const NAP: Duration = Duration::from_millis(20);

/// The ticks of one user.
#[derive(Debug)]
pub struct Ticks(Arc<Notify>);

impl Ticks {
    /// Waits until a request has become due since the last tick.
    pub async fn next(&mut self) {
        self.0.notified().await;
    }
}

/// A thread that ticks. It ends when this is dropped.
#[derive(Debug)]
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Begins to tick for `users`, who keep `rate` together from `began` on.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(
        began: Instant,
        rate: f64,
        requests: u64,
        users: u64,
    ) -> io::Result<(Self, Vec<Ticks>)> {
        let notify: Vec<_> = (0..users).map(|_| Arc::new(Notify::new())).collect();
        let ticks = notify.iter().cloned().map(Ticks).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let tick = move || {
            let mut schedule = Schedule::new(rate, requests, 0, 1);
            let mut turn = notify.iter().cycle();
            while let Some(due) = schedule.next_due() {
                if stopped.load(Relaxed) {
                    break;
                }
                let now = began.elapsed();
                if now < due {
                    thread::sleep((due - now).min(NAP));
                    continue;
                }
                while schedule.take(now).is_some() {
                    turn.next().into_iter().for_each(|user| user.notify_one());
                }
            }
        };
        let thread = thread::Builder::new()
            .name("metronome".into())
            .spawn(tick)?;
        let ticker = Self {
            stop,
            thread: Some(thread),
        };
        Ok((ticker, ticks))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_user_is_told_and_none_too_early() {
        let began = Instant::now();
        let (_metronome, ticks) = Ticker::start(began, 1000.0, 30, 3).unwrap();
        for (user, mut ticks) in ticks.into_iter().enumerate() {
            let mut schedule = Schedule::new(1000.0, 30, user as u64, 3);
            let mut taken = 0;
            while schedule.next_due().is_some() {
                ticks.next().await;
                while schedule.take(began.elapsed()).is_some() {
                    taken += 1;
                }
            }
            assert_eq!(taken, 10);
        }
        assert!(began.elapsed() >= Duration::from_millis(29));
    }
}

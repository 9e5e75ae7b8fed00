//! What asks this process to stop: Ctrl-C, SIGTERM, or the terminal going away.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask to stop, caught from the moment this is made.
pub struct StopSignals([Signal; 3]);

impl StopSignals {
    /// Starts to catch them.
    ///
    /// # Errors
    ///
    /// If the system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one.
    ///
    /// # Cancellation
    ///
    /// No signal is lost.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Completes at the first of them; they are caught from now on.
///
/// # Errors
///
/// If the system refuses a handler.
pub fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut signals = StopSignals::catch()?;
    Ok(async move { signals.next().await })
}

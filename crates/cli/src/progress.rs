//! How far a transfer is: a bar on the terminal, if it takes longer than a moment.

use std::{
    io::{self, IsTerminal},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{exit, human};

/// What is over before this needs no bar.
const MOMENT: Duration = Duration::from_millis(400);

/// How often the bar is drawn anew though nothing has moved.
const TICK: Duration = Duration::from_millis(200);

/// Of a known size: how much of it, how fast, how long still.
const BAR: &str = "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes}  \
                   {binary_bytes_per_sec}  {eta}";

/// Of an unknown size: how much so far, and how fast.
const SPINNER: &str = "{msg} {spinner} {binary_bytes}  {binary_bytes_per_sec}";

/// The progress of one transfer.
pub struct Progress {
    bar: ProgressBar,
    label: String,
    begun: Instant,
    /// Makes the bar appear. `None` if there is no terminal for it.
    appearing: Option<AbortOnDropHandle<()>>,
}

impl Progress {
    /// A transfer of `size` bytes begins. It is shown if standard error is a
    /// terminal and the user has not asked for silence.
    ///
    /// Must be called within a tokio runtime.
    pub fn new(label: String, size: Option<u64>, is_quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::hidden());
        bar.set_style(style(size));
        bar.set_message(label.clone());
        let appear = {
            let bar = bar.clone();
            async move {
                time::sleep(MOMENT).await;
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
            }
        };
        let is_seen = !is_quiet && io::stderr().is_terminal();
        let appearing = is_seen.then(|| AbortOnDropHandle::new(tokio::spawn(appear)));
        Self {
            bar,
            label,
            begun: Instant::now(),
            appearing,
        }
    }

    /// So many bytes more have been moved.
    pub fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// Counts what is read from `reader`.
    pub fn of<R>(&self, reader: R) -> Counted<'_, R> {
        Counted {
            reader,
            progress: self,
        }
    }

    /// Takes the bar away and says how it went.
    pub fn finish(mut self) {
        let seen = self.appearing.take();
        self.bar.finish_and_clear();
        if seen.is_some() {
            exit::say(summary(
                &self.label,
                self.bar.position(),
                self.begun.elapsed(),
            ));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.appearing.take());
        self.bar.finish_and_clear();
    }
}

fn style(size: Option<u64>) -> ProgressStyle {
    let style = ProgressStyle::with_template(if size.is_some() { BAR } else { SPINNER });
    style
        .expect("a template that a test has read")
        .progress_chars("=> ")
}

fn summary(label: &str, bytes: u64, took: Duration) -> String {
    let rate = bytes as f64 / took.as_secs_f64().max(1e-3);
    let (bytes, rate) = (human::bytes(bytes), human::bytes(rate as u64));
    format!("{label}: {bytes} in {:.2} s, {rate}/s", took.as_secs_f64())
}

/// A reader whose bytes are counted.
pub struct Counted<'a, R> {
    reader: R,
    progress: &'a Progress,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(context, buffer))?;
        self.progress.advance(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn the_templates_can_be_read() {
        style(None);
        style(Some(1));
    }

    #[test]
    fn the_summary_tells_bytes_time_and_rate() {
        let line = summary("put \"x\"", 3 << 30, Duration::from_millis(1500));
        assert_eq!(line, "put \"x\": 3.00 GiB in 1.50 s, 2.00 GiB/s");
        assert_eq!(summary("x", 0, Duration::ZERO), "x: 0 B in 0.00 s, 0 B/s");
    }

    #[tokio::test]
    async fn what_is_read_is_counted() {
        let progress = Progress::new(String::new(), None, true);
        let mut read = Vec::new();
        progress
            .of(&[7; 100][..])
            .read_to_end(&mut read)
            .await
            .unwrap();
        assert_eq!(read, [7; 100]);
        assert_eq!(progress.bar.position(), 100);
    }
}

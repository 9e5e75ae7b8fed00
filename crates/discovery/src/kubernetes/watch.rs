//! The events of one sort of object, through everything that an API server does.
//!
//! A watch that ends is resumed; one that has fallen behind (410 Gone) begins
//! anew with a list; whatever else goes wrong is logged, counted, and tried again
//! with back-off. The back-off is ours: that of kube begins anew whenever a list
//! is asked for, so it would not grow while lists are refused.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use infinicache_backoff::Backoff;
use infinicache_daemon::chain;
use kube::{
    Api,
    api::DynamicObject,
    runtime::watcher::{Config, Error, Event, watcher},
};
use tokio::time::{self, Instant};
use tracing::{debug, warn};

use super::cluster::Sort;

/// How long a watch lasts, in seconds, before it is resumed. One whose API server has gone
/// without a word is noticed soon after.
const WATCH_SECONDS: u32 = 60;

/// How long is waited after a failure.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// Failures longer ago than this are forgotten.
const CALM: Duration = Duration::from_mins(2);

/// Watches the objects of `api` with the labels of `selector`, for ever.
pub(super) fn events<F: Fn(&'static str) + Clone + Send>(
    api: Api<DynamicObject>,
    selector: &str,
    sort: Sort,
    failed: F,
) -> impl Stream<Item = Event<DynamicObject>> + Send + use<F> {
    let config = Config::default().labels(selector).timeout(WATCH_SECONDS);
    let watching = (watcher(api, config).boxed(), Failures::default());
    futures_util::stream::unfold(watching, move |(mut events, mut failures)| {
        let failed = failed.clone();
        async move {
            loop {
                match events.next().await? {
                    Ok(event) => {
                        // That a list begins says nothing of how it goes.
                        if !matches!(event, Event::Init) {
                            failures.count = 0;
                        }
                        return Some((event, (events, failures)));
                    }
                    Err(error) => {
                        let reason = reason(&error);
                        failed(reason);
                        log(sort, reason, &error);
                        time::sleep(failures.wait(Instant::now())).await;
                    }
                }
            }
        }
    })
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    last: Option<Instant>,
}

impl Failures {
    /// How long to wait after another one.
    fn wait(&mut self, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now > last + CALM) {
            self.count = 0;
        }
        self.last = Some(now);
        // The watchers of a cluster do not all come back at once.
        let wait = BACKOFF.jittered(self.count, getrandom::u32().unwrap_or(0));
        self.count = self.count.saturating_add(1);
        wait
    }
}

fn log(sort: Sort, reason: &str, error: &Error) {
    let error = chain(error);
    match reason {
        "gone" => debug!(%sort, %error, "watch has fallen behind and begins anew"),
        "forbidden" => warn!(
            %sort,
            %error,
            "not allowed to watch: the proxy's Role must grant get, list and watch; what was seen last holds"
        ),
        _ => warn!(%sort, %error, "cannot watch: what was seen last holds"),
    }
}

/// What went wrong, in one word.
fn reason(error: &Error) -> &'static str {
    let failure = match error {
        Error::WatchError(status) => return of_status(status),
        Error::InitialListFailed(it) | Error::WatchStartFailed(it) | Error::WatchFailed(it) => it,
        Error::NoResourceVersion => return "malformed",
    };
    match failure {
        kube::Error::Api(status) => of_status(status),
        kube::Error::SerdeError(_) => "malformed",
        _ => "unreachable",
    }
}

fn of_status(status: &kube::core::Status) -> &'static str {
    match status.code {
        401 | 403 => "forbidden",
        410 => "gone",
        _ => "refused",
    }
}

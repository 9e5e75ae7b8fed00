//! Drain: when a node that got SIGTERM may end.
//!
//! What it holds is worth waiting for while a proxy is there that can have it
//! moved away, or may be there again soon. One that does not come back will not
//! have it moved: then waiting only keeps a host from being drained, or a cache
//! that is deleted as a whole from going.

use std::time::Duration;

use infinicache_host::watch;
use tokio::time::{sleep, timeout};

/// How long a draining node waits for a proxy to come back: longer than one takes to be
/// started on another host.
const PROXY_ABSENCE: Duration = Duration::from_secs(60);

/// How long a draining node may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainTimeouts {
    /// While there is no link to a proxy.
    without_proxy: Duration,
    /// At all.
    longest: Duration,
}

impl DrainTimeouts {
    /// For `longest`, and a minute at a time without a proxy.
    pub(crate) fn of(longest: Duration) -> Self {
        Self {
            without_proxy: PROXY_ABSENCE,
            longest,
        }
    }
}

/// Why a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// It holds nothing any more.
    Emptied,
    /// No proxy has been there for a while.
    NoProxy,
    /// Its time is over.
    TimedOut,
}

/// Waits until a node may go: it is `until_empty`, or out of patience.
pub(crate) async fn drained(
    until_empty: impl Future<Output = ()>,
    linked: watch::Receiver<bool>,
    timeouts: DrainTimeouts,
) -> Drained {
    let drained = async {
        tokio::select! {
            biased;
            () = until_empty => Drained::Emptied,
            () = absent(linked, timeouts.without_proxy) => Drained::NoProxy,
        }
    };
    let drained = timeout(timeouts.longest, drained).await;
    drained.unwrap_or(Drained::TimedOut)
}

/// Waits until there has been no link to a proxy for so long.
async fn absent(mut linked: watch::Receiver<bool>, long: Duration) {
    loop {
        // Without a supervisor there is no link either.
        let _ = linked.wait_for(|linked| !*linked).await;
        tokio::select! {
            biased;
            Ok(_) = linked.wait_for(|linked| *linked) => {}
            () = sleep(long) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(1);

    fn timeouts(without_proxy: Duration, longest: Duration) -> DrainTimeouts {
        DrainTimeouts {
            without_proxy,
            longest,
        }
    }

    #[tokio::test]
    async fn a_node_that_holds_nothing_goes_at_once() {
        let (_keeper, linked) = watch::channel(false);
        let gone = drained(ready(()), linked, timeouts(LONG, LONG)).await;
        assert_eq!(gone, Drained::Emptied);
    }

    #[tokio::test]
    async fn a_node_waits_for_its_proxy_to_take_what_it_holds_until_its_time_is_over() {
        let (_keeper, linked) = watch::channel(true);
        let gone = drained(pending(), linked, timeouts(Duration::ZERO, SHORT)).await;
        assert_eq!(gone, Drained::TimedOut);
    }

    #[tokio::test]
    async fn a_node_whose_proxy_does_not_come_back_goes_with_what_it_holds() {
        let (_keeper, linked) = watch::channel(false);
        let gone = drained(pending(), linked, timeouts(SHORT, LONG)).await;
        assert_eq!(gone, Drained::NoProxy);
    }

    #[tokio::test]
    async fn a_proxy_that_comes_back_in_time_is_waited_for() {
        let (supervisor, linked) = watch::channel(true);
        let mut going = pin!(drained(pending(), linked, timeouts(SHORT, LONG)));
        for _ in 0..3 {
            // It is looked at only when the link is there again.
            supervisor.send_replace(false);
            supervisor.send_replace(true);
            assert!(timeout(SHORT * 20, &mut going).await.is_err());
        }
        supervisor.send_replace(false);
        assert_eq!(going.await, Drained::NoProxy);
    }
}

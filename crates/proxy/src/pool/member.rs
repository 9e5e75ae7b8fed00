//! A member: one instance of one node, while its chunks count.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use infinicache_discovery::Site;
use infinicache_engine::MuxLink;
use infinicache_host::clock;
use infinicache_wire::{InstanceId, MemberId, handshake::Hello, message::NodeReport};
use tokio::sync::{Notify, futures::Notified};

/// The part of a node's memory that is planned with: what frees memory may reach
/// the node a little later than what takes it.
const PLANNED_PERCENT: u64 = 97;

/// An instance that joined the pool.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Its place in the list of nodes.
    pub(crate) node: usize,
    pub(crate) instance: InstanceId,
    /// The pod it runs in, or the empty string.
    pub(crate) pod: String,
    /// `host:port` at which other nodes reach it, or the empty string.
    pub(crate) direct: String,
    /// When it said hello, and by that gave its first lease.
    pub(super) since: Instant,
    capacity: u64,
    used: AtomicU64,
    /// The part of `used` that is to be free once values which were removed are read no more.
    retired: AtomicU64,
    /// The part of `retired` that was waited for in vain.
    pinned: AtomicU64,
    /// The part of `retired` that writes wait for.
    claimed: AtomicU64,
    freed: Notify,
    chunks: AtomicU64,
    draining: AtomicBool,
    left: AtomicBool,
    surplus: AtomicBool,
    /// When it was suspected last.
    suspected: Mutex<Option<Instant>>,
    link: Mutex<Option<MuxLink>>,
    report: Mutex<NodeReport>,
    site: Mutex<Site>,
}

/// Bytes that a write waits for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a>(&'a Member, u64);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.claimed.fetch_sub(self.1, Relaxed);
    }
}

impl Member {
    pub(super) fn new(id: MemberId, node: usize, hello: &Hello) -> Self {
        Self {
            id,
            node,
            instance: hello.instance,
            pod: hello.pod.clone(),
            direct: hello.direct.clone(),
            since: clock::now(),
            capacity: hello.capacity,
            used: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            claimed: AtomicU64::new(0),
            freed: Notify::new(),
            chunks: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            left: AtomicBool::new(false),
            suspected: Mutex::new(None),
            surplus: AtomicBool::new(false),
            link: Mutex::new(None),
            report: Mutex::new(NodeReport::default()),
            site: Mutex::new(Site {
                host: hello.host.clone(),
                zone: hello.zone.clone(),
            }),
        }
    }

    /// One that nothing is known of.
    #[cfg(test)]
    pub(crate) fn of(id: MemberId) -> Self {
        Self::with_capacity(id, 1)
    }

    /// The same, but of how much it may hold.
    #[cfg(test)]
    pub(crate) fn with_capacity(id: MemberId, capacity: u64) -> Self {
        let hello = serde_json::json!({
            "protocol": 1, "node": "", "instance": "1", "session": "",
            "capacity": capacity, "used": 0, "epoch": 0,
        });
        Self::new(id, 0, &serde_json::from_value(hello).expect("a hello"))
    }

    /// Where it runs.
    pub(crate) fn site(&self) -> Site {
        lock(&self.site).clone()
    }

    /// The platform tells where it runs; what it does not know it leaves as it is.
    pub(super) fn locate(&self, seen: &Site) {
        let Site { host, zone } = &mut *lock(&self.site);
        for (known, seen) in [(host, &seen.host), (zone, &seen.zone)] {
            if !seen.is_empty() {
                known.clone_from(seen);
            }
        }
    }

    /// The way to it, while it is linked.
    pub(crate) fn link(&self) -> Option<MuxLink> {
        lock(&self.link).clone()
    }

    pub(super) fn set_link(&self, link: MuxLink) -> Option<MuxLink> {
        lock(&self.link).replace(link)
    }

    /// Forgets the link if it is one that has ended; whether it was.
    pub(super) fn drop_ended_link(&self) -> bool {
        let mut link = lock(&self.link);
        let ended = link.as_ref().is_some_and(|link| link.mux().is_closed());
        if ended {
            *link = None;
        }
        ended
    }

    /// Ends the link.
    pub(super) fn cut(&self) {
        let link = lock(&self.link).take();
        if let Some(link) = link {
            link.mux().close();
        }
    }

    /// Bytes that it may hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are placed on it.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Chunks that are placed on it.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks.load(Relaxed)
    }

    /// Bytes that can be placed on it in all.
    pub(crate) fn planned(&self) -> u64 {
        self.capacity / 100 * PLANNED_PERCENT
    }

    /// Bytes that can still be placed on it.
    pub(crate) fn free(&self) -> u64 {
        self.planned().saturating_sub(self.used())
    }

    /// Enters bytes that are placed on it.
    pub(crate) fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    /// Enters bytes that are freed on it.
    pub(crate) fn give_back(&self, bytes: u64) {
        lessen(&self.used, bytes);
        self.freed.notify_waiters();
    }

    /// Completes when bytes are freed on it.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Enters bytes of a value that was removed: they are freed once it is read no more.
    pub(crate) fn retire(&self, bytes: u64) {
        self.retired.fetch_add(bytes, Relaxed);
    }

    /// Enters that such bytes are freed.
    pub(crate) fn free_retired(&self, bytes: u64) {
        lessen(&self.used, bytes);
        self.unretire(bytes);
        // After both: a write that looks now sees what is left.
        self.freed.notify_waiters();
    }

    /// Enters that such bytes are not freed by that.
    pub(crate) fn unretire(&self, bytes: u64) {
        lessen(&self.retired, bytes);
        // Whether it is these that were waited for is not known; no more are than there are.
        self.pinned.fetch_min(self.retired(), Relaxed);
    }

    /// Bytes of values that were removed, and are still read.
    pub(crate) fn retired(&self) -> u64 {
        self.retired.load(Relaxed)
    }

    /// Those of them that can be expected to be freed soon, and that no write waits for.
    pub(crate) fn being_freed(&self) -> u64 {
        let (pinned, claimed) = (self.pinned.load(Relaxed), self.claimed.load(Relaxed));
        self.retired().saturating_sub(pinned + claimed)
    }

    /// Enters that a write waits for so many of them.
    pub(crate) fn claim(&self, bytes: u64) -> Claim<'_> {
        self.claimed.fetch_add(bytes, Relaxed);
        Claim(self, bytes)
    }

    /// What is being freed has been waited for long enough: its readers do not make progress.
    pub(crate) fn count_as_pinned(&self) {
        self.pinned.store(self.retired(), Relaxed);
    }

    /// Enters a chunk, or one less.
    pub(crate) fn count_chunk(&self, more: bool) {
        let change = |chunks: u64| {
            Some(if more {
                chunks + 1
            } else {
                chunks.saturating_sub(1)
            })
        };
        let _ = self.chunks.fetch_update(Relaxed, Relaxed, change);
    }

    /// Whether it is about to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether what it holds is to be moved away: it is about to go, or the pool needs fewer.
    pub(crate) fn must_evacuate(&self) -> bool {
        self.is_draining() || self.is_surplus()
    }

    /// Whether the pool needs fewer members than there are, and this is the one too many.
    pub(crate) fn is_surplus(&self) -> bool {
        self.surplus.load(Relaxed)
    }

    /// Makes it one too many, or one that is needed.
    pub(crate) fn set_surplus(&self, surplus: bool) {
        self.surplus.store(surplus, Relaxed);
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether it said goodbye: once its link has ended it does not come back.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    pub(super) fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether it was suspected so lately.
    pub(super) fn was_suspected_within(&self, now: Instant, time: Duration) -> bool {
        lock(&self.suspected).is_some_and(|last| now < last + time)
    }

    /// Notes that it is suspected now, unless it was within `pause` before; whether it was not.
    pub(super) fn suspect(&self, now: Instant, pause: Duration) -> bool {
        let mut suspected = lock(&self.suspected);
        let is_due = suspected.is_none_or(|last| now >= last + pause);
        if is_due {
            *suspected = Some(now);
        }
        is_due
    }

    /// What it last told of itself.
    pub(crate) fn report(&self) -> NodeReport {
        *lock(&self.report)
    }

    pub(super) fn set_report(&self, report: NodeReport) {
        *lock(&self.report) = report;
    }
}

fn lessen(counter: &AtomicU64, bytes: u64) {
    let less = |count: u64| Some(count.saturating_sub(bytes));
    let _ = counter.fetch_update(Relaxed, Relaxed, less);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holds one value that is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

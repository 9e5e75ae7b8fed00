//! A member: one instance of one node, while its chunks count.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use infinicache_discovery::Site;
use infinicache_engine::MuxLink;
use infinicache_host::clock;
use infinicache_wire::{InstanceId, MemberId, handshake::Hello, message::NodeReport};

use super::member_memory::MemberMemory;

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
    /// What is placed on it.
    pub(crate) memory: MemberMemory,
    draining: AtomicBool,
    left: AtomicBool,
    surplus: AtomicBool,
    /// When it was suspected last.
    suspected: Mutex<Option<Instant>>,
    link: Mutex<Option<MuxLink>>,
    report: Mutex<NodeReport>,
    site: Mutex<Site>,
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
            memory: MemberMemory::new(hello.capacity),
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

    /// Whether nothing was heard over its link for so long, or it has none.
    pub(super) fn is_silent_for(&self, silence: Duration, now: Instant) -> bool {
        let heard = self.link().map(|link| link.mux().heard());
        heard.is_none_or(|heard| now >= heard + silence)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holds one value that is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

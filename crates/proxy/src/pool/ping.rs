//! Signs of life, asked for: regularly, and before a silent member is relied on.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_engine::{AdaptiveTimeout, MuxLink, NodeLink, adaptive_timeout::Bounds};
use infinicache_host::{clock, task};
use infinicache_wire::{LeaseOffer, MemberId, Reply, Request};
use tokio::time;
use tracing::{debug, warn};

use super::{
    lease::AnswerLease, member::Member, members::Members, membership::Membership,
    node_list::NodeList, prepare_phase::PreparePhase, wake_attempt::Wakes,
};
use crate::{metrics::Metrics, pool_clock::PoolClock};

/// How long a preflight waits for its answer, by how long pings took lately.
const PATIENCE: Bounds = Bounds {
    first: Duration::from_secs(1),
    // Schedulers alone may hold a process up for as long.
    least: Duration::from_millis(300),
    // Whoever waits for the answer has better things to do.
    most: Duration::from_secs(2),
    window: 128,
    recent: Duration::from_secs(60),
};

/// What asks members for signs of life.
#[derive(Debug)]
pub(crate) struct Pings {
    pub(super) timeout: Mutex<AdaptiveTimeout>,
    pub(super) clock: PoolClock,
    pub(super) lease: Arc<AnswerLease>,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) prepare: Arc<PreparePhase>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) metrics: Arc<Metrics>,
}

impl Pings {
    /// None has been answered, so nothing is known of how long that takes.
    pub(super) fn no_timeouts_yet() -> Mutex<AdaptiveTimeout> {
        Mutex::new(AdaptiveTimeout::new(PATIENCE))
    }

    /// Asks a member how it is.
    pub(super) fn ping(self: &Arc<Self>, index: usize, id: MemberId) {
        let Some((member, link)) = self.members.linked(id) else {
            return;
        };
        let pings = self.clone();
        task::spawn(async move {
            if pings.exchange(&member, &link).await {
                pings.nodes.at(index).tell();
            }
        });
    }

    /// Finds out whether a member can be relied on; if not, its node is woken.
    pub(super) fn preflight(self: &Arc<Self>, index: usize, id: MemberId, sent: Instant) {
        self.metrics.preflight("sent");
        let pings = self.clone();
        task::spawn(async move {
            let Some((member, link)) = pings.members.linked(id) else {
                // It will be woken because its link is gone.
                let node = pings.nodes.at(index);
                if let Some(it) = node.state().lifecycle.current_if(id) {
                    it.unanswered(sent);
                }
                return;
            };
            let mut exchange = pin!(pings.exchange(&member, &link));
            let ping_timeout = pings.timeout().timeout(sent);
            let mut over = false;
            // In two halves: if this process alone was paused for all of the first, the
            // answer may have been here for long, and is read in the second.
            for _ in 0..2 {
                over = time::timeout(ping_timeout / 2, &mut exchange).await.is_ok();
                if over {
                    break;
                }
            }
            pings.conclude(index, id, sent, &link);
            if !over {
                // So that patience grows with latencies, and the caller that waits learns of the
                // answer.
                exchange.await;
            }
            pings.nodes.at(index).tell();
        });
    }

    /// The time for the answer to a preflight is over.
    fn conclude(&self, index: usize, id: MemberId, sent: Instant, link: &MuxLink) {
        let action = {
            let node = self.nodes.at(index);
            let lifecycle = &mut node.state().lifecycle;
            let is_late = lifecycle.current_if(id).is_some_and(|it| {
                it.heard_of(link.mux().heard());
                it.unanswered(sent)
            });
            is_late.then(|| lifecycle.doubted(id, clock::now()))
        };
        let Some(action) = action else {
            self.metrics.preflight("answered");
            return;
        };
        self.metrics.preflight("late");
        let rewoken = action.is_some();
        warn!(node = %self.nodes.name(index), member = %id, rewoken, "node gives no sign of life");
        if let Some(action) = action {
            self.metrics.preflight("rewoken");
            self.wakes.follow(index, action);
        }
    }

    /// Sends a PING and takes in what the member tells of itself; whether it did.
    pub(super) async fn exchange(&self, member: &Arc<Member>, link: &MuxLink) -> bool {
        let sent = clock::now();
        let now_ms = self.clock.unix_ms();
        let lease = LeaseOffer {
            ms: u32::try_from(self.lease.length().as_millis()).unwrap_or(u32::MAX),
            leads: !self.prepare.is_recovering() && self.lease.may_answer(),
        };
        let reply = link.call(Request::Ping { now_ms, lease }).await;
        let Reply::Done { bytes, .. } = reply else {
            debug!(node = %self.nodes.name(member.node), ?reply, "ping unanswered");
            return false;
        };
        let now = clock::now();
        self.timeout().answered(now, now - sent);
        self.membership.answered(member, sent);
        let node = self.nodes.at(member.node);
        if let Some(it) = node.state().lifecycle.current_if(member.id) {
            it.heard_of(now);
        }
        match serde_json::from_slice(&bytes) {
            Ok(report) => member.set_report(report),
            Err(error) => debug!(%error, "unreadable report"),
        }
        true
    }

    fn timeout(&self) -> MutexGuard<'_, AdaptiveTimeout> {
        // Plain numbers: whatever a panic left there is usable.
        self.timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

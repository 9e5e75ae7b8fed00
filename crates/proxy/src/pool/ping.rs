//! Signs of life, asked for: regularly, and before a silent member is relied on.

use std::{
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_engine::{AdaptiveTimeout, MuxLink, NodeLink, adaptive_timeout::Bounds};
use infinicache_host::{clock, task};
use infinicache_wire::{LeaseOffer, MemberId, Reply, Request};
use tokio::time;
use tracing::{debug, warn};

use super::{Nodes, member::Member};

/// How long a preflight waits for its answer, by how long pings took lately.
pub(super) const PATIENCE: Bounds = Bounds {
    first: Duration::from_secs(1),
    // Schedulers alone may hold a process up for as long.
    least: Duration::from_millis(300),
    // Whoever waits for the answer has better things to do.
    most: Duration::from_secs(2),
    window: 128,
    recent: Duration::from_secs(60),
};

impl Nodes {
    /// Asks a member how it is.
    pub(super) fn ping(&self, index: usize, id: MemberId) {
        let Some((member, link)) = self.linked_member(id) else {
            return;
        };
        let nodes = self.clone();
        task::spawn(async move {
            if nodes.exchange(&member, &link).await {
                nodes.0.nodes.at(index).tell();
            }
        });
    }

    /// Finds out whether a member can be relied on; if not, its node is woken.
    pub(super) fn preflight(&self, index: usize, id: MemberId, sent: Instant) {
        self.0.metrics.preflight("sent");
        let nodes = self.clone();
        task::spawn(async move {
            let Some((member, link)) = nodes.linked_member(id) else {
                // It will be woken because its link is gone.
                let node = nodes.0.nodes.at(index);
                if let Some(it) = node.state().lifecycle.current_if(id) {
                    it.unanswered(sent);
                }
                return;
            };
            let mut exchange = pin!(nodes.exchange(&member, &link));
            let ping_timeout = nodes.ping_timeout().timeout(sent);
            let mut over = false;
            // In two halves: if this process alone was paused for all of the first, the
            // answer may have been here for long, and is read in the second.
            for _ in 0..2 {
                over = time::timeout(ping_timeout / 2, &mut exchange).await.is_ok();
                if over {
                    break;
                }
            }
            nodes.conclude(index, id, sent, &link);
            if !over {
                // So that patience grows with latencies, and the caller that waits learns of the
                // answer.
                exchange.await;
            }
            nodes.0.nodes.at(index).tell();
        });
    }

    /// The time for the answer to a preflight is over.
    fn conclude(&self, index: usize, id: MemberId, sent: Instant, link: &MuxLink) {
        let action = {
            let node = self.0.nodes.at(index);
            let lifecycle = &mut node.state().lifecycle;
            let is_late = lifecycle.current_if(id).is_some_and(|it| {
                it.heard_of(link.mux().heard());
                it.unanswered(sent)
            });
            is_late.then(|| lifecycle.doubted(id, clock::now()))
        };
        let Some(action) = action else {
            self.0.metrics.preflight("answered");
            return;
        };
        self.0.metrics.preflight("late");
        let rewoken = action.is_some();
        warn!(node = %self.name(index), member = %id, rewoken, "node gives no sign of life");
        if let Some(action) = action {
            self.0.metrics.preflight("rewoken");
            self.act(index, action);
        }
    }

    /// Sends a PING and takes in what the member tells of itself; whether it did.
    pub(super) async fn exchange(&self, member: &Arc<Member>, link: &MuxLink) -> bool {
        let sent = clock::now();
        let now_ms = self.clock().unix_ms();
        let lease = LeaseOffer {
            ms: u32::try_from(self.0.settings.lease.as_millis()).unwrap_or(u32::MAX),
            leads: !self.is_recovering() && self.may_answer(),
        };
        let reply = link.call(Request::Ping { now_ms, lease }).await;
        let Reply::Done { bytes, .. } = reply else {
            debug!(node = %self.name(member.node), ?reply, "ping unanswered");
            return false;
        };
        let now = clock::now();
        self.ping_timeout().answered(now, now - sent);
        self.answered(member, sent);
        let node = self.0.nodes.at(member.node);
        if let Some(it) = node.state().lifecycle.current_if(member.id) {
            it.heard_of(now);
        }
        match serde_json::from_slice(&bytes) {
            Ok(report) => member.set_report(report),
            Err(error) => debug!(%error, "unreadable report"),
        }
        true
    }

    fn linked_member(&self, id: MemberId) -> Option<(Arc<Member>, MuxLink)> {
        let member = self.member(id)?;
        let link = member.link()?;
        Some((member, link))
    }

    fn ping_timeout(&self) -> MutexGuard<'_, AdaptiveTimeout> {
        // Plain numbers: whatever a panic left there is usable.
        self.0
            .ping_timeout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

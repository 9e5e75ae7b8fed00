//! Quorum calls: members are asked the same, and enough of them must answer in time.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use infinicache_engine::{Error, LatencyTracker};
use infinicache_host::{clock, fail_point, stall_point};
use infinicache_membership::quorum_timeout::QuorumTimeout;
use infinicache_wire::{MemberId, Reply, Request};
use tokio::time;
use tracing::debug;

use crate::pool::{Members, Membership};

/// For how long a change waits for a majority of the members to renew its lease.
const LEASE_WAIT: Duration = Duration::from_secs(1);

/// The client's error for a change that may or may not outlive this run of the proxy.
pub(super) const UNKNOWN_OUTCOME: Error =
    Error::TimedOut("members did not acknowledge: the outcome is unknown");

/// What a call waits for.
pub(super) trait Quorum {
    /// The member that was asked about a chunk answered; `None` if it is gone for good. Whether
    /// that is an answer to the question.
    fn answered(&mut self, index: u8, member: MemberId, reply: Option<&Reply>) -> bool;

    /// The members that have not answered, and the chunks that they are asked about.
    fn outstanding(&self) -> Vec<(u8, MemberId)>;

    /// Whether enough have answered, or count no longer.
    fn is_reached(&self, membership: &Membership) -> bool;
}

/// Asks members, and removes those that do not answer.
#[derive(Clone)]
pub(super) struct QuorumCaller {
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) latencies: Arc<LatencyTracker>,
}

impl QuorumCaller {
    /// Asks all members at once, for as long as healthy ones take at most.
    ///
    /// Those of whom nothing is known then are to be [called](Self::call).
    pub(super) async fn call_at_once(
        &self,
        request: impl Fn(u8) -> Request,
        quorum: &mut impl Quorum,
    ) {
        let holders = quorum.outstanding();
        let asked = holders
            .iter()
            .map(|&(index, member)| (member, request(index)));
        let replies = self.members.ask_at_once(asked).await;
        for ((index, member), reply) in holders.into_iter().zip(replies) {
            if let Some(reply) = reply {
                quorum.answered(index, member, Some(&reply));
            }
        }
    }

    /// Asks each member, again and again while its link is broken, until the quorum is reached or
    /// time is up. As many as can be done without, `spare`, are waited for only a while after the
    /// last answer of the others.
    pub(super) async fn call(
        &self,
        spare: usize,
        request: impl Fn(u8) -> Request,
        quorum: &mut impl Quorum,
    ) {
        if quorum.is_reached(&self.membership) {
            return;
        }
        let mut asking: FuturesUnordered<_> = quorum
            .outstanding()
            .into_iter()
            .map(|(index, member)| {
                let request = request(index);
                async move { (index, member, self.members.ask(member, request).await) }
            })
            .collect();
        let mut changes = self.membership.changes();
        let mut timeout = QuorumTimeout::new(clock::now());
        while !quorum.is_reached(&self.membership) {
            let end = timeout.ends(quorum.outstanding().len(), spare);
            tokio::select! {
                biased;
                Some((index, member, reply)) = asking.next() => {
                    if quorum.answered(index, member, reply.as_ref()) {
                        timeout.heard(clock::now());
                    }
                }
                Ok(()) = changes.changed() => {}
                () = time::sleep_until(end.into()) => {
                    if fail_point("own_pauses") || timeout.is_over(clock::now(), end) {
                        return;
                    }
                }
            }
        }
    }

    /// Removes the members that have not answered; whether the quorum can do without them.
    pub(super) async fn remove_silent(&self, quorum: &impl Quorum) -> bool {
        let silent = quorum.outstanding().into_iter();
        let silent: Vec<MemberId> = silent.map(|(_, member)| member).collect();
        if silent.is_empty() {
            return true;
        }
        debug!(?silent, "members do not acknowledge a change");
        let now = clock::now();
        silent
            .iter()
            .for_each(|member| self.latencies.was_late(*member, now));
        self.membership.remove_silent(&silent).await || quorum.is_reached(&self.membership)
    }

    /// That a change is committed, as far as another run of the proxy is concerned. Most members
    /// may just have said goodbye, and the others be about to renew its lease.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there may be one by now.
    pub(super) async fn confirm_lease(&self) -> Result<(), Error> {
        stall_point().await;
        if fail_point("lease_again") {
            return Ok(());
        }
        let is_leader = self.membership.until_may_answer();
        let in_time = time::timeout(LEASE_WAIT, is_leader).await;
        in_time.map_err(|_| UNKNOWN_OUTCOME)
    }
}

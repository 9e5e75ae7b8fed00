//! Which nodes a write, or a chunk, gets.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use infinicache_client::{
    Error,
    place::{Candidate, place},
};
use infinicache_erasure::Code;
use infinicache_wire::MemberId;
use tracing::debug;

use super::Cache;
use crate::nodes::{Usable, member::Member};

/// How long to wait for nodes to wake while there may be others to do without them.
const WAKE_PATIENCE: Duration = Duration::from_secs(1);

/// Nodes that sleep are woken for new chunks only once those awake are this full.
const WATERMARK_PERCENT: u64 = 80;

impl Cache {
    /// The code for a value, by the nodes that can be expected to take part.
    pub(super) fn code_for(&self, size: Option<u64>) -> Result<Code, Error> {
        let usable = self.0.nodes.usable();
        let sound = usable.iter().filter(|node| !node.doubtful).count();
        let code = |nodes| self.0.settings.code.for_object(size, nodes);
        let full = code(sound).filter(|it| it.parity() == self.0.settings.code.parity());
        full.or_else(|| code(usable.len()))
            .ok_or_else(|| Error::Unreachable("no node can be used".into()))
    }

    /// A placement that a client proposed, if each of its members can take chunks.
    pub(super) fn accept(&self, proposal: &[MemberId], code: Code) -> Option<Vec<Arc<Member>>> {
        let mut distinct = proposal.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        if proposal.len() != code.width() || distinct.len() != proposal.len() {
            return None;
        }
        let usable = |id: &MemberId| {
            let member = self.0.nodes.member(*id)?;
            let is_there = !member.is_leaving() && member.link().is_some();
            (is_there && self.0.nodes.counts(&member)).then_some(member)
        };
        proposal.iter().map(usable).collect()
    }

    /// Finds `width` members on nodes other than `excluded`, waking nodes if need be; what is on
    /// those that are excluded counts for the spread over hosts and zones.
    ///
    /// Nodes that do not wake at once are done without if enough others are awake; if not, they
    /// are waited for rather than others woken, which would take as long.
    pub(crate) async fn place(
        &self,
        width: usize,
        parity: usize,
        excluded: &[usize],
    ) -> Result<Vec<Arc<Member>>, Error> {
        let most = self.0.settings.place_deadline;
        let deadline = Instant::now() + most;
        // Nodes that did not wake at once, and those that did not when there was no other.
        let (mut late, mut excluded) = (Vec::new(), excluded.to_vec());
        let mut patience = WAKE_PATIENCE;
        let is_beside = |it: &&Usable| it.member.is_some() && excluded.contains(&it.node);
        let usable = self.0.nodes.usable();
        let beside = usable.iter().filter(is_beside);
        let beside: Vec<_> = beside.map(|it| self.candidate(it)).collect();
        loop {
            let mut usable = self.0.nodes.usable();
            usable.retain(|it| !excluded.contains(&it.node) && !late.contains(&it.node));
            let candidates: Vec<_> = usable.iter().map(|usable| self.candidate(usable)).collect();
            let seed = self.0.placements.fetch_add(1, Relaxed) ^ self.0.settings.epoch.get();
            let Some(placed) = place(&candidates, &beside, width, parity, seed) else {
                if !late.is_empty() {
                    late.clear();
                    patience = most;
                    continue;
                }
                let text = format!("{} nodes can be used, {width} needed", candidates.len());
                return Err(Error::Unreachable(text));
            };
            let until = deadline.min(Instant::now() + patience);
            let waking = placed
                .iter()
                .map(|&index| self.0.nodes.ensure(usable[index].node, until));
            let woken = join_all(waking).await;
            if woken.iter().all(Option::is_some) {
                let members: Vec<Arc<Member>> = woken.into_iter().flatten().collect();
                // Whoever is needed is not one too many.
                members.iter().for_each(|member| member.set_spare(false));
                return Ok(members);
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut("too few nodes woke up"));
            }
            let failed = placed
                .iter()
                .zip(&woken)
                .filter(|(_, member)| member.is_none());
            let failed = failed.map(|(&index, _)| usable[index].node);
            match patience {
                WAKE_PATIENCE => late.extend(failed),
                _ => excluded.extend(failed),
            }
            let is_awake = |it: &Usable| {
                it.member.is_some() && !late.contains(&it.node) && !excluded.contains(&it.node)
            };
            let awake = self.0.nodes.usable().into_iter().filter(is_awake);
            if awake.count() < width {
                late.clear();
                patience = most;
            }
            debug!(
                ?late,
                ?excluded,
                "placing anew without nodes that do not wake"
            );
        }
    }

    fn candidate(&self, usable: &Usable) -> Candidate {
        let Some(member) = &usable.member else {
            let free = match usable.capacity {
                0 => self.0.settings.presumed_capacity,
                known => known,
            };
            return Candidate {
                host: String::new(),
                zone: String::new(),
                free,
                rank: match (usable.doubtful, usable.waking) {
                    (false, true) => 1,
                    (false, false) => 2,
                    (true, _) => 5,
                },
            };
        };
        let is_slow = self.0.health.is_slow(member.id, Instant::now());
        let is_full = member.used() > member.capacity() / 100 * WATERMARK_PERCENT;
        let site = member.site();
        Candidate {
            host: site.host,
            zone: site.zone,
            free: member.free(),
            rank: match (is_slow, is_full) {
                // As good as asleep: it is to go to sleep.
                (false, false) if member.is_spare() => 2,
                (false, false) => 0,
                (false, true) => 3,
                (true, _) => 4,
            },
        }
    }
}

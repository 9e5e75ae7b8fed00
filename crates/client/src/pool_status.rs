//! What a client knows of a pool, and whom it proposes for a value.
//!
//! The status is as old as the last time that a caller needed it: it is fetched
//! again in the background while it is used, never on a schedule. Being a little
//! old does no harm, since the proxy corrects a proposal that makes no sense.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_erasure::Code;
use infinicache_wire::{
    MemberId,
    control::{NodeState, NodeStatus, PoolStatus},
};

use infinicache_engine::placement::{Candidate, place};

/// A view of this age is fetched again.
const FRESH: Duration = Duration::from_secs(3);

/// One that has proved wrong is, after this.
const LEAST: Duration = Duration::from_millis(500);

/// A view of this age is of no use.
const OLD: Duration = Duration::from_secs(30);

/// The view of one pool.
#[derive(Debug, Default)]
pub(crate) struct StatusCache(Mutex<CachedStatus>);

#[derive(Debug, Default)]
struct CachedStatus {
    view: Option<(Arc<PoolStatus>, Instant)>,
    /// When fetching it was last begun, and whether that is still under way.
    tried: Option<Instant>,
    fetching: bool,
    doubted: bool,
}

impl StatusCache {
    fn state(&self) -> MutexGuard<'_, CachedStatus> {
        // Whatever a panic left there is a view of some time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view, if it is of use.
    pub(crate) fn current(&self, now: Instant) -> Option<Arc<PoolStatus>> {
        let state = self.state();
        let (view, taken_at) = state.view.as_ref()?;
        (now.saturating_duration_since(*taken_at) < OLD).then(|| view.clone())
    }

    /// The proxy did otherwise than the view made expect.
    pub(crate) fn doubt(&self) {
        self.state().doubted = true;
    }

    /// Whether the caller is to fetch the view now: then it must call [`StatusCache::fetched`].
    pub(crate) fn must_fetch(&self, now: Instant) -> bool {
        let mut state = self.state();
        let patience = if state.doubted { LEAST } else { FRESH };
        let recently = |tried: Instant| now.saturating_duration_since(tried) < patience;
        if state.fetching || state.tried.is_some_and(recently) {
            return false;
        }
        state.fetching = true;
        state.tried = Some(now);
        true
    }

    /// Keeps a view that was fetched, or the one before if that failed.
    pub(crate) fn fetched(&self, view: Option<Arc<PoolStatus>>, now: Instant) {
        let mut state = self.state();
        state.fetching = false;
        if let Some(view) = view {
            state.doubted = false;
            state.tried = Some(now);
            state.view = Some((view, now));
        }
    }
}

/// The members to propose for a value of `size` bytes; none, if the proxy has to wake
/// nodes for it and so knows better.
pub(crate) fn propose(
    view: &PoolStatus,
    size: Option<u64>,
    seed: u64,
    is_slow: impl Fn(MemberId) -> bool,
) -> Vec<MemberId> {
    let usable = view
        .nodes
        .iter()
        .filter(|node| node.state != NodeState::Draining)
        .count();
    let pool_code = Code::new(view.data.into(), view.parity.into()).ok();
    let Some(code) = pool_code.and_then(|code| code.for_object(size, usable)) else {
        return Vec::new();
    };
    let active = view
        .nodes
        .iter()
        .filter(|node| node.state == NodeState::Active);
    let (members, candidates): (Vec<MemberId>, Vec<Candidate>) = active
        .filter_map(|node| Some((node.member?, node)))
        .map(|(member, node)| (member, candidate(node, is_slow(member))))
        .unzip();
    let placed = place(&candidates, &[], code.width(), code.parity(), seed);
    placed
        .into_iter()
        .flatten()
        .map(|index| members[index])
        .collect()
}

fn candidate(node: &NodeStatus, is_slow: bool) -> Candidate {
    Candidate {
        host: node.host.clone(),
        zone: node.zone.clone(),
        free: node.capacity.saturating_sub(node.used),
        rank: u8::from(node.slow || is_slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(states: &[NodeState]) -> PoolStatus {
        let node = |(number, state): (u32, &NodeState)| NodeStatus {
            name: format!("node-{number}"),
            state: *state,
            member: Some(MemberId(number)),
            instance: None,
            host: String::new(),
            zone: String::new(),
            capacity: 100,
            used: 0,
            chunks: 0,
            heard_ms: None,
            slow: false,
            resting: false,
            wake_failure: None,
        };
        let nodes = (0..).zip(states).map(node).collect();
        PoolStatus {
            epoch: 1,
            data: 4,
            parity: 2,
            max_object_bytes: 1 << 30,
            nodes,
        }
    }

    #[test]
    fn a_view_is_fetched_when_it_is_old_and_sooner_when_it_is_doubted() {
        let view = StatusCache::default();
        let start = Instant::now();
        assert!(view.must_fetch(start));
        assert!(!view.must_fetch(start + FRESH), "it is being fetched");
        view.fetched(Some(Arc::new(self::view(&[]))), start);
        assert!(!view.must_fetch(start + LEAST));
        view.doubt();
        assert!(!view.must_fetch(start + LEAST / 2));
        assert!(view.must_fetch(start + LEAST));
        view.fetched(None, start + LEAST);
        assert!(
            view.current(start).is_some(),
            "a failure leaves the view that was there"
        );
        assert!(view.current(start + OLD).is_none());
    }

    #[test]
    fn active_members_are_proposed_as_wide_as_the_code() {
        let view = view(&[NodeState::Active; 8]);
        let mut wide = propose(&view, None, 7, |_| false);
        wide.sort_unstable();
        wide.dedup();
        assert_eq!(wide.len(), 6);
        assert_eq!(
            propose(&view, Some(1), 7, |_| false).len(),
            3,
            "small values are copied"
        );
    }

    #[test]
    fn slow_members_are_proposed_last() {
        let view = view(&[NodeState::Active; 8]);
        let is_slow = |member: MemberId| member.0 >= 6;
        for seed in 0..50 {
            assert!(
                propose(&view, None, seed, is_slow)
                    .iter()
                    .all(|member| member.0 < 6)
            );
        }
    }

    #[test]
    fn nobody_is_proposed_when_nodes_have_to_be_woken() {
        let mut states = [NodeState::Active; 6];
        states[0] = NodeState::Asleep;
        assert_eq!(propose(&view(&states), None, 7, |_| false), []);
        assert_eq!(propose(&view(&states), Some(1), 7, |_| false).len(), 3);
        assert_eq!(propose(&view(&[]), None, 7, |_| false), []);
    }
}

//! Which nodes a write, or a chunk, gets.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use infinicache_discovery::Site;
use infinicache_engine::{
    Error, LatencyTracker,
    placement::{Candidate, place},
};
use infinicache_erasure::Code;
use infinicache_host::clock;
use infinicache_wire::MemberId;
use tracing::debug;

use super::placement_group::PlacementGroups;
use crate::pool::{Nodes, Usable, member::Member};

/// How long a placement waits in all for nodes to wake while enough others may be awake.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Nodes that sleep are woken for new chunks only once those awake are this full.
const WATERMARK_PERCENT: u64 = 80;

/// What placements go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacementPolicy {
    /// The widest code.
    pub(super) code: Code,
    /// What a node is thought to hold before one has told.
    pub(super) presumed_capacity: u64,
    /// How long placing a write may take, wakes and all.
    pub(super) deadline: Duration,
    /// What the draws of this run begin with.
    pub(super) seed: u64,
}

/// Chooses members.
pub(crate) struct Placement {
    policy: PlacementPolicy,
    nodes: Nodes,
    latencies: Arc<LatencyTracker>,
    draws: AtomicU64,
    groups: PlacementGroups,
}

impl Placement {
    pub(super) fn new(
        policy: PlacementPolicy,
        nodes: Nodes,
        latencies: Arc<LatencyTracker>,
    ) -> Self {
        Self {
            policy,
            nodes,
            latencies,
            draws: AtomicU64::new(0),
            groups: PlacementGroups::default(),
        }
    }

    /// The code for a value, by the nodes that can be expected to take part.
    pub(super) fn code_for(&self, size: Option<u64>) -> Result<Code, Error> {
        let usable = self.nodes.availability().usable();
        let sound = usable.iter().filter(|node| !node.doubtful).count();
        let code = |nodes| self.policy.code.for_object(size, nodes);
        let full = code(sound).filter(|it| it.parity() == self.policy.code.parity());
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
            let member = self.nodes.members().get(*id)?;
            let is_there = !member.must_evacuate() && member.link().is_some();
            (is_there && self.nodes.membership().counts(&member)).then_some(member)
        };
        proposal.iter().map(usable).collect()
    }

    /// Finds `width` members on nodes other than `excluded`, waking nodes if need be; what is on
    /// those that are excluded counts for the spread over hosts and zones.
    pub(crate) async fn place(
        &self,
        width: usize,
        parity: usize,
        excluded: &[usize],
    ) -> Result<Vec<Arc<Member>>, Error> {
        let nodes = &self.nodes;
        let is_beside = |it: &Usable| it.member.is_some() && excluded.contains(&it.node);
        let mut beside = nodes.availability().usable();
        beside.retain(is_beside);
        let beside: Vec<_> = beside.iter().map(|it| self.candidate(it)).collect();
        let search = Search {
            width,
            most: self.policy.deadline,
            usable: || {
                let mut usable = nodes.availability().usable();
                usable.retain(|it| !excluded.contains(&it.node));
                usable
            },
            draw: |usable: &[Usable]| {
                let candidates: Vec<_> = usable.iter().map(|it| self.candidate(it)).collect();
                let seed = self.draws.fetch_add(1, Relaxed) ^ self.policy.seed;
                place(&candidates, &beside, width, parity, seed)
            },
            ensure: |node, until| nodes.availability().ensure(node, until),
        };
        let members = search.run().await?;
        // One that is needed is not one too many.
        members.iter().for_each(|member| member.set_surplus(false));
        Ok(members)
    }

    /// The code and the members for a small value of `size` bytes, which are kept for some more
    /// of at most `longest` bytes.
    pub(super) async fn of_group(
        &self,
        size: u64,
        longest: u64,
    ) -> Result<(Code, Arc<[Arc<Member>]>), Error> {
        let has_room = |member: &Member| member.memory.free() > 2 * longest;
        let is_sound = |member: &Member| {
            !member.must_evacuate()
                && member.link().is_some()
                && self.nodes.membership().counts(member)
        };
        if let Some(current) = self.groups.current(clock::now(), is_sound, has_room) {
            return Ok(current);
        }
        let code = self.code_for(Some(size))?;
        let members: Arc<[_]> = self.place(code.width(), code.parity(), &[]).await?.into();
        let now = clock::now();
        self.groups.begin(code, members.clone(), has_room, now);
        Ok((code, members))
    }

    fn candidate(&self, usable: &Usable) -> Candidate {
        let Some(member) = &usable.member else {
            let free = match usable.capacity {
                0 => self.policy.presumed_capacity,
                known => known,
            };
            // One that may never wake is not to be waited for because of where it was.
            let site = if usable.doubtful {
                Site::default()
            } else {
                usable.site.clone()
            };
            return Candidate {
                host: site.host,
                zone: site.zone,
                free,
                rank: match (usable.doubtful, usable.waking) {
                    (false, true) => 1,
                    (false, false) => 2,
                    (true, _) => 5,
                },
            };
        };
        let is_slow = self.latencies.is_slow(member.id, clock::now());
        let is_full = member.memory.used() > member.memory.capacity() / 100 * WATERMARK_PERCENT;
        let site = member.site();
        Candidate {
            host: site.host,
            zone: site.zone,
            free: member.memory.free(),
            rank: match (is_slow, is_full) {
                // As good as asleep: it is to go to sleep.
                (false, false) if member.is_surplus() => 2,
                (false, false) => 0,
                (false, true) => 3,
                (true, _) => 4,
            },
        }
    }
}

/// A search for members, which are to be awake.
///
/// The best draw may want nodes that sleep. They are woken and waited for a little; then enough
/// others that are awake do as well. If there are not enough, sleepers are waited for rather than
/// other sleepers woken, which would take as long.
struct Search<U, D, E> {
    width: usize,
    /// How long it may take.
    most: Duration,
    /// The nodes that there are.
    usable: U,
    /// Draws some of them, by their place among those it is shown.
    draw: D,
    /// Gets a node to be awake.
    ensure: E,
}

impl<U, D, E, F> Search<U, D, E>
where
    U: Fn() -> Vec<Usable>,
    D: Fn(&[Usable]) -> Option<Vec<usize>>,
    E: Fn(usize, Instant) -> F,
    F: Future<Output = Option<Arc<Member>>>,
{
    async fn run(self) -> Result<Vec<Arc<Member>>, Error> {
        let begun = clock::now();
        let deadline = begun + self.most;
        // Until then the best nodes are waited for, and until then only those that are awake.
        let mut best_until = deadline.min(begun + WAKE_TIMEOUT);
        let awake_until = deadline.min(begun + 2 * WAKE_TIMEOUT);
        // Nodes that were waited for in vain: for a little, and for good.
        let (mut late, mut failed) = (Vec::new(), Vec::new());
        loop {
            let now = clock::now();
            let mut usable = (self.usable)();
            usable.retain(|it| !failed.contains(&it.node));
            let awake = usable.iter().filter(|it| it.member.is_some()).count();
            let until = if now < best_until {
                usable.retain(|it| !late.contains(&it.node));
                best_until
            } else if now < awake_until && awake >= self.width {
                usable.retain(|it| it.member.is_some());
                awake_until
            } else {
                deadline
            };
            let Some(drawn) = (self.draw)(&usable) else {
                if now < best_until && !late.is_empty() {
                    best_until = now;
                    continue;
                }
                let (there, width) = (usable.len(), self.width);
                let text = format!("{there} nodes can be used, {width} needed");
                return Err(Error::Unreachable(text));
            };
            let drawn = drawn.into_iter().map(|index| usable[index].node);
            let drawn: Vec<usize> = drawn.collect();
            let woken = join_all(drawn.iter().map(|&node| (self.ensure)(node, until))).await;
            let asleep = drawn.iter().zip(&woken).filter(|(_, it)| it.is_none());
            let asleep: Vec<usize> = asleep.map(|(&node, _)| node).collect();
            if asleep.is_empty() {
                return Ok(woken.into_iter().flatten().collect());
            }
            if clock::now() >= deadline {
                return Err(Error::TimedOut("too few nodes woke up"));
            }
            debug!(?asleep, "placing anew without nodes that do not wake");
            if until < deadline {
                late.extend(asleep);
            } else {
                failed.extend(asleep);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time;

    use super::*;

    /// How long nodes take to wake, by index: those that are awake take no time, and others may
    /// never wake.
    struct Nodes {
        wakes: Vec<Option<Duration>>,
        began: Instant,
        woken: RefCell<Vec<usize>>,
        draws: Cell<usize>,
    }

    const AWAKE: Option<Duration> = Some(Duration::ZERO);

    impl Nodes {
        fn new(wakes: impl IntoIterator<Item = Option<Duration>>) -> Self {
            Self {
                wakes: wakes.into_iter().collect(),
                began: clock::now(),
                woken: RefCell::default(),
                draws: Cell::new(0),
            }
        }

        fn is_awake(&self, node: usize) -> bool {
            self.wakes[node].is_some_and(|takes| clock::now() >= self.began + takes)
        }

        fn usable(&self) -> Vec<Usable> {
            let usable = |node| Usable {
                node,
                member: self.is_awake(node).then(|| self.member(node)),
                capacity: 0,
                waking: false,
                doubtful: false,
                site: Site::default(),
            };
            (0..self.wakes.len()).map(usable).collect()
        }

        fn member(&self, node: usize) -> Arc<Member> {
            Arc::new(Member::of(MemberId(node as u32)))
        }

        async fn ensure(&self, node: usize, until: Instant) -> Option<Arc<Member>> {
            if !self.is_awake(node) {
                self.woken.borrow_mut().push(node);
                let awake = self.wakes[node].map(|takes| self.began + takes);
                let awake = awake.filter(|awake| *awake <= until);
                time::sleep_until(awake.unwrap_or(until).into()).await;
                awake?;
            }
            Some(self.member(node))
        }

        /// Looks for `width` of them, those that sleep first; which they are, and how long it took.
        async fn search(&self, width: usize) -> (Result<Vec<u32>, Error>, Duration) {
            let search = Search {
                width,
                most: Duration::from_secs(20),
                usable: || self.usable(),
                draw: |usable: &[Usable]| {
                    self.draws.set(self.draws.get() + 1);
                    let mut drawn: Vec<usize> = (0..usable.len()).collect();
                    drawn.sort_by_key(|&index| usable[index].member.is_some());
                    drawn.truncate(width);
                    (drawn.len() == width).then_some(drawn)
                },
                ensure: |node, until| self.ensure(node, until),
            };
            let found = search.run().await;
            let ids = |members: Vec<Arc<Member>>| members.iter().map(|it| it.id.0).collect();
            (found.map(ids), clock::now() - self.began)
        }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn enough_nodes_that_are_awake_do_when_others_have_been_waited_for_once() {
        // As a pool of one host: three are awake, and the draw wants one that sleeps each time.
        let nodes = Nodes::new((0..14).map(|node| if node < 3 { AWAKE } else { seconds(60) }));
        let (found, took) = nodes.search(3).await;
        assert_eq!(found.unwrap(), [0, 1, 2]);
        assert_eq!(took, WAKE_TIMEOUT);
        assert_eq!(nodes.woken.borrow().len(), 3, "{:?}", nodes.woken);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_wakes_soon_is_taken() {
        let half = Some(WAKE_TIMEOUT / 2);
        let nodes = Nodes::new([AWAKE, AWAKE, half]);
        let (found, took) = nodes.search(2).await;
        assert_eq!(found.unwrap(), [2, 0]);
        assert_eq!(took, WAKE_TIMEOUT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_needed_are_waited_for_and_no_others_woken_meanwhile() {
        let nodes = Nodes::new([seconds(5), seconds(5), seconds(5), AWAKE]);
        let (found, took) = nodes.search(3).await;
        assert_eq!(found.unwrap(), [0, 1, 2]);
        assert_eq!(took, seconds(5).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_ends_whatever_nodes_do() {
        for sleepers in [2, 12] {
            let nodes =
                Nodes::new((0..13).map(|node| (node >= sleepers).then_some(Duration::ZERO)));
            let (found, took) = nodes.search(12).await;
            assert!(matches!(found, Err(Error::TimedOut(_))), "{found:?}");
            assert_eq!(took, seconds(20).unwrap());
            assert!(nodes.draws.get() < 4, "{} draws", nodes.draws.get());
        }
        let (found, took) = Nodes::new([AWAKE]).search(2).await;
        assert!(matches!(found, Err(Error::Unreachable(_))), "{found:?}");
        assert_eq!(took, Duration::ZERO);
    }
}

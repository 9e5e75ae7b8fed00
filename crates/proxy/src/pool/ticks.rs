//! Time passes for the pool: lifecycles are ticked, the lease and the view are looked after.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use infinicache_host::{clock, fail_point};
use tokio::time;
use tracing::warn;

use super::{
    actions::Actions,
    lease::AnswerLease,
    lifecycle::LifecycleTimings,
    members::Members,
    membership::Membership,
    node_list::{NodeEntry, NodeList},
    predecessors::Predecessors,
    step_down::{StepDown, Termination},
};

/// How often the lifecycles of nodes are ticked.
const TICK: Duration = Duration::from_millis(200);

/// How late a tick may be before it is this process that is late.
pub(crate) const HELD_UP: Duration = Duration::from_secs(1);

/// How often a node is looked for that would be a member, where there is none. A platform may
/// refuse the wake that makes it start one.
const SEEKING: Duration = Duration::from_secs(1);

/// What tells the time to the pool.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(super) timing: LifecycleTimings,
    pub(super) lease: Arc<AnswerLease>,
    pub(super) nodes: Arc<NodeList>,
    pub(super) members: Arc<Members>,
    pub(super) membership: Arc<Membership>,
    pub(super) predecessors: Predecessors,
    pub(super) actions: Arc<Actions>,
    pub(super) termination: Arc<Termination>,
}

/// When what was done last.
struct LastDone {
    tick: Instant,
    /// When nodes had reason to be silent last.
    held_up: Instant,
    attended: Instant,
    sought: Instant,
    /// For how long the run has been superseded, and could not answer.
    fenced: Duration,
}

impl Ticker {
    /// Tells the time to every life, until this run has to end.
    pub(crate) async fn run(&self) {
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let now = clock::now();
        let mut last = LastDone {
            tick: now,
            held_up: now,
            attended: now,
            sought: now.checked_sub(SEEKING).unwrap_or(now),
            fenced: Duration::ZERO,
        };
        loop {
            ticks.tick().await;
            if let Err(why) = self.tick(&mut last) {
                return self.termination.end(why);
            }
        }
    }

    fn tick(&self, last: &mut LastDone) -> Result<(), StepDown> {
        let gap = (clock::now() - last.tick).saturating_sub(TICK);
        last.tick = clock::now();
        self.check_lease(last, gap)?;
        if gap >= HELD_UP && !fail_point("own_pauses") {
            self.hold_up(gap);
            last.held_up = last.tick;
        }
        if clock::now() - last.attended >= self.timing.ping_every {
            last.attended = last.tick;
            self.predecessors.attend(last.held_up);
        }
        self.membership.propagate();
        for (index, node) in self.nodes.all().iter().enumerate() {
            self.tick_node(index, node);
        }
        if self.membership.is_isolated() && clock::now() - last.sought >= SEEKING {
            last.sought = last.tick;
            self.actions.wakes.wake_somebody();
        }
        Ok(())
    }

    /// Whether this run goes on, after a pause of so long.
    fn check_lease(&self, last: &mut LastDone, gap: Duration) -> Result<(), StepDown> {
        if gap >= self.lease.length() && self.lease.needs_none() {
            return Err(StepDown::NoLease);
        }
        self.lease.beat();
        last.fenced = match self.fencing() {
            Some(limit) if last.fenced >= limit => return Err(StepDown::Fenced),
            Some(_) => last.fenced + TICK,
            None => Duration::ZERO,
        };
        Ok(())
    }

    /// For how long this run goes on though a node follows a later one; `None` if nothing is wrong
    /// with that: a run that a user started by mistake may get nodes that are not needed.
    fn fencing(&self) -> Option<Duration> {
        if !self.lease.is_fenced() {
            return None;
        }
        if !self.lease.may_answer() {
            return Some(self.lease.length());
        }
        // Members that have turned to a run which is no more follow only one that is later.
        let silent = self.actions.suspicion.silent();
        let members = self.members.all();
        let mut members = members.iter();
        let is_split = members.any(|it| silent.contains(&it.id) && self.membership.counts(it));
        is_split.then_some(self.timing.lost_after)
    }

    fn hold_up(&self, gap: Duration) {
        warn!(
            ?gap,
            "this proxy was paused: its nodes' silence does not count"
        );
        for node in self.nodes.all().iter() {
            node.state().lifecycle.held_up(gap);
        }
    }

    fn tick_node(&self, index: usize, node: &NodeEntry) {
        let now = clock::now();
        let actions = {
            let mut state = node.state();
            let member = self.members.current_of(&mut state);
            let holds_data = member.is_some_and(|member| member.memory.used() > 0);
            state.lifecycle.tick(now, holds_data)
        };
        if !actions.is_empty() {
            node.tell();
        }
        for action in actions {
            self.actions.act(index, action);
        }
        if self.membership.view().0 > 0 {
            self.actions.wakes.try_again(index, node);
        }
    }
}

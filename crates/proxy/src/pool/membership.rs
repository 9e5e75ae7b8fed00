//! The membership view, kept with real members over real links.
//!
//! What is wanted of the view is entered at once and sent out; callers who may
//! go on only when it is committed wait for that. See [`infinicache_membership`] for the rules.

mod view_state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use infinicache_engine::NodeLink;
use infinicache_host::{fail_point, task, watch};
use infinicache_membership::readmission::{ReadmissionOutcome, TooManyRemoved};
use infinicache_wire::{InstanceId, MemberId, MembershipView as Document, Reply, Request};
use tokio::time;
use tracing::{debug, info, warn};

use self::view_state::ViewState;
use super::{
    events::{PoolEvent, PoolEvents},
    lease::AnswerLease,
    member::Member,
    members::Members,
    node_list::NodeList,
    settings::Settings,
};
use crate::metrics::Metrics;

/// How much longer a removal may take to be committed than a silent member to be lost. In a
/// pool of few members the silent ones may be needed for it, until they are.
const REMOVAL_MARGIN: Duration = Duration::from_secs(3);

/// How often a command that waits for the lease looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// Whose chunks count.
#[derive(Debug)]
pub(crate) struct Membership {
    state: Mutex<ViewState>,
    changed: watch::Sender<()>,
    lease: Arc<AnswerLease>,
    nodes: Arc<NodeList>,
    members: Arc<Members>,
    events: Arc<PoolEvents>,
    metrics: Arc<Metrics>,
    removal_deadline: Duration,
}

impl Membership {
    /// Nobody counts yet.
    pub(super) fn new(
        settings: &Settings,
        lease: &Arc<AnswerLease>,
        nodes: &Arc<NodeList>,
        members: &Arc<Members>,
        events: &Arc<PoolEvents>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let state = ViewState::new(settings.parity, settings.lease, settings.epoch.clone());
        Self {
            state: Mutex::new(state),
            changed: watch::channel(()).0,
            lease: lease.clone(),
            nodes: nodes.clone(),
            members: members.clone(),
            events: events.clone(),
            metrics: metrics.clone(),
            removal_deadline: settings.timing.lost_after + REMOVAL_MARGIN,
        }
    }

    fn state(&self) -> MutexGuard<'_, ViewState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whose chunks count does not change here any more.
    fn keeps_its_view(&self) -> bool {
        self.lease.is_fenced() && !fail_point("fenced_keeps_its_view")
    }

    /// Whether all members were lost in silence, so that it is not known which run leads.
    pub(super) fn is_isolated(&self) -> bool {
        self.state().is_isolated()
    }

    /// Waits until the proxy may answer.
    pub(crate) async fn until_may_answer(&self) {
        let mut changes = self.changes();
        while !self.lease.may_answer() {
            // Answers to pings are not told of.
            let _ = time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Whether the chunks of a member count.
    pub(crate) fn counts(&self, member: &Member) -> bool {
        self.state().view.contains(member.instance) || fail_point("holders_in_force")
    }

    /// Whether the chunks of a member count, or may come to.
    pub(crate) fn may_be_member(&self, member: MemberId) -> bool {
        self.state().may_be_member(member)
    }

    /// How many members count, and how often that was forced.
    pub(crate) fn view(&self) -> (usize, u64) {
        let state = self.state();
        let view = &state.view;
        (view.members().len(), view.unsafe_changes())
    }

    /// Told of every change of the committed view.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Callers may be waiting for changes of members.
    pub(super) fn announce(&self) {
        self.changed.send_replace(());
    }

    /// With no members this run does not answer before one has joined: who was heard of while it
    /// found out what there is may follow another by now.
    pub(crate) fn isolate(&self) {
        let mut state = self.state();
        state.isolate();
        self.lease.renew(state.lease());
    }

    /// Begins with the members that a run before had: those of `heard` are linked, the others gone.
    pub(crate) fn succeed(self: &Arc<Self>, last: &Document, heard: &[Arc<Member>]) {
        {
            let mut state = self.state();
            let is_there = |instance| heard.iter().any(|it| it.instance == instance);
            state.inherit(last, is_there);
            for member in heard {
                state.enter(member, &self.nodes.name(member.node));
            }
        }
        self.advance();
    }

    /// There are no members any more: what this run went by is out of date.
    pub(super) fn reset_view(&self) {
        if !fail_point("evidence_of_one_epoch") {
            self.state().reset();
        }
    }

    /// The chunks of an instance that has none shall count.
    pub(super) fn join(self: &Arc<Self>, member: &Member) {
        let name = self.nodes.name(member.node);
        self.state().enter_alone(member, &name);
        self.advance();
    }

    /// The chunks of a member shall count again, if it `fits` the metadata and was not removed
    /// meanwhile.
    pub(crate) fn readmit(self: &Arc<Self>, member: &Member, fits: bool) -> ReadmissionOutcome {
        let name = self.nodes.name(member.node);
        let outcome = self.state().readmit(member, &name, fits);
        self.advance();
        outcome
    }

    /// The chunks of `members` shall count no longer; whether that is committed in time.
    pub(crate) async fn remove_silent(self: &Arc<Self>, members: &[MemberId]) -> bool {
        let may_be_member = |member: &MemberId| self.may_be_member(*member);
        let members: Vec<_> = members.iter().copied().filter(may_be_member).collect();
        if members.is_empty() {
            return true;
        }
        // Who is gone has no place among those that may come back: a view without it is under way.
        let is_there = |id: &MemberId| self.members.get(*id).is_some();
        let there: Vec<_> = members.iter().copied().filter(is_there).collect();
        // Members that are about to go are soon gone: where all go at once, that is waited for.
        let stays = |id: &MemberId| self.members.get(*id).is_some_and(|it| !it.is_draining());
        let staying: Vec<_> = there.iter().copied().filter(stays).collect();
        if self.keeps_its_view() {
            warn!("members do not answer this run, which a later one has fenced");
            return false;
        }
        let removed = self.state().remove_silent(&there, &staying);
        let removed = match removed {
            Ok(removed) => removed,
            Err(TooManyRemoved(too_many)) => {
                warn!(
                    too_many,
                    "members do not answer, but cannot be done without"
                );
                return false;
            }
        };
        for (member, instance) in removed {
            warn!(%member, %instance, "member removed: it does not answer");
            self.metrics.membership().removed();
        }
        self.advance();
        if fail_point("removal_committed") {
            return true;
        }
        let removed = self.until_gone(&members);
        time::timeout(self.removal_deadline, removed).await.is_ok()
    }

    /// Members that hold nothing, and are there, shall count no longer.
    pub(super) fn remove_drained(self: &Arc<Self>, members: &[MemberId]) {
        if !members.is_empty() {
            self.state().remove(members);
            self.advance();
        }
    }

    /// A member is gone for good.
    pub(super) fn remove_lost(self: &Arc<Self>, member: &Member) {
        let was_entered = self.state().remove_lost(member);
        if was_entered {
            self.advance();
        }
    }

    /// Waits until none of `members` can come to count.
    pub(crate) async fn until_gone(&self, members: &[MemberId]) {
        let mut changes = self.changes();
        while members.iter().any(|member| self.may_be_member(*member)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until all that is wanted of the view is committed.
    pub(crate) async fn until_stable(&self) {
        let mut changes = self.changes();
        while !self.state().view.is_stable() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A member answered a ping that was sent at `sent`.
    pub(super) fn answered(&self, member: &Arc<Member>, sent: Instant) {
        let returns = {
            let mut state = self.state();
            let returns = state.answered(member, sent);
            self.lease.renew(state.lease());
            returns
        };
        if returns {
            info!(member = %member.id, "member answers again");
            self.events.tell(PoolEvent::Returned, member);
        }
    }

    /// A member is linked again, or may have missed something for another reason.
    pub(crate) fn returned(&self, member: &Arc<Member>) {
        if self.state().readmission.returned(member.id) {
            self.events.tell(PoolEvent::Returned, member);
        }
    }

    /// Asks linked members that have not stored the view that is proposed.
    pub(super) fn propagate(self: &Arc<Self>) {
        if self.keeps_its_view() {
            return;
        }
        let mut state = self.state();
        let Some((number, document, to)) = state.proposal() else {
            return;
        };
        for instance in to {
            let member = self.members.of_instance(instance);
            let Some(link) = member.and_then(|member| member.link()) else {
                continue;
            };
            if state.begin_to_ask(instance, number) {
                let (membership, document) = (self.clone(), document.clone());
                task::spawn(async move {
                    let reply = link.call(Request::StoreView(document)).await;
                    membership.asked(instance, number, &reply);
                });
            }
        }
    }

    /// A member answered whether it has stored a view.
    fn asked(self: &Arc<Self>, instance: InstanceId, number: u64, reply: &Reply) {
        let is_stored = matches!(reply, Reply::Done { .. });
        self.state().asked(instance, number, is_stored);
        if is_stored {
            self.advance();
        } else {
            // With the next tick it is asked again.
            debug!(%instance, ?reply, "view not stored");
        }
    }

    /// Goes on with the view after something has changed.
    fn advance(self: &Arc<Self>) {
        if self.keeps_its_view() {
            return;
        }
        let settled = {
            let mut state = self.state();
            if !state.view.advance() {
                drop(state);
                return self.propagate();
            }
            self.lease.renew(state.lease());
            if state.was_unsafe() {
                tracing::error!(
                    "too many members are lost for a quorum to store the view: the pool goes on with the rest"
                );
            }
            state.forget(|member| self.members.get(member).is_some());
            state.settled()
        };
        // That it is committed need not reach every member: it spares a later run a question.
        for member in settled.iter().flat_map(|_| self.members.all()) {
            let (Some(link), Some(document)) = (member.link(), settled.clone()) else {
                continue;
            };
            task::spawn(async move { link.call(Request::StoreView(document)).await });
        }
        self.announce();
        self.nodes.tell_all();
        self.propagate();
    }
}

//! The membership view and the leader's lease, kept with real members over real links.
//!
//! What is wanted of the view is entered at once and sent out; callers who may
//! go on only when it is committed wait for that. See [`infinicache_membership`] for the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use infinicache_engine::NodeLink;
use infinicache_host::{clock, fail_point, task, watch};
use infinicache_membership::{
    Epoch,
    joint_view::JointView,
    leader_lease::{LeaderLease, LeaseStatus},
    readmission::{Readmission, ReadmissionOutcome, TooManyRemoved},
};
use infinicache_wire::{
    InstanceId, MemberId, MembershipView as Document, Reply, Request, ViewId, view::ViewMember,
};
use tokio::time;
use tracing::{debug, info, warn};

use super::{Nodes, PoolEvent, member::Member};

/// How much longer a removal may take to be committed than a silent member to be lost. In a
/// pool of few members the silent ones may be needed for it, until they are.
const REMOVAL_MARGIN: Duration = Duration::from_secs(3);

/// How often a command that waits for the lease looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// Stands for a right that is not needed, or that was never given.
const NO_LEASE_NEEDED: u64 = u64::MAX;
const NEVER: u64 = 0;

/// Whose chunks count, and whether the proxy may answer.
#[derive(Debug)]
pub(crate) struct Membership {
    state: Mutex<MembershipState>,
    changed: watch::Sender<()>,
    /// Until when the proxy may answer, in milliseconds after `began`.
    valid_until: AtomicU64,
    /// When the time was last told, in milliseconds after `began`.
    beat: AtomicU64,
    /// A node follows a later run.
    fenced: AtomicBool,
    lease: Duration,
    began: Instant,
    epoch: Epoch,
    parity: usize,
}

#[derive(Debug)]
struct MembershipState {
    view: JointView<InstanceId>,
    lease: LeaderLease<InstanceId>,
    /// The names behind instances.
    names: BTreeMap<InstanceId, String>,
    /// The instances behind members, for as long as they may count.
    instances: BTreeMap<MemberId, InstanceId>,
    /// Who is being asked to store which view.
    asking: BTreeSet<(InstanceId, u64)>,
    readmission: Readmission<MemberId>,
    unsafe_changes: u64,
}

impl Membership {
    pub(super) fn new(parity: usize, lease: Duration, epoch: Epoch) -> Self {
        let state = MembershipState {
            view: JointView::new(parity),
            lease: LeaderLease::new(lease),
            names: BTreeMap::new(),
            instances: BTreeMap::new(),
            asking: BTreeSet::new(),
            readmission: Readmission::new(match fail_point("no_more_removed_than_parity") {
                true => usize::MAX,
                false => parity,
            }),
            unsafe_changes: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: watch::channel(()).0,
            valid_until: AtomicU64::new(NO_LEASE_NEEDED),
            beat: AtomicU64::new(0),
            fenced: AtomicBool::new(false),
            lease,
            // Before any answer to any ping.
            began: clock::now(),
            epoch,
            parity,
        }
    }

    /// Whether the proxy needs no lease, as it has no members that another run could have turned.
    pub(super) fn needs_no_lease(&self) -> bool {
        self.valid_until.load(Relaxed) == NO_LEASE_NEEDED
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Relaxed)
    }

    /// Whether whose chunks count does not change here any more.
    fn keeps_its_view(&self) -> bool {
        self.is_fenced() && !fail_point("fenced_keeps_its_view")
    }

    /// Whether all members were lost in silence, so that it is not known which run leads.
    pub(super) fn is_isolated(&self) -> bool {
        let state = self.state();
        state.view.members().is_empty() && state.lease.status([]) == LeaseStatus::None
    }

    /// The proxy runs, and was not paused for longer than its lease.
    pub(super) fn beat(&self) {
        self.beat.store(self.elapsed_ms(), Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from((clock::now() - self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, MembershipState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes until when the proxy may answer.
    fn renew_lease(&self, state: &MembershipState) {
        let valid_until = match state.lease.status(state.view.members()) {
            LeaseStatus::NotNeeded => NO_LEASE_NEEDED,
            LeaseStatus::None => NEVER,
            LeaseStatus::Until(until) => {
                let after = until.saturating_duration_since(self.began);
                u64::try_from(after.as_millis()).unwrap_or(NO_LEASE_NEEDED)
            }
        };
        self.valid_until.store(valid_until, Relaxed);
    }

    fn entries(&self, state: &MembershipState, members: &BTreeSet<InstanceId>) -> Vec<ViewMember> {
        let entry = |instance: &InstanceId| ViewMember {
            node: state.names.get(instance).cloned().unwrap_or_default(),
            instance: *instance,
        };
        members.iter().map(entry).collect()
    }

    fn document(
        &self,
        state: &MembershipState,
        number: u64,
        members: &BTreeSet<InstanceId>,
        old_members: &BTreeSet<InstanceId>,
    ) -> Document {
        Document {
            id: ViewId {
                epoch: self.epoch.get(),
                number,
            },
            parity: self.parity,
            members: self.entries(state, members),
            old_members: self.entries(state, old_members),
        }
    }
}

impl MembershipState {
    fn may_be_member(&self, member: MemberId) -> bool {
        let instance = self.instances.get(&member);
        let may_be_member = instance.is_some_and(|instance| self.view.may_be_member(*instance));
        // A member that is being reconciled has to hear of every change meanwhile.
        may_be_member || self.readmission.is_returning(member)
    }
}

impl Nodes {
    /// Whether the proxy may answer: it has the lease of a majority of its members.
    pub(crate) fn may_answer(&self) -> bool {
        let membership = &self.0.membership;
        if fail_point("lease") {
            return true;
        }
        let now = membership.elapsed_ms();
        match membership.valid_until.load(Relaxed) {
            // Those of the later run may have what this one does not know of.
            NO_LEASE_NEEDED if membership.is_fenced() => false,
            NO_LEASE_NEEDED if fail_point("memberless_for_a_lease_only") => true,
            NO_LEASE_NEEDED => {
                let lease = u64::try_from(membership.lease.as_millis()).unwrap_or(u64::MAX);
                now < membership.beat.load(Relaxed).saturating_add(lease)
            }
            until => now < until,
        }
    }

    /// Waits until the proxy may answer.
    pub(crate) async fn until_may_answer(&self) {
        let mut changes = self.view_changes();
        while !self.may_answer() {
            // Answers to pings are not told of.
            let _ = time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Whether the chunks of a member count.
    pub(crate) fn counts(&self, member: &Member) -> bool {
        let state = self.0.membership.state();
        state.view.contains(member.instance) || fail_point("holders_in_force")
    }

    /// Whether the chunks of a member count, or may come to.
    pub(crate) fn may_be_member(&self, member: MemberId) -> bool {
        self.0.membership.state().may_be_member(member)
    }

    /// How many members count, and how often that was forced.
    pub(crate) fn view(&self) -> (usize, u64) {
        let state = self.0.membership.state();
        let view = &state.view;
        (view.members().len(), view.unsafe_changes())
    }

    /// Told of every change of the committed view.
    pub(crate) fn view_changes(&self) -> watch::Receiver<()> {
        self.0.membership.changed.subscribe()
    }

    /// With no members this run does not answer before one has joined: who was heard of while it
    /// found out what there is may follow another by now.
    pub(crate) fn isolate(&self) {
        let membership = &self.0.membership;
        let mut state = membership.state();
        if !fail_point("no_lease_after_losing_all") {
            state.lease.isolate();
        }
        membership.renew_lease(&state);
    }

    /// Begins with the members that a run before had: those of `heard` are linked, the others gone.
    pub(crate) fn succeed(&self, last: &Document, heard: &[Arc<Member>]) {
        {
            let mut state = self.0.membership.state();
            let instances = |entries: &[ViewMember]| entries.iter().map(|it| it.instance).collect();
            let (members, old_members) = (instances(&last.members), instances(&last.old_members));
            state.view.inherit(members, old_members);
            for entry in last.members.iter().chain(&last.old_members) {
                state.names.insert(entry.instance, entry.node.clone());
                if !heard.iter().any(|it| it.instance == entry.instance) {
                    state.view.lost(entry.instance);
                }
            }
            for member in heard {
                self.enter(&mut state, member);
            }
        }
        self.advance();
    }

    /// There are no members any more: what this run went by is out of date.
    pub(super) fn reset_view(&self) {
        if fail_point("evidence_of_one_epoch") {
            return;
        }
        let mut state = self.0.membership.state();
        state.view.reset_view();
        state.instances.clear();
    }

    /// The chunks of an instance that has none shall count.
    pub(super) fn join(&self, member: &Member) {
        self.enter_alone(&mut self.0.membership.state(), member);
        self.advance();
    }

    /// The chunks of a member shall count again, if it `fits` the metadata and was not removed
    /// meanwhile.
    pub(crate) fn readmit(&self, member: &Member, fits: bool) -> ReadmissionOutcome {
        let outcome = {
            let mut state = self.0.membership.state();
            let outcome = state.readmission.concluded(member.id, fits);
            if outcome == ReadmissionOutcome::Joins {
                self.enter_alone(&mut state, member);
            }
            outcome
        };
        self.advance();
        outcome
    }

    /// A member that holds what is listed, and nothing else: what its instance held as another
    /// member is gone.
    fn enter_alone(&self, state: &mut MembershipState, member: &Member) {
        let instances = &mut state.instances;
        instances.retain(|_, instance| *instance != member.instance);
        self.enter(state, member);
    }

    fn enter(&self, state: &mut MembershipState, member: &Member) {
        let name = self.name(member.node).to_string();
        state.names.insert(member.instance, name);
        state.instances.insert(member.id, member.instance);
        state.lease.heard(member.instance, member.since);
        state.view.join(member.instance);
    }

    /// The chunks of `members` shall count no longer; whether that is committed in time.
    pub(crate) async fn remove_silent(&self, members: &[MemberId]) -> bool {
        let may_be_member = |member: &MemberId| self.may_be_member(*member);
        let members: Vec<_> = members.iter().copied().filter(may_be_member).collect();
        if members.is_empty() {
            return true;
        }
        // Who is gone has no place among those that may come back: a view without it is under way.
        let is_there = |id: &MemberId| self.member(*id).is_some();
        let there: Vec<_> = members.iter().copied().filter(is_there).collect();
        let stays = |id: &MemberId| self.member(*id).is_some_and(|it| !it.is_draining());
        let staying: Vec<_> = there.iter().copied().filter(stays).collect();
        if self.0.membership.keeps_its_view() {
            warn!("members do not answer this run, which a later one has fenced");
            return false;
        }
        {
            let mut state = self.0.membership.state();
            let readmission = &mut state.readmission;
            // Members that are about to go are soon gone: where all go at once, that is waited for.
            let removed = match readmission.remove(&there) {
                Ok(()) => there,
                Err(_) if readmission.remove(&staying).is_ok() => staying,
                Err(TooManyRemoved(too_many)) => {
                    warn!(
                        too_many,
                        "members do not answer, but cannot be done without"
                    );
                    return false;
                }
            };
            for member in &removed {
                if let Some(instance) = state.instances.get(member).copied() {
                    warn!(%member, %instance, "member removed: it does not answer");
                    self.0.metrics.membership().removed();
                    state.view.remove(instance);
                }
            }
        }
        self.advance();
        if fail_point("removal_committed") {
            return true;
        }
        let removed = self.until_gone(&members);
        let deadline = self.0.settings.timing.lost_after + REMOVAL_MARGIN;
        time::timeout(deadline, removed).await.is_ok()
    }

    /// Members that hold nothing, and are there, shall count no longer.
    pub(super) fn remove_drained(&self, members: &[MemberId]) {
        if members.is_empty() {
            return;
        }
        {
            let state = &mut *self.0.membership.state();
            for member in members {
                if let Some(instance) = state.instances.get(member) {
                    state.view.remove(*instance);
                }
            }
        }
        self.advance();
    }

    /// A node said that it follows a later run.
    ///
    /// Those that are silent may have turned to that one and be needed there, so whose chunks
    /// count does not change here any more. While a majority still answers, so does this run.
    pub(super) fn fenced(&self) {
        if !self.0.membership.fenced.swap(true, Relaxed) {
            warn!("a node follows a later run of the proxy");
        }
    }

    /// A member is gone for good.
    pub(super) fn remove_lost(&self, member: &Member) {
        {
            let mut state = self.0.membership.state();
            state.readmission.gone(member.id);
            let Some(instance) = state.instances.get(&member.id).copied() else {
                return;
            };
            if member.has_left() {
                state.view.departed(instance);
            } else {
                state.view.lost(instance);
            }
            if member.is_draining() || fail_point("no_lease_after_losing_all") {
                state.lease.forget(instance);
            } else {
                state.lease.lost(instance);
            }
        }
        self.advance();
    }

    /// Waits until none of `members` can come to count.
    pub(crate) async fn until_gone(&self, members: &[MemberId]) {
        let mut changes = self.view_changes();
        while members.iter().any(|member| self.may_be_member(*member)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until all that is wanted of the view is committed.
    pub(crate) async fn until_view_is_stable(&self) {
        let mut changes = self.view_changes();
        while !self.0.membership.state().view.is_stable() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A member answered a ping that was sent at `sent`.
    pub(super) fn answered(&self, member: &Arc<Member>, sent: Instant) {
        let returns = {
            let mut state = self.0.membership.state();
            state.lease.heard(member.instance, sent);
            self.0.membership.renew_lease(&state);
            let is_known = state.instances.contains_key(&member.id);
            // Not before it is out: what relies on that may still be acknowledged.
            let is_out = !state.view.may_be_member(member.instance);
            let is_out = is_known && (is_out || fail_point("readmitted_after_removal"));
            let may_join = is_out && !member.is_draining();
            state.readmission.answered(member.id, may_join)
        };
        if returns {
            info!(member = %member.id, "member answers again");
            self.0.events.tell(PoolEvent::Returned, member);
        }
    }

    /// A member is linked again.
    pub(crate) fn returned(&self, member: &Arc<Member>) {
        if self.0.membership.state().readmission.returned(member.id) {
            self.0.events.tell(PoolEvent::Returned, member);
        }
    }

    /// Callers may be waiting for changes of members.
    pub(super) fn view_changed(&self) {
        self.0.membership.changed.send_replace(());
    }

    /// Asks linked members that have not stored the view that is proposed.
    pub(super) fn propagate_view(&self) {
        let membership = &self.0.membership;
        if membership.keeps_its_view() {
            return;
        }
        let mut state = membership.state();
        let Some((proposal, to)) = state.view.to_send() else {
            return;
        };
        let number = proposal.number;
        let document = membership.document(&state, number, &proposal.members, state.view.members());
        for instance in to {
            let Some(member) = self.member_of(instance) else {
                continue;
            };
            let Some(link) = member.link() else { continue };
            if !state.asking.insert((instance, number)) {
                continue;
            }
            let (nodes, document) = (self.clone(), document.clone());
            task::spawn(async move {
                let reply = link.call(Request::StoreView(document)).await;
                let is_stored = matches!(reply, Reply::Done { .. });
                {
                    let mut state = nodes.0.membership.state();
                    state.asking.remove(&(instance, number));
                    if is_stored {
                        state.view.stored(instance, number);
                    }
                }
                if is_stored {
                    nodes.advance();
                } else {
                    // With the next tick it is asked again.
                    debug!(%instance, ?reply, "view not stored");
                }
            });
        }
    }

    /// Goes on with the view after something has changed.
    fn advance(&self) {
        let membership = &self.0.membership;
        if membership.keeps_its_view() {
            return;
        }
        let settled = {
            let mut state = membership.state();
            if !state.view.advance() {
                drop(state);
                return self.propagate_view();
            }
            membership.renew_lease(&state);
            let unsafe_changes = state.view.unsafe_changes();
            if unsafe_changes > std::mem::replace(&mut state.unsafe_changes, unsafe_changes) {
                tracing::error!(
                    "too many members are lost for a quorum to store the view: the pool goes on with the rest"
                );
            }
            let MembershipState {
                instances,
                view,
                names,
                ..
            } = &mut *state;
            let may_be_member = |instance: &InstanceId| view.may_be_member(*instance);
            instances.retain(|id, instance| may_be_member(instance) || self.member(*id).is_some());
            names.retain(|instance, _| {
                may_be_member(instance) || instances.values().any(|known| known == instance)
            });
            let number = state.view.number();
            match state.view.to_send() {
                None => {
                    let nobody = BTreeSet::new();
                    let members = state.view.members();
                    Some(membership.document(&state, number, members, &nobody))
                }
                Some(_) => None,
            }
        };
        // That it is committed need not reach every member: it spares a later run a question.
        for member in settled.iter().flat_map(|_| self.members()) {
            let (Some(link), Some(document)) = (member.link(), settled.clone()) else {
                continue;
            };
            task::spawn(async move { link.call(Request::StoreView(document)).await });
        }
        membership.changed.send_replace(());
        for node in self.0.nodes.all().iter() {
            node.changed.send_replace(());
        }
        self.propagate_view();
    }

    fn member_of(&self, instance: InstanceId) -> Option<Arc<Member>> {
        let members = self.0.members.iter();
        let mut found = members.filter(|member| member.instance == instance);
        found.next().map(|member| member.value().clone())
    }
}

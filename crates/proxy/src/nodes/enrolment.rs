//! The roster and the lease, kept with real members over real links.
//!
//! What is wanted of the roster is entered at once and sent out; callers who may
//! go on only when it is in force wait for that. See [`infinicache_membership`] for the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use infinicache_client::NodeLink;
use infinicache_host::{clock, fail_point, task, watch};
use infinicache_membership::{
    Epoch,
    absence::{Absence, Outcome, TooMany},
    lease::{Lease, Right},
    roster::Roster,
};
use infinicache_wire::{
    InstanceId, MemberId, Reply, Request, Roster as Document, RosterId, roster::Entry,
};
use tokio::time;
use tracing::{debug, info, warn};

use super::{Event, Nodes, member::Member};

/// How much longer an expulsion may take to be in force than a silent member to be lost. In a
/// pool of few members the silent ones may be needed for it, until they are.
const EXPULSION_MARGIN: Duration = Duration::from_secs(3);

/// How often somebody who waits for the right to answer looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// Stands for a right that is not needed, or that was never given.
const UNNEEDED: u64 = u64::MAX;
const NEVER: u64 = 0;

/// Whose chunks count, and whether the proxy may answer.
#[derive(Debug)]
pub(crate) struct Enrolment {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    /// Until when the proxy may answer, in milliseconds after `began`.
    right: AtomicU64,
    /// When the time was last told, in milliseconds after `began`.
    beat: AtomicU64,
    /// A node obeys a later run.
    superseded: AtomicBool,
    lease: Duration,
    began: Instant,
    epoch: Epoch,
    parity: usize,
}

#[derive(Debug)]
struct State {
    roster: Roster<InstanceId>,
    lease: Lease<InstanceId>,
    /// The names behind instances.
    names: BTreeMap<InstanceId, String>,
    /// The instances behind members, for as long as they may count.
    instances: BTreeMap<MemberId, InstanceId>,
    /// Who is being asked to store which roster.
    asking: BTreeSet<(InstanceId, u64)>,
    absence: Absence<MemberId>,
    forced: u64,
}

impl Enrolment {
    pub(super) fn new(parity: usize, lease: Duration, epoch: Epoch) -> Self {
        let state = State {
            roster: Roster::new(parity),
            lease: Lease::new(lease),
            names: BTreeMap::new(),
            instances: BTreeMap::new(),
            asking: BTreeSet::new(),
            absence: Absence::new(match fail_point("no_more_expelled_than_parity") {
                true => usize::MAX,
                false => parity,
            }),
            forced: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: watch::channel(()).0,
            right: AtomicU64::new(UNNEEDED),
            beat: AtomicU64::new(0),
            superseded: AtomicBool::new(false),
            lease,
            // Before any answer to any ping.
            began: clock::now(),
            epoch,
            parity,
        }
    }

    /// Whether the proxy relies on nobody having had a reason to replace it.
    pub(super) fn is_unvouched(&self) -> bool {
        self.right.load(Relaxed) == UNNEEDED
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Relaxed)
    }

    /// Whether whose chunks count does not change here any more.
    fn keeps_its_roster(&self) -> bool {
        self.is_superseded() && !fail_point("superseded_keeps_its_roster")
    }

    /// Whether all members were lost without a word, so that nobody says who is in charge.
    pub(super) fn is_bereft(&self) -> bool {
        let state = self.state();
        state.roster.members().is_empty() && state.lease.right([]) == Right::None
    }

    /// The proxy runs, and was not held up for longer than its lease.
    pub(super) fn beat(&self) {
        self.beat.store(self.elapsed_ms(), Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from((clock::now() - self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes until when the proxy may answer.
    fn renew(&self, state: &State) {
        let right = match state.lease.right(state.roster.members()) {
            Right::Unneeded => UNNEEDED,
            Right::None => NEVER,
            Right::Until(until) => {
                let after = until.saturating_duration_since(self.began);
                u64::try_from(after.as_millis()).unwrap_or(UNNEEDED)
            }
        };
        self.right.store(right, Relaxed);
    }

    fn entries(&self, state: &State, members: &BTreeSet<InstanceId>) -> Vec<Entry> {
        let entry = |instance: &InstanceId| Entry {
            node: state.names.get(instance).cloned().unwrap_or_default(),
            instance: *instance,
        };
        members.iter().map(entry).collect()
    }

    fn document(
        &self,
        state: &State,
        number: u64,
        members: &BTreeSet<InstanceId>,
        before: &BTreeSet<InstanceId>,
    ) -> Document {
        Document {
            id: RosterId {
                epoch: self.epoch.get(),
                number,
            },
            parity: self.parity,
            members: self.entries(state, members),
            before: self.entries(state, before),
        }
    }
}

impl State {
    fn may_count(&self, member: MemberId) -> bool {
        let instance = self.instances.get(&member);
        let may_count = instance.is_some_and(|instance| self.roster.may_count(*instance));
        // One that is made to fit the metadata has to hear of every change of it meanwhile.
        may_count || self.absence.is_returning(member)
    }
}

impl Nodes {
    /// Whether the proxy may answer: it has the lease of a majority of its members.
    pub(crate) fn may_answer(&self) -> bool {
        let enrolment = &self.0.enrolment;
        if fail_point("lease") {
            return true;
        }
        let now = enrolment.elapsed_ms();
        match enrolment.right.load(Relaxed) {
            // Those of the later run may have what this one does not know of.
            UNNEEDED if enrolment.is_superseded() => false,
            UNNEEDED if fail_point("unvouched_for_a_lease_only") => true,
            UNNEEDED => {
                let lease = u64::try_from(enrolment.lease.as_millis()).unwrap_or(u64::MAX);
                now < enrolment.beat.load(Relaxed).saturating_add(lease)
            }
            until => now < until,
        }
    }

    /// Waits until the proxy may answer.
    pub(crate) async fn until_may_answer(&self) {
        let mut changes = self.roster_changes();
        while !self.may_answer() {
            // Answers to pings are not told of.
            let _ = time::timeout(LOOK, changes.changed()).await;
        }
    }

    /// Whether the chunks of a member count.
    pub(crate) fn counts(&self, member: &Member) -> bool {
        let state = self.0.enrolment.state();
        state.roster.contains(member.instance) || fail_point("holders_in_force")
    }

    /// Whether the chunks of a member count, or may come to.
    pub(crate) fn may_count(&self, member: MemberId) -> bool {
        self.0.enrolment.state().may_count(member)
    }

    /// How many members count, and how often that was forced.
    pub(crate) fn roster(&self) -> (usize, u64) {
        let state = self.0.enrolment.state();
        let roster = &state.roster;
        (roster.members().len(), roster.forced())
    }

    /// Told of every change of the roster in force.
    pub(crate) fn roster_changes(&self) -> watch::Receiver<()> {
        self.0.enrolment.changed.subscribe()
    }

    /// With no members this run does not answer before one has joined: who was heard of while it
    /// found out what there is may obey another by now.
    pub(crate) fn bereave(&self) {
        let enrolment = &self.0.enrolment;
        let mut state = enrolment.state();
        if !fail_point("bereft") {
            state.lease.bereave();
        }
        enrolment.renew(&state);
    }

    /// Begins with the members that a run before had: those of `heard` are linked, the others gone.
    pub(crate) fn succeed(&self, last: &Document, heard: &[Arc<Member>]) {
        {
            let mut state = self.0.enrolment.state();
            let instances = |entries: &[Entry]| entries.iter().map(|it| it.instance).collect();
            let (members, before) = (instances(&last.members), instances(&last.before));
            state.roster.succeed(members, before);
            for entry in last.members.iter().chain(&last.before) {
                state.names.insert(entry.instance, entry.node.clone());
                if !heard.iter().any(|it| it.instance == entry.instance) {
                    state.roster.lost(entry.instance);
                }
            }
            for member in heard {
                self.enter(&mut state, member);
            }
        }
        self.advance();
    }

    /// Nobody's chunks count any more: what this run went by is out of date.
    pub(super) fn disown(&self) {
        if fail_point("evidence_of_one_epoch") {
            return;
        }
        let mut state = self.0.enrolment.state();
        state.roster.disown();
        state.instances.clear();
    }

    /// The chunks of an instance that has none shall count.
    pub(super) fn enrol(&self, member: &Member) {
        self.enter_alone(&mut self.0.enrolment.state(), member);
        self.advance();
    }

    /// The chunks of a member shall count again, if it `fits` the metadata and was not expelled
    /// meanwhile.
    pub(crate) fn enrol_again(&self, member: &Member, fits: bool) -> Outcome {
        let outcome = {
            let mut state = self.0.enrolment.state();
            let outcome = state.absence.concluded(member.id, fits);
            if outcome == Outcome::Joins {
                self.enter_alone(&mut state, member);
            }
            outcome
        };
        self.advance();
        outcome
    }

    /// A member that holds what is listed, and nothing else: what its instance held as another
    /// member is gone.
    fn enter_alone(&self, state: &mut State, member: &Member) {
        let instances = &mut state.instances;
        instances.retain(|_, instance| *instance != member.instance);
        self.enter(state, member);
    }

    fn enter(&self, state: &mut State, member: &Member) {
        let name = self.name(member.node).to_string();
        state.names.insert(member.instance, name);
        state.instances.insert(member.id, member.instance);
        state.lease.heard(member.instance, member.since);
        state.roster.join(member.instance);
    }

    /// The chunks of `members` shall count no longer; whether that is in force in time.
    pub(crate) async fn expel(&self, members: &[MemberId]) -> bool {
        let may_count = |member: &MemberId| self.may_count(*member);
        let members: Vec<_> = members.iter().copied().filter(may_count).collect();
        if members.is_empty() {
            return true;
        }
        // Who is gone has no place among those that may come back: a roster without it is under way.
        let is_there = |id: &MemberId| self.member(*id).is_some();
        let there: Vec<_> = members.iter().copied().filter(is_there).collect();
        let stays = |id: &MemberId| self.member(*id).is_some_and(|it| !it.is_draining());
        let staying: Vec<_> = there.iter().copied().filter(stays).collect();
        if self.0.enrolment.keeps_its_roster() {
            warn!("members do not answer this run, which a later one has superseded");
            return false;
        }
        {
            let mut state = self.0.enrolment.state();
            let absence = &mut state.absence;
            // Members that are about to go are soon gone: where all go at once, that is waited for.
            let expelled = match absence.expel(&there) {
                Ok(()) => there,
                Err(_) if absence.expel(&staying).is_ok() => staying,
                Err(TooMany(too_many)) => {
                    warn!(
                        too_many,
                        "members do not answer, but cannot be done without"
                    );
                    return false;
                }
            };
            for member in &expelled {
                if let Some(instance) = state.instances.get(member).copied() {
                    warn!(%member, %instance, "member expelled: it does not answer");
                    self.0.metrics.membership().expelled();
                    state.roster.expel(instance);
                }
            }
        }
        self.advance();
        if fail_point("expulsion_in_force") {
            return true;
        }
        let expelled = self.until_gone(&members);
        let deadline = self.0.settings.timing.lost_after + EXPULSION_MARGIN;
        time::timeout(deadline, expelled).await.is_ok()
    }

    /// Members that hold nothing, and are there, shall count no longer.
    pub(super) fn dismiss(&self, members: &[MemberId]) {
        if members.is_empty() {
            return;
        }
        {
            let state = &mut *self.0.enrolment.state();
            for member in members {
                if let Some(instance) = state.instances.get(member) {
                    state.roster.expel(*instance);
                }
            }
        }
        self.advance();
    }

    /// A node said that it obeys a later run.
    ///
    /// Those that are silent may have turned to that one and be needed there, so whose chunks
    /// count does not change here any more. While a majority still answers, so does this run.
    pub(super) fn superseded(&self) {
        if !self.0.enrolment.superseded.swap(true, Relaxed) {
            warn!("a node obeys a later run of the proxy");
        }
    }

    /// A member is gone for good.
    pub(super) fn strike(&self, member: &Member) {
        {
            let mut state = self.0.enrolment.state();
            state.absence.gone(member.id);
            let Some(instance) = state.instances.get(&member.id).copied() else {
                return;
            };
            if member.has_left() {
                state.roster.left(instance);
            } else {
                state.roster.lost(instance);
            }
            if member.is_draining() || fail_point("bereft") {
                state.lease.forget(instance);
            } else {
                state.lease.lost(instance);
            }
        }
        self.advance();
    }

    /// Waits until none of `members` can come to count.
    pub(crate) async fn until_gone(&self, members: &[MemberId]) {
        let mut changes = self.roster_changes();
        while members.iter().any(|member| self.may_count(*member)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until all that is wanted of the roster is in force.
    pub(crate) async fn until_settled(&self) {
        let mut changes = self.roster_changes();
        while !self.0.enrolment.state().roster.is_settled() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A member answered a ping that was sent at `sent`.
    pub(super) fn answered(&self, member: &Arc<Member>, sent: Instant) {
        let returns = {
            let mut state = self.0.enrolment.state();
            state.lease.heard(member.instance, sent);
            self.0.enrolment.renew(&state);
            let is_known = state.instances.contains_key(&member.id);
            // Not before it is out: what relies on that may still be acknowledged.
            let is_out = !state.roster.may_count(member.instance);
            let is_out = is_known && (is_out || fail_point("return_after_expulsion"));
            let may_join = is_out && !member.is_draining();
            state.absence.answered(member.id, may_join)
        };
        if returns {
            info!(member = %member.id, "member answers again");
            self.tell(Event::Returned(member.clone()));
        }
    }

    /// A member is linked again.
    pub(crate) fn returned(&self, member: &Arc<Member>) {
        if self.0.enrolment.state().absence.returned(member.id) {
            self.tell(Event::Returned(member.clone()));
        }
    }

    /// Somebody may be waiting to hear what there is to hear of members.
    pub(super) fn roster_changed(&self) {
        self.0.enrolment.changed.send_replace(());
    }

    /// Asks whoever has not stored the roster that is proposed, and is linked.
    pub(super) fn canvass(&self) {
        let enrolment = &self.0.enrolment;
        if enrolment.keeps_its_roster() {
            return;
        }
        let mut state = enrolment.state();
        let Some((proposal, to)) = state.roster.to_send() else {
            return;
        };
        let number = proposal.number;
        let document =
            enrolment.document(&state, number, &proposal.members, state.roster.members());
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
                let reply = link.call(Request::Roster(document)).await;
                let is_stored = matches!(reply, Reply::Done { .. });
                {
                    let mut state = nodes.0.enrolment.state();
                    state.asking.remove(&(instance, number));
                    if is_stored {
                        state.roster.stored(instance, number);
                    }
                }
                if is_stored {
                    nodes.advance();
                } else {
                    // With the next tick it is asked again.
                    debug!(%instance, ?reply, "roster not stored");
                }
            });
        }
    }

    /// Goes on with the roster after something has changed.
    fn advance(&self) {
        let enrolment = &self.0.enrolment;
        if enrolment.keeps_its_roster() {
            return;
        }
        let settled = {
            let mut state = enrolment.state();
            if !state.roster.advance() {
                drop(state);
                return self.canvass();
            }
            enrolment.renew(&state);
            let forced = state.roster.forced();
            if forced > std::mem::replace(&mut state.forced, forced) {
                tracing::error!(
                    "too many members are lost for a quorum to store the roster: the pool goes on with the rest"
                );
            }
            let State {
                instances,
                roster,
                names,
                ..
            } = &mut *state;
            let may_count = |instance: &InstanceId| roster.may_count(*instance);
            instances.retain(|id, instance| may_count(instance) || self.member(*id).is_some());
            names.retain(|instance, _| {
                may_count(instance) || instances.values().any(|known| known == instance)
            });
            let number = state.roster.number();
            match state.roster.to_send() {
                None => {
                    let nobody = BTreeSet::new();
                    let members = state.roster.members();
                    Some(enrolment.document(&state, number, members, &nobody))
                }
                Some(_) => None,
            }
        };
        // That it is in force need not reach everybody: it spares a later run a question.
        for member in settled.iter().flat_map(|_| self.members()) {
            let (Some(link), Some(document)) = (member.link(), settled.clone()) else {
                continue;
            };
            task::spawn(async move { link.call(Request::Roster(document)).await });
        }
        enrolment.changed.send_replace(());
        for node in self.0.nodes.all().iter() {
            node.changed.send_replace(());
        }
        self.canvass();
    }

    fn member_of(&self, instance: InstanceId) -> Option<Arc<Member>> {
        let members = self.0.members.iter();
        let mut found = members.filter(|member| member.instance == instance);
        found.next().map(|member| member.value().clone())
    }
}

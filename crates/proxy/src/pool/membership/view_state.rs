//! What is known and wanted of the membership view, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use infinicache_host::fail_point;
use infinicache_membership::{
    Epoch,
    joint_view::JointView,
    leader_lease::{LeaderLease, LeaseStatus},
    readmission::{Readmission, ReadmissionOutcome, TooManyRemoved},
};
use infinicache_wire::{InstanceId, MemberId, MembershipView, ViewId, view::ViewMember};

use crate::pool::member::Member;

/// The view by instances, and which members these are.
#[derive(Debug)]
pub(super) struct ViewState {
    pub(super) view: JointView<InstanceId>,
    pub(super) readmission: Readmission<MemberId>,
    lease: LeaderLease<InstanceId>,
    /// The names behind instances.
    names: BTreeMap<InstanceId, String>,
    /// The instances behind members, for as long as they may count.
    instances: BTreeMap<MemberId, InstanceId>,
    /// Who is being asked to store which view.
    asking: BTreeSet<(InstanceId, u64)>,
    unsafe_changes: u64,
    epoch: Epoch,
    parity: usize,
}

impl ViewState {
    pub(super) fn new(parity: usize, lease: Duration, epoch: Epoch) -> Self {
        let most_removed = if fail_point("no_more_removed_than_parity") {
            usize::MAX
        } else {
            parity
        };
        Self {
            view: JointView::new(parity),
            readmission: Readmission::new(most_removed),
            lease: LeaderLease::new(lease),
            names: BTreeMap::new(),
            instances: BTreeMap::new(),
            asking: BTreeSet::new(),
            unsafe_changes: 0,
            epoch,
            parity,
        }
    }

    /// Whether the chunks of a member count, or may come to.
    pub(super) fn may_be_member(&self, member: MemberId) -> bool {
        let instance = self.instances.get(&member);
        let may_be_member = instance.is_some_and(|instance| self.view.may_be_member(*instance));
        // A member that is being reconciled has to hear of every change meanwhile.
        may_be_member || self.readmission.is_returning(member)
    }

    /// Until when the members let the proxy answer.
    pub(super) fn lease(&self) -> LeaseStatus {
        self.lease.status(self.view.members())
    }

    /// Whether all members were lost in silence, so that it is not known which run leads.
    pub(super) fn is_isolated(&self) -> bool {
        self.view.members().is_empty() && self.lease.status([]) == LeaseStatus::None
    }

    /// Without members nothing is known of who leads.
    pub(super) fn isolate(&mut self) {
        if !fail_point("no_lease_after_losing_all") {
            self.lease.isolate();
        }
    }

    /// Begins with the members of the run before, of whom only some are there.
    pub(super) fn inherit(&mut self, last: &MembershipView, is_there: impl Fn(InstanceId) -> bool) {
        let instances = |entries: &[ViewMember]| entries.iter().map(|it| it.instance).collect();
        let (members, old_members) = (instances(&last.members), instances(&last.old_members));
        self.view.inherit(members, old_members);
        for entry in last.members.iter().chain(&last.old_members) {
            self.names.insert(entry.instance, entry.node.clone());
            if !is_there(entry.instance) {
                self.view.lost(entry.instance);
            }
        }
    }

    /// There are no members any more.
    pub(super) fn reset(&mut self) {
        self.view.reset_view();
        self.instances.clear();
    }

    /// The chunks of a member shall count.
    pub(super) fn enter(&mut self, member: &Member, name: &str) {
        self.names.insert(member.instance, name.to_owned());
        self.instances.insert(member.id, member.instance);
        self.lease.heard(member.instance, member.since);
        self.view.join(member.instance);
    }

    /// The same of one that holds what is listed, and nothing else: what its instance held as
    /// another member is gone.
    pub(super) fn enter_alone(&mut self, member: &Member, name: &str) {
        self.instances
            .retain(|_, instance| *instance != member.instance);
        self.enter(member, name);
    }

    /// A member was reconciled, or could not be; it counts again if it fits the metadata.
    pub(super) fn readmit(
        &mut self,
        member: &Member,
        name: &str,
        fits: bool,
    ) -> ReadmissionOutcome {
        let outcome = self.readmission.concluded(member.id, fits);
        if outcome == ReadmissionOutcome::Joins {
            self.enter_alone(member, name);
        }
        outcome
    }

    /// Members that are `there` and do not answer shall count no longer; if that are too many, only
    /// those that are `staying`. Who is removed, with their instances.
    pub(super) fn remove_silent(
        &mut self,
        there: &[MemberId],
        staying: &[MemberId],
    ) -> Result<Vec<(MemberId, InstanceId)>, TooManyRemoved> {
        let removed = match self.readmission.remove(there) {
            Ok(()) => there,
            Err(_) if self.readmission.remove(staying).is_ok() => staying,
            Err(too_many) => return Err(too_many),
        };
        let instance = |member: &MemberId| Some((*member, *self.instances.get(member)?));
        let removed: Vec<_> = removed.iter().filter_map(instance).collect();
        for (_, instance) in &removed {
            self.view.remove(*instance);
        }
        Ok(removed)
    }

    /// Members shall count no longer.
    pub(super) fn remove(&mut self, members: &[MemberId]) {
        for member in members {
            if let Some(instance) = self.instances.get(member) {
                self.view.remove(*instance);
            }
        }
    }

    /// A member is gone for good; whether it was ever entered.
    pub(super) fn remove_lost(&mut self, member: &Member) -> bool {
        self.readmission.gone(member.id);
        let Some(instance) = self.instances.get(&member.id).copied() else {
            return false;
        };
        if member.has_left() {
            self.view.departed(instance);
        } else {
            self.view.lost(instance);
        }
        if member.is_draining() || fail_point("no_lease_after_losing_all") {
            self.lease.forget(instance);
        } else {
            self.lease.lost(instance);
        }
        true
    }

    /// A member answered a ping that was sent at `sent`; whether it is to be reconciled.
    pub(super) fn answered(&mut self, member: &Member, sent: Instant) -> bool {
        self.lease.heard(member.instance, sent);
        let is_known = self.instances.contains_key(&member.id);
        // Not before it is out: what relies on that may still be acknowledged.
        let is_out = !self.view.may_be_member(member.instance);
        let is_out = is_known && (is_out || fail_point("readmitted_after_removal"));
        let may_join = is_out && !member.is_draining();
        self.readmission.answered(member.id, may_join)
    }

    /// The view that is proposed, and those who have yet to be asked to store it.
    pub(super) fn proposal(&self) -> Option<(u64, MembershipView, Vec<InstanceId>)> {
        let (proposal, to) = self.view.to_send()?;
        let number = proposal.number;
        let document = self.document(number, &proposal.members, self.view.members());
        Some((number, document, to))
    }

    /// Whether an instance is to be asked to store a view: it is not being asked already.
    pub(super) fn begin_to_ask(&mut self, instance: InstanceId, number: u64) -> bool {
        self.asking.insert((instance, number))
    }

    /// An instance has stored a view, or has not.
    pub(super) fn asked(&mut self, instance: InstanceId, number: u64, is_stored: bool) {
        self.asking.remove(&(instance, number));
        if is_stored {
            self.view.stored(instance, number);
        }
    }

    /// Whether changes were committed since that fewer than a quorum have stored.
    pub(super) fn was_unsafe(&mut self) -> bool {
        let unsafe_changes = self.view.unsafe_changes();
        unsafe_changes > std::mem::replace(&mut self.unsafe_changes, unsafe_changes)
    }

    /// Forgets who cannot count any more, and is not `there`.
    pub(super) fn forget(&mut self, is_there: impl Fn(MemberId) -> bool) {
        let Self {
            view,
            names,
            instances,
            ..
        } = self;
        let may_be_member = |instance: &InstanceId| view.may_be_member(*instance);
        instances.retain(|id, instance| may_be_member(instance) || is_there(*id));
        names.retain(|instance, _| {
            may_be_member(instance) || instances.values().any(|known| known == instance)
        });
    }

    /// The committed view, if no other is wanted.
    pub(super) fn settled(&self) -> Option<MembershipView> {
        let is_settled = self.view.to_send().is_none();
        let members = self.view.members();
        is_settled.then(|| self.document(self.view.number(), members, &BTreeSet::new()))
    }

    fn document(
        &self,
        number: u64,
        members: &BTreeSet<InstanceId>,
        old_members: &BTreeSet<InstanceId>,
    ) -> MembershipView {
        let entry = |instance: &InstanceId| ViewMember {
            node: self.names.get(instance).cloned().unwrap_or_default(),
            instance: *instance,
        };
        MembershipView {
            id: ViewId {
                epoch: self.epoch.get(),
                number,
            },
            parity: self.parity,
            members: members.iter().map(entry).collect(),
            old_members: old_members.iter().map(entry).collect(),
        }
    }
}

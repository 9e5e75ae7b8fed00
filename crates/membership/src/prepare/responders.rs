//! The instances that were heard, and what they promised to runs before.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use infinicache_wire::{InstanceId, MembershipView, view::ViewMember};

use crate::quorum::write_quorum;

/// One of them.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) node: String,
    /// The pod that it runs in, or the empty string.
    pub(super) pod: String,
    pub(super) view: Option<MembershipView>,
    /// When the lease that it gave ends.
    pub(super) lease_ends: Option<Instant>,
    pub(super) heard: Instant,
}

/// Those that follow this run.
#[derive(Debug, Default)]
pub(super) struct Responders(BTreeMap<InstanceId, Responder>);

impl Responders {
    /// One was heard. What happened before this run does not change any more.
    pub(super) fn insert(&mut self, instance: InstanceId, responder: Responder) {
        self.0.entry(instance).or_insert(responder);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Responder> {
        self.0.values()
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.0.keys().copied()
    }

    /// Whether an instance was heard.
    pub(super) fn contains(&self, instance: InstanceId) -> bool {
        self.0.contains_key(&instance)
    }

    /// How many of `members` were heard.
    pub(super) fn count(&self, members: &[ViewMember]) -> usize {
        let heard = members.iter().filter(|it| self.contains(it.instance));
        heard.count()
    }

    /// The names of which an instance was heard.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.values().map(|it| &*it.node).collect()
    }

    /// The other instances of a member's name that were heard.
    pub(super) fn successors(&self, member: &ViewMember) -> impl Iterator<Item = &Responder> {
        let others = self.0.iter().filter(|it| *it.0 != member.instance);
        others.map(|(_, it)| it).filter(|it| it.node == member.node)
    }

    /// When the last of the leases ends that members of a view gave.
    pub(super) fn leases_end(&self, view: &MembershipView) -> Option<Instant> {
        let members = view.members.iter().chain(&view.old_members);
        let responders = members.filter_map(|it| self.0.get(&it.instance));
        responders.filter_map(|it| it.lease_ends).max()
    }

    /// The latest view that was reported; if it was only proposed, and so many do not know of it
    /// that it has not been committed, the one before it.
    ///
    /// A run that is being replaced may take those who turn away from it for silent, and propose
    /// to do without them.
    pub(super) fn view(&self) -> Option<MembershipView> {
        let views = self.0.values().filter_map(|it| it.view.as_ref());
        let latest = views.reduce(|latest, it| if it.supersedes(latest) { it } else { latest })?;
        if latest.old_members.is_empty() || self.may_be_in_force(latest) {
            return Some(latest.clone());
        }
        Some(MembershipView {
            members: latest.old_members.clone(),
            old_members: Vec::new(),
            ..*latest
        })
    }

    /// Whether a quorum of those before a proposal, and one of its members, may have stored it: a
    /// member that was heard and reports another never will.
    fn may_be_in_force(&self, proposal: &MembershipView) -> bool {
        let may_have_stored = |it: &&ViewMember| {
            let responder = self.0.get(&it.instance);
            let told = responder.map(|it| it.view.as_ref().map(|it| it.id));
            told.is_none_or(|id| id == Some(proposal.id))
        };
        [&proposal.members, &proposal.old_members]
            .iter()
            .all(|members| {
                let stored = members.iter().filter(may_have_stored).count();
                stored >= write_quorum(members.len(), proposal.parity)
            })
    }
}

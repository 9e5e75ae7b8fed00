//! The prepare phase of this run, while it goes on, and the epoch that it goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use infinicache_host::clock;
use infinicache_membership::{
    Epoch,
    prepare::{Pods, Prepare},
};
use infinicache_wire::view::PromiseInfo;
use tracing::warn;

use super::{lease::AnswerLease, member::Member, members::Members, membership::Membership};

/// What was heard of the run before, by one that does not serve yet.
#[derive(Debug)]
pub(crate) struct PreparePhase {
    current: Mutex<Option<Prepare>>,
    epoch: Epoch,
    lease: Arc<AnswerLease>,
    members: Arc<Members>,
    membership: Arc<Membership>,
}

impl PreparePhase {
    /// None goes on.
    pub(super) fn new(
        epoch: Epoch,
        lease: &Arc<AnswerLease>,
        members: &Arc<Members>,
        membership: &Arc<Membership>,
    ) -> Self {
        Self {
            current: Mutex::new(None),
            epoch,
            lease: lease.clone(),
            members: members.clone(),
            membership: membership.clone(),
        }
    }

    /// Begins to listen to what instances tell of the run before; none of them counts while the
    /// prepare phase goes on.
    pub(crate) fn begin(&self, prepare: Prepare) {
        *self.current() = Some(prepare);
    }

    /// The prepare phase that was begun, while it goes on.
    pub(crate) fn current(&self) -> MutexGuard<'_, Option<Prepare>> {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is not known yet what there is.
    pub(crate) fn is_recovering(&self) -> bool {
        self.current().is_some()
    }

    /// Has every instance dial and tell anew.
    pub(crate) fn restart(&self) {
        if let Some(prepare) = self.current().as_mut() {
            prepare.restart(clock::now());
        }
        self.members.all().iter().for_each(|member| member.cut());
    }

    /// Nothing of what was heard is put in question any more; whether that is so, because this
    /// run goes by `epoch` still.
    pub(crate) fn close(&self, epoch: u64) -> bool {
        let mut current = self.current();
        let is_current = self.epoch.get() == epoch;
        if is_current && let Some(prepare) = current.as_mut() {
            prepare.close();
        }
        is_current
    }

    /// The pool has so many nodes, as is known now, and these pods.
    pub(super) fn set_expected(&self, names: usize, pods: Pods) {
        if let Some(prepare) = self.current().as_mut() {
            prepare.set_expected(names, pods);
        }
    }

    /// Whether a name is known to have no pod: no instance of it could be heard.
    pub(super) fn is_absent(&self, node: &str) -> bool {
        let current = self.current();
        let prepare = current.as_ref();
        prepare.is_some_and(|prepare| prepare.is_absent(node))
    }

    /// A member that follows `epoch` told what it promised; whether that is too late.
    pub(super) fn heard(
        &self,
        node: &str,
        member: &Member,
        promise: PromiseInfo,
        epoch: u64,
    ) -> bool {
        let mut current = self.current();
        // Under an epoch that was too low it may have followed another run since.
        if let Some(prepare) = current.as_mut()
            && self.epoch.get() == epoch
        {
            let (pod, now) = (&member.pod, clock::now());
            prepare.heard(node, pod, member.instance, promise, now);
        }
        current.is_none()
    }

    /// A node said that it hears from another run, of epoch `leader`, which leads.
    pub(super) fn other_leader(&self, leader: u64) {
        let is_deciding = {
            let mut current = self.current();
            let prepare = current.as_mut().filter(|prepare| !prepare.is_closed());
            prepare
                .map(|prepare| prepare.other_leader(clock::now()))
                .is_some()
        };
        if is_deciding {
            self.membership.announce();
        } else if leader > self.epoch.get() {
            self.lease.fence();
        }
    }

    /// This run is to be later than one that was heard of, if it has decided nothing yet;
    /// whether it is. Any other has been fenced by that.
    pub(super) fn raise_epoch(&self, heard: u64) -> bool {
        let is_raised = {
            let current = self.current();
            if current.as_ref().is_none_or(Prepare::is_closed) {
                drop(current);
                self.lease.fence();
                return false;
            }
            let is_raised = self.epoch.raise_above(heard);
            if is_raised {
                self.membership.reset_view();
            }
            is_raised
        };
        if is_raised {
            warn!(
                epoch = self.epoch.get(),
                "epoch raised above one that was heard of"
            );
            // An instance that follows an epoch which is not the highest dials again, and learns
            // the new one.
            self.restart();
        }
        true
    }
}

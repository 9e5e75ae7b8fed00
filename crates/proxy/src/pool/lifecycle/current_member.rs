//! The member behind a name, as its lifecycle sees it.

use std::time::Instant;

use infinicache_wire::{InstanceId, MemberId};

/// Who it is, and what it last gave to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CurrentMember {
    pub(crate) id: MemberId,
    pub(crate) instance: InstanceId,
    /// When something last came from it.
    pub(crate) heard: Instant,
    /// Its session is over.
    pub(crate) resting: bool,
    pub(super) pinged: Instant,
    pub(super) linked: bool,
    pub(super) draining: bool,
    /// It said so itself, and ends once its link does.
    pub(super) said_bye: bool,
    /// When the preflight was sent that is under way.
    pub(super) preflight: Option<Instant>,
}

impl CurrentMember {
    /// One that has just been linked.
    pub(super) fn linked(id: MemberId, instance: InstanceId, now: Instant) -> Self {
        Self {
            id,
            instance,
            heard: now,
            resting: false,
            pinged: now,
            linked: true,
            draining: false,
            said_bye: false,
            preflight: None,
        }
    }

    /// Whether chunks may be placed on it.
    pub(crate) fn takes_chunks(&self) -> bool {
        self.linked && !self.draining
    }

    /// Whether it is known to be about to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Something came from it, then; an answer to a preflight is as good as any other.
    pub(crate) fn heard_of(&mut self, then: Instant) {
        self.heard = self.heard.max(then);
        self.preflight = self.preflight.filter(|sent| *sent >= then);
    }

    /// The preflight that was sent at `sent` was not answered in time; whether nothing else came
    /// either.
    pub(crate) fn unanswered(&mut self, sent: Instant) -> bool {
        self.preflight.take_if(|it| *it == sent).is_some()
    }

    /// It is about to go, as its platform says: its process may know nothing of it, and dial again
    /// if its link breaks.
    pub(crate) fn start_draining(&mut self) {
        self.draining = true;
    }

    /// It said itself that it is about to go.
    pub(crate) fn says_bye(&mut self) {
        self.draining = true;
        self.said_bye = true;
    }
}

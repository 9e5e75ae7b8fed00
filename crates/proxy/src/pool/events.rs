//! What happens to members, for the rest of the proxy.
//!
//! An event says that something is so, and whoever takes it looks at how it is by then. So one
//! that waits already is not told again: at most one of each kind waits for each member.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use infinicache_wire::MemberId;
use tokio::sync::Notify;

use super::member::Member;

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PoolEvent {
    /// It is gone, with all that it held.
    Lost,
    /// It is silent.
    Suspected,
    /// It is about to go.
    Draining,
    /// It is there again, and may have missed something.
    Returned,
}

/// Events that were told and not taken.
#[derive(Debug, Default)]
pub(crate) struct PoolEvents {
    waiting: Mutex<WaitingEvents>,
    told: Notify,
}

#[derive(Debug, Default)]
struct WaitingEvents {
    order: VecDeque<(PoolEvent, Arc<Member>)>,
    known: BTreeSet<(MemberId, PoolEvent)>,
}

impl PoolEvents {
    /// Something happens to a member, unless that is known and not taken yet.
    pub(super) fn tell(&self, event: PoolEvent, member: &Arc<Member>) {
        {
            let mut waiting = self.waiting();
            if !waiting.known.insert((member.id, event)) {
                return;
            }
            waiting.order.push_back((event, member.clone()));
        }
        self.told.notify_one();
    }

    /// Waits for the event that was told first, and takes it. For one who follows.
    pub(crate) async fn next(&self) -> (PoolEvent, Arc<Member>) {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.told.notified().await;
        }
    }

    pub(super) fn take(&self) -> Option<(PoolEvent, Arc<Member>)> {
        let mut waiting = self.waiting();
        let (event, member) = waiting.order.pop_front()?;
        waiting.known.remove(&(member.id, event));
        Some((event, member))
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingEvents> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_of_a_member_waits_once_and_is_told_again_once_it_was_taken() {
        let events = PoolEvents::default();
        let [one, other] = [1, 2].map(|id| Arc::new(Member::of(MemberId(id))));
        for _ in 0..1000 {
            events.tell(PoolEvent::Suspected, &one);
            events.tell(PoolEvent::Lost, &one);
            events.tell(PoolEvent::Lost, &other);
        }
        let taken = || events.take().map(|(event, member)| (event, member.id.0));
        assert_eq!(taken(), Some((PoolEvent::Suspected, 1)));
        events.tell(PoolEvent::Suspected, &one);
        assert_eq!(taken(), Some((PoolEvent::Lost, 1)));
        assert_eq!(taken(), Some((PoolEvent::Lost, 2)));
        assert_eq!(taken(), Some((PoolEvent::Suspected, 1)));
        assert_eq!(taken(), None);
    }

    #[tokio::test]
    async fn who_waits_for_an_event_gets_it() {
        let events = PoolEvents::default();
        let member = Arc::new(Member::of(MemberId(1)));
        let mut next = std::pin::pin!(events.next());
        assert!(futures_util::poll!(&mut next).is_pending());
        events.tell(PoolEvent::Returned, &member);
        assert_eq!(next.await.0, PoolEvent::Returned);
    }
}

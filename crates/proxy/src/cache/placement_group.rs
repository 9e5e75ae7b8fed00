//! Small values that come one after another go to the same members, for a while.
//!
//! Finding members looks at every node, which is much for a value of a kilobyte; and what goes to
//! few members at a time goes out in few writes. So members are kept for some values, and then
//! others take their turn. Over many values that is as even as if each had been placed alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use infinicache_erasure::Code;

use crate::pool::member::Member;

/// Values that go to the same members.
const VALUES_PER_GROUP: u32 = 256;

/// For how long they do: members are made sure of when they are placed on.
const GROUP_LIFETIME: Duration = Duration::from_millis(200);

/// The members whose turn it is.
#[derive(Debug, Default)]
pub(super) struct PlacementGroups(Mutex<Option<PlacementGroup>>);

#[derive(Debug)]
struct PlacementGroup {
    code: Code,
    members: Arc<[Arc<Member>]>,
    /// Whether all of them had room for more when their turn began.
    roomy: bool,
    left: u32,
    until: Instant,
}

impl PlacementGroups {
    /// Whose turn it is, if it is not over and `is_sound` says so of each.
    pub(super) fn current(
        &self,
        now: Instant,
        is_sound: impl Fn(&Member) -> bool,
        has_room: impl Fn(&Member) -> bool,
    ) -> Option<(Code, Arc<[Arc<Member>]>)> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let group = current.as_mut()?;
        group.left = group.left.checked_sub(1)?;
        // Where there was none, room is made all along.
        let is_sound = |it: &Arc<Member>| is_sound(it) && (!group.roomy || has_room(it));
        if now >= group.until || !group.members.iter().all(is_sound) {
            *current = None;
            return None;
        }
        Some((group.code, group.members.clone()))
    }

    pub(super) fn begin(
        &self,
        code: Code,
        members: Arc<[Arc<Member>]>,
        has_room: impl Fn(&Member) -> bool,
        now: Instant,
    ) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(PlacementGroup {
            code,
            roomy: members.iter().all(|it| has_room(it)),
            members,
            left: VALUES_PER_GROUP - 1,
            until: now + GROUP_LIFETIME,
        });
    }
}

#[cfg(test)]
mod tests {
    use infinicache_host::clock;

    use super::*;

    fn code() -> Code {
        Code::new(1, 2).unwrap()
    }

    #[test]
    fn a_group_serves_its_turn_and_no_longer() {
        let (placement_groups, now) = (PlacementGroups::default(), clock::now());
        assert!(placement_groups.current(now, |_| true, |_| true).is_none());
        placement_groups.begin(code(), Arc::new([]), |_| true, now);
        for _ in 1..VALUES_PER_GROUP {
            assert!(placement_groups.current(now, |_| true, |_| true).is_some());
        }
        assert!(placement_groups.current(now, |_| true, |_| true).is_none());
    }

    #[test]
    fn a_group_serves_its_term_and_no_longer() {
        let (placement_groups, now) = (PlacementGroups::default(), clock::now());
        placement_groups.begin(code(), Arc::new([]), |_| true, now);
        assert!(
            placement_groups
                .current(now + GROUP_LIFETIME / 2, |_| true, |_| true)
                .is_some()
        );
        assert!(
            placement_groups
                .current(now + GROUP_LIFETIME, |_| true, |_| true)
                .is_none()
        );
        assert!(placement_groups.current(now, |_| true, |_| true).is_none());
    }
}

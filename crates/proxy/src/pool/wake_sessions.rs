//! The sessions of the last wakes of a node, and which instance has dialled with them.
//!
//! A session lets in one process. A wake that keeps a session may reach another
//! than the one it is for, which dials with it as well, and the one that it
//! replaced dials again with it when it is let go: the second one is woken for a
//! session of its own.
//!
//! A wake that no instance has come of may still be on its way: a platform that
//! starts a process late hands it all wakes at once, in any order. So a session
//! stays the same until an instance has come with it.

use infinicache_wire::InstanceId;

/// Of the last wake, and of the one before it.
#[derive(Debug, Default)]
pub(crate) struct WakeSessions {
    last: String,
    before: String,
    /// Who has come with the last.
    taken: Option<InstanceId>,
}

impl WakeSessions {
    /// The session of a wake that is to bring an instance: the last one until an instance has
    /// come with it, then a `new` one.
    pub(crate) fn begin(&mut self, new: impl FnOnce() -> String) -> &str {
        if self.last.is_empty() || self.taken.take().is_some() {
            self.before = std::mem::replace(&mut self.last, new());
        }
        &self.last
    }

    /// The session of the last wake, or the empty string.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    /// Lets in the member again, which may not have heard of the last session yet.
    pub(crate) fn admits_again(&mut self, session: &str, member: InstanceId) -> bool {
        if session == self.last {
            self.taken.get_or_insert(member);
        }
        !session.is_empty() && (session == self.last || session == self.before)
    }

    /// Lets in an instance that is no member, if no other has come with its session.
    pub(crate) fn admits(&mut self, session: &str, instance: InstanceId) -> bool {
        let is_last = !session.is_empty() && session == self.last;
        is_last && *self.taken.get_or_insert(instance) == instance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: InstanceId = InstanceId(1);
    const SECOND: InstanceId = InstanceId(2);

    #[test]
    fn a_session_lets_in_one_instance_however_often_it_comes() {
        let mut wake_sessions = WakeSessions::default();
        wake_sessions.begin(|| "1".into());
        assert!(wake_sessions.admits("1", FIRST));
        assert!(!wake_sessions.admits("1", SECOND));
        assert!(wake_sessions.admits("1", FIRST));

        wake_sessions.begin(|| "2".into());
        assert!(!wake_sessions.admits("1", SECOND), "it is not the last");
        assert!(wake_sessions.admits("2", SECOND));
    }

    #[test]
    fn a_session_stays_until_an_instance_has_come_with_it() {
        let mut wake_sessions = WakeSessions::default();
        assert_eq!(wake_sessions.begin(|| "1".into()), "1");
        assert_eq!(
            wake_sessions.begin(|| "2".into()),
            "1",
            "it was not answered"
        );
        assert!(wake_sessions.admits("1", FIRST), "its first wake came late");
        assert!(
            !wake_sessions.admits("1", SECOND),
            "and its second elsewhere"
        );
        assert_eq!(wake_sessions.begin(|| "2".into()), "2");
        assert!(!wake_sessions.admits("1", FIRST), "its wake is replayed");
        assert!(wake_sessions.admits("2", SECOND));
    }

    #[test]
    fn the_member_may_come_again_with_either_session() {
        let mut wake_sessions = WakeSessions::default();
        wake_sessions.begin(|| "1".into());
        assert!(wake_sessions.admits("1", FIRST));
        wake_sessions.begin(|| "2".into());
        assert!(wake_sessions.admits_again("1", FIRST));
        assert!(wake_sessions.admits_again("2", FIRST));
        assert!(!wake_sessions.admits("2", SECOND), "it is taken by that");
        wake_sessions.begin(|| "3".into());
        assert!(!wake_sessions.admits_again("1", FIRST));
    }

    #[test]
    fn nobody_comes_to_a_node_that_was_not_woken() {
        let mut wake_sessions = WakeSessions::default();
        assert!(!wake_sessions.admits("", FIRST));
        assert!(!wake_sessions.admits_again("", FIRST));
        wake_sessions.begin(|| "1".into());
        assert!(
            !wake_sessions.admits_again("", FIRST),
            "there was none before"
        );
    }
}

//! The sessions that a node was woken for, and who has come with them.
//!
//! A session lets in one process. A wake that keeps a session may reach another
//! than the one it is for, which dials with it as well, and the one that it has
//! succeeded dials again with it when it is let go: whoever comes second is
//! woken for a session of its own.

use infinicache_wire::InstanceId;

/// Of the last wake, and of the one before it.
#[derive(Debug, Default)]
pub(crate) struct Invitations {
    last: String,
    before: String,
    /// Who has come with the last.
    taken: Option<InstanceId>,
}

impl Invitations {
    /// A new session, for whoever answers its wake.
    pub(crate) fn begin(&mut self, session: String) {
        self.before = std::mem::replace(&mut self.last, session);
        self.taken = None;
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

    /// Lets in an instance that is no member, if nobody else has come with its session.
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
        let mut invitations = Invitations::default();
        invitations.begin("1".into());
        assert!(invitations.admits("1", FIRST));
        assert!(!invitations.admits("1", SECOND));
        assert!(invitations.admits("1", FIRST));

        invitations.begin("2".into());
        assert!(!invitations.admits("1", SECOND), "it is not the last");
        assert!(invitations.admits("2", SECOND));
    }

    #[test]
    fn the_member_may_come_again_with_either_session() {
        let mut invitations = Invitations::default();
        invitations.begin("1".into());
        invitations.begin("2".into());
        assert!(invitations.admits_again("1", FIRST));
        assert!(invitations.admits_again("2", FIRST));
        assert!(!invitations.admits("2", SECOND), "it is taken by that");
        invitations.begin("3".into());
        assert!(!invitations.admits_again("1", FIRST));
    }

    #[test]
    fn nobody_comes_to_a_node_that_was_not_woken() {
        let mut invitations = Invitations::default();
        assert!(!invitations.admits("", FIRST));
        assert!(!invitations.admits_again("", FIRST));
        invitations.begin("1".into());
        assert!(
            !invitations.admits_again("", FIRST),
            "there was none before"
        );
    }
}

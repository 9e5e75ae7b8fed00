//! What the connection of a smart client owns: the writes that it opened, and the leases that it
//! was granted. They end with it.
//!
//! So a client that dies gives back at once what it held, as one that sends its value over the
//! connection does. A write that is committed, and a lease that is released, over another
//! connection belongs to this one no longer; such entries are removed now and then.

use infinicache_engine::Pool;
use infinicache_host::hash::HashSet;
use infinicache_wire::WriteId;

use crate::cache::Cache;

/// So many are owned before it is looked for those that have ended.
const LEAST: usize = 64;

/// What one connection owns; ended when this is dropped.
pub(crate) struct ConnectionResources {
    cache: Cache,
    writes: HashSet<WriteId>,
    leases: HashSet<u64>,
    /// How many there may be before it is looked for those that have ended.
    most: usize,
}

impl ConnectionResources {
    /// What a connection owns that has just been accepted: nothing.
    pub(crate) fn nothing(cache: Cache) -> Self {
        Self {
            cache,
            writes: HashSet::default(),
            leases: HashSet::default(),
            most: LEAST,
        }
    }

    /// The connection has opened a write.
    pub(crate) fn opened(&mut self, write: WriteId) {
        self.writes.insert(write);
        self.sift_if_many();
    }

    /// The connection was granted a lease.
    pub(crate) fn granted(&mut self, lease: u64) {
        self.leases.insert(lease);
        self.sift_if_many();
    }

    /// Whether all has ended that the connection has owned.
    pub(crate) fn is_nothing(&mut self) -> bool {
        self.sift();
        self.writes.is_empty() && self.leases.is_empty()
    }

    /// In proportion to what is owned, this is done once for each that is added.
    fn sift_if_many(&mut self) {
        if self.writes.len() + self.leases.len() >= self.most {
            self.sift();
            self.most = LEAST.max(2 * (self.writes.len() + self.leases.len()));
        }
    }

    fn sift(&mut self) {
        let (writes, leases) = (
            self.cache.writes().open(),
            &self.cache.metadata().read_leases,
        );
        self.writes.retain(|write| writes.get(*write).is_some());
        self.leases.retain(|lease| leases.is_out(*lease));
    }
}

impl Drop for ConnectionResources {
    fn drop(&mut self) {
        for write in self.writes.drain() {
            self.cache.abort(write);
        }
        for lease in self.leases.drain() {
            self.cache.metadata().read_leases.release(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{cache::fixture::OneNode, metadata::catalog::ObjectRef};

    async fn open(cache: &Cache) -> WriteId {
        let opened = Pool::open(cache, b"key", Some(1_000), false).await;
        opened.unwrap().write
    }

    #[tokio::test]
    async fn what_a_connection_has_opened_ends_with_it_and_nothing_else_does() {
        let one = OneNode::new().await;
        let object = one.object(1_000);
        let (mut ours, mut others) = (
            ConnectionResources::nothing(one.cache.clone()),
            ConnectionResources::nothing(one.cache.clone()),
        );
        let (our_write, other_write) = (open(&one.cache).await, open(&one.cache).await);
        ours.opened(our_write);
        others.opened(other_write);
        let grant = || {
            one.cache
                .metadata()
                .read_leases
                .grant(&ObjectRef(object.clone()), Instant::now())
        };
        let (our_lease, other_lease) = (grant().unwrap(), grant().unwrap());
        ours.granted(our_lease);
        others.granted(other_lease);
        let used = || {
            one.pool
                .nodes
                .members()
                .all()
                .iter()
                .map(|it| it.memory.used())
                .sum::<u64>()
        };
        let both = used();
        assert!(both > 0, "an open write takes room");

        drop(ours);
        assert!(one.cache.writes().open().get(our_write).is_none());
        assert!(one.cache.writes().open().get(other_write).is_some());
        assert!(!one.cache.metadata().read_leases.is_out(our_lease));
        assert!(one.cache.metadata().read_leases.is_out(other_lease));
        assert_eq!(used(), both / 2);
        drop(others);
        assert_eq!(used(), 0);
        assert_eq!(one.cache.writes().open().len(), 0);
    }

    #[tokio::test]
    async fn a_connection_forgets_what_has_ended_otherwise() {
        let one = OneNode::new().await;
        let mut owned = ConnectionResources::nothing(one.cache.clone());
        let kept = open(&one.cache).await;
        owned.opened(kept);
        for _ in 0..10 * LEAST {
            let write = open(&one.cache).await;
            owned.opened(write);
            one.cache.abort(write);
            assert!(owned.writes.len() <= LEAST, "{}", owned.writes.len());
        }
        assert!(!owned.is_nothing());
        one.cache.abort(kept);
        assert!(owned.is_nothing());
    }
}

//! A cache over one node that is a test, and objects on that node.

use std::{sync::Arc, time::Duration};

use infinicache_engine::Budget;
use infinicache_erasure::{Code, Geometry};
use infinicache_membership::Epoch;
use infinicache_wire::{MemberId, Version, WriteId};

use super::{Cache, Settings};
use crate::{
    gc_queue::GcQueue,
    metadata::catalog::{Object, expiration::Expiration},
    metadata::tombstones::Tombstones,
    metrics::Metrics,
    pool::tests::{Pool, TIMING},
};

pub(crate) struct OneNode {
    pub(crate) pool: Pool,
    pub(crate) cache: Cache,
    pub(crate) member: MemberId,
}

impl OneNode {
    pub(crate) async fn new() -> Self {
        let pool = Pool::new(TIMING).await;
        let member = pool.awake().await.id;
        let tombstones = Arc::new(Tombstones::default());
        let reclaimer = GcQueue::new(pool.nodes.members().clone(), tombstones.clone());
        let settings = Settings {
            code: code(),
            max_object_bytes: 1 << 30,
            epoch: Epoch::beginning(1, 0),
            presumed_capacity: 1 << 30,
            place_deadline: Duration::from_secs(8),
            small_value: 16 << 10,
            shelf_bytes: 1 << 20,
        };
        let cache = Cache::new(
            settings,
            pool.nodes.clone(),
            Budget::new(1 << 20),
            Arc::default(),
            Arc::new(Metrics::new()),
            Arc::new(reclaimer),
            tombstones,
        );
        Self {
            pool,
            cache,
            member,
        }
    }

    /// An object of two chunks, both on the node.
    pub(crate) fn object(&self, size: u64) -> Arc<Object> {
        self.object_of(b"key", 1, size)
    }

    /// The same of another key, and another write.
    pub(crate) fn object_of(&self, key: &[u8], sequence: u64, size: u64) -> Arc<Object> {
        let (epoch, counter) = (1, sequence);
        Object::new(
            key.into(),
            WriteId { epoch, sequence },
            Version { epoch, counter },
            Geometry::new(size, code()),
            vec![self.member; 2].into(),
            Expiration::new(None, 0),
            self.cache.reclaimer().clone(),
        )
    }
}

fn code() -> Code {
    Code::new(1, 1).unwrap()
}

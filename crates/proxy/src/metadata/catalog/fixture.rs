//! Objects for tests.

use std::sync::Arc;

use infinicache_erasure::{Code, Geometry};
use infinicache_wire::{ChunkId, MemberId, Version, WriteId};

use super::{ChunkReclaimer, Object, expiration::Expiration};

struct Nobody;

impl ChunkReclaimer for Nobody {
    fn retired(&self, _: MemberId, _: u64) {}
    fn unretired(&self, _: MemberId, _: u64) {}
    fn free(&self, _: ChunkId, _: MemberId, _: u64) {}
    fn freed(&self, _: MemberId, _: u64) {}
    fn abandon(&self, _: ChunkId, _: MemberId, _: u64) {}
    fn repair(&self, _: Arc<Object>) {}
}

/// An object of `size` bytes on members 0, 1, 2 and so on, whose chunks are not reclaimed.
pub(crate) fn object(
    name: &str,
    size: u64,
    code: (usize, usize),
    expires_at: Option<u64>,
) -> Arc<Object> {
    kept(name, size, code, expires_at, Arc::new(Nobody))
}

/// The same, looked after by `reclaimer`.
pub(crate) fn kept(
    name: &str,
    size: u64,
    (data, parity): (usize, usize),
    expires_at: Option<u64>,
    reclaimer: Arc<dyn ChunkReclaimer>,
) -> Arc<Object> {
    let (epoch, sequence, counter) = (1, 1, 1);
    let code = Code::new(data, parity).unwrap();
    Object::new(
        name.as_bytes().into(),
        WriteId { epoch, sequence },
        Version { epoch, counter },
        Geometry::new(size, code),
        (0..code.width() as u32).map(MemberId).collect(),
        Expiration::new(expires_at, 0),
        reclaimer,
    )
}

//! A pool in memory, for tests of the cache's algorithms.
//!
//! - `node`: a node that keeps units, and fails in every way that it is told to;
//! - `pool`: a pool of such nodes, which places writes in the order of its nodes;
//! - `proxy`: a proxy before such a pool, on a socket;
//! - `encoding`: what must be on the nodes in the end, computed in another way.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unreachable_pub, reason = "a test is a crate of its own")]

pub mod encoding;
pub mod node;
pub mod pool;

use bytes::Bytes;
use infinicache_engine::{Error, Reader, Terms, Upload, pool::CommitOutcome, upload};

pub use self::{
    node::{FakeNode, Mood},
    pool::{FakeFound, FakePool},
};

/// Bytes of one full stripe of a code with `data` data chunks.
pub fn stripe(data: usize) -> usize {
    data * infinicache_erasure::UNIT_MAX
}

/// `length` bytes that repeat nowhere in a way that would hide a mix-up.
pub fn value(length: usize) -> Bytes {
    let mut state = length as u64 | 1 << 40;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..6]);
    }
    bytes.truncate(length);
    bytes.into()
}

/// Uploads and commits a value of a known size.
pub async fn put(pool: &FakePool, key: &str, value: &Bytes) -> Result<FakeFound, Error> {
    let size = Some(value.len() as u64);
    commit(upload(pool, key.as_bytes(), size, value.clone()).await?).await?;
    Ok(pool.found(key).expect("it was just stored"))
}

/// Commits an upload without conditions.
pub async fn commit(upload: Upload<FakePool>) -> Result<(), Error> {
    match upload.commit(&Terms::default()).await? {
        CommitOutcome::Stored { .. } => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// Reads a whole value.
pub async fn get(pool: &FakePool, found: &FakeFound) -> Result<Vec<u8>, Error> {
    get_range(pool, found, 0..u64::MAX).await
}

/// Reads a range of a value.
pub async fn get_range(
    pool: &FakePool,
    found: &FakeFound,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new(pool.clone(), found.clone(), range);
    let mut value = Vec::new();
    while let Some(pieces) = reader.next().await? {
        pieces
            .iter()
            .for_each(|piece| value.extend_from_slice(piece));
    }
    assert_eq!(reader.remaining(), 0);
    Ok(value)
}

/// Everything that was reserved is given back, once what was given up has had its turn to end.
pub async fn assert_nothing_buffered(pool: &FakePool) {
    use infinicache_engine::Pool;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.budget().used(), 0, "bytes are still reserved");
}

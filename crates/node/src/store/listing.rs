//! What is left to be told of an inventory.

use infinicache_wire::ChunkId;

/// The ids of an inventory that is being told.
#[derive(Debug, Default)]
pub(super) struct Listing(pub(super) Vec<ChunkId>);

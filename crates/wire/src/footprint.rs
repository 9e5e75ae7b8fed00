//! How much of a node's memory a chunk takes.
//!
//! The node enforces its capacity by this measure and the proxy plans by it, so
//! that what the proxy places, the node takes.

/// Bytes that a chunk takes beside its units: its place in the table, its label.
pub const CHUNK_OVERHEAD: u64 = 256;

/// Bytes that a unit takes beside its payload: its place in the chunk, the allocator's share.
pub const UNIT_OVERHEAD: u64 = 96;

/// Bytes of a label that [`CHUNK_OVERHEAD`] covers.
pub const LABEL_ALLOWANCE: usize = 128;

/// Bytes that a label takes beyond what every chunk takes.
pub fn label_weight(label: usize) -> u64 {
    label.saturating_sub(LABEL_ALLOWANCE) as u64
}

/// Bytes of a node's memory that a chunk takes: of `units` units and `bytes` bytes,
/// with `label` bytes of label.
pub fn footprint(bytes: u64, units: u32, label: usize) -> u64 {
    CHUNK_OVERHEAD + label_weight(label) + bytes + u64::from(units) * UNIT_OVERHEAD
}

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

/// Longest unit that shares pages with others, in bytes.
pub const SHARED_PAGES_MAX: u64 = 16 * 1024;

/// Bytes of a page of memory, as far as it is accounted for.
const PAGE: u64 = 4096;

/// Bytes of a node's memory that a unit of `bytes` bytes takes: a long one takes whole pages.
pub fn unit_weight(bytes: u64) -> u64 {
    let taken = if bytes > SHARED_PAGES_MAX {
        bytes.next_multiple_of(PAGE)
    } else {
        bytes
    };
    taken + UNIT_OVERHEAD
}

/// Bytes of a node's memory that a chunk takes: of `bytes` bytes, in units of `unit` bytes but for
/// the last, with `label` bytes of label.
pub fn footprint(bytes: u64, unit: u64, label: usize) -> u64 {
    let rest = match bytes.checked_rem(unit) {
        None | Some(0) => 0,
        Some(rest) => unit_weight(rest),
    };
    let full = bytes.checked_div(unit).unwrap_or(0) * unit_weight(unit);
    CHUNK_OVERHEAD + label_weight(label) + full + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_what_its_units_and_its_label_take() {
        for (bytes, unit, units) in [
            (0, 0, vec![]),
            (1000, 1000, vec![1000]),
            (2500, 1000, vec![1000, 1000, 500]),
            (16 << 10, 16 << 10, vec![16 << 10]),
            (40_000, 20_000, vec![20 << 10, 20 << 10]),
            ((256 << 10) + 1, 256 << 10, vec![256 << 10, 1]),
        ] {
            let taken: u64 = units.iter().map(|bytes| bytes + UNIT_OVERHEAD).sum();
            assert_eq!(footprint(bytes, unit, 0), CHUNK_OVERHEAD + taken, "{bytes}");
        }
        assert_eq!(footprint(0, 0, LABEL_ALLOWANCE + 7), CHUNK_OVERHEAD + 7);
    }
}

//! What each unit is sealed with by its writer and verified with by its reader.

use twox_hash::XxHash3_64;

use crate::id::ChunkId;

/// The XXH3-64 of a unit, seeded with its place.
///
/// The seed is the XXH3-64 of write id, chunk index and unit number, so a unit
/// that is whole but of another write, chunk or place fails as well.
pub fn checksum(chunk: ChunkId, unit: u32, bytes: &[u8]) -> u64 {
    let mut place = [0; 21];
    place[0..8].copy_from_slice(&chunk.write.epoch.to_le_bytes());
    place[8..16].copy_from_slice(&chunk.write.sequence.to_le_bytes());
    place[16] = chunk.index;
    place[17..21].copy_from_slice(&unit.to_le_bytes());
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(&place), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WriteId;

    #[test]
    fn the_same_bytes_elsewhere_have_another_checksum() {
        let chunk = ChunkId {
            write: WriteId {
                epoch: 1,
                sequence: 2,
            },
            index: 3,
        };
        let other = ChunkId { index: 4, ..chunk };
        let newer = ChunkId {
            write: WriteId {
                epoch: 1,
                sequence: 3,
            },
            ..chunk
        };
        let sum = checksum(chunk, 5, b"unit");
        assert_ne!(sum, checksum(chunk, 6, b"unit"));
        assert_ne!(sum, checksum(other, 5, b"unit"));
        assert_ne!(sum, checksum(newer, 5, b"unit"));
        assert_ne!(sum, checksum(chunk, 5, b"unjt"));
    }

    #[test]
    fn the_algorithm_is_pinned() {
        let chunk = ChunkId {
            write: WriteId {
                epoch: 1,
                sequence: 2,
            },
            index: 3,
        };
        let seed = XxHash3_64::oneshot(&[
            1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0,
        ]);
        assert_eq!(
            checksum(chunk, 4, b""),
            XxHash3_64::oneshot_with_seed(seed, b"")
        );
    }
}

//! The label that a node keeps with a chunk: what the proxy needs to know to tell,
//! from chunks alone, which objects there are.
//!
//! ```text
//!   0        1        2        3       4       12        20        28         36         40
//!   +--------+--------+--------+-------+-------+---------+---------+----------+----------+-----
//!   | format | data   | parity |   0   | size  | epoch   | counter | expires  | changes  | key
//!   +--------+--------+--------+-------+-------+---------+---------+----------+----------+-----
//!      u8       u8       u8       u8      u64    version    u64    u64, 0 never    u32
//! ```
//!
//! `changes` counts how often the expiry of the object had been changed when the
//! chunk was completed: of several the last one counts, wherever it is kept.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use infinicache_erasure::{Code, Geometry};
use infinicache_wire::{Version, inventory::Expiry};

/// The layout above.
const FORMAT: u8 = 1;

/// Bytes before the key.
const HEAD: usize = 40;

/// Length of the label of a chunk of `key`'s value.
pub fn length(key: &[u8]) -> usize {
    HEAD + key.len()
}

/// Writes a label.
pub fn encode(key: &[u8], geometry: &Geometry, version: Version, expiry: Expiry) -> Bytes {
    let mut label = BytesMut::with_capacity(length(key));
    let code = geometry.code();
    label.put_slice(&[FORMAT, code.data() as u8, code.parity() as u8, 0]);
    label.put_u64_le(geometry.size());
    label.put_u64_le(version.epoch);
    label.put_u64_le(version.counter);
    label.put_u64_le(expiry.at_ms);
    label.put_u32_le(expiry.sequence);
    label.put_slice(key);
    label.freeze()
}

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Whose value the chunk is of.
    pub key: Bytes,
    /// How the value is cut into chunks.
    pub geometry: Geometry,
    /// Which value of the key it is.
    pub version: Version,
    /// When the value expires.
    pub expiry: Expiry,
}

/// Reads a label; `None` if it is none.
pub fn decode(mut label: Bytes) -> Option<Label> {
    if label.len() < HEAD || label.get_u8() != FORMAT {
        return None;
    }
    let (data, parity) = (label.get_u8(), label.get_u8());
    let code = Code::new(usize::from(data), usize::from(parity)).ok()?;
    label.advance(1);
    let size = label.get_u64_le();
    if size > infinicache_erasure::MAX_SIZE {
        return None;
    }
    Some(Label {
        geometry: Geometry::new(size, code),
        version: Version {
            epoch: label.get_u64_le(),
            counter: label.get_u64_le(),
        },
        expiry: Expiry {
            at_ms: label.get_u64_le(),
            sequence: label.get_u32_le(),
        },
        key: label,
    })
}

/// Any bytes are no label, or one that says the same when it is written anew.
///
/// # Panics
///
/// If that is not so.
#[cfg(fuzzing)]
pub fn reads_back(bytes: Bytes) {
    if let Some(label) = decode(bytes) {
        let written = encode(&label.key, &label.geometry, label.version, label.expiry);
        assert_eq!(decode(written), Some(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_what_the_picture_says() {
        let geometry = Geometry::new(0x0102, Code::new(10, 2).unwrap());
        let version = Version {
            epoch: 3,
            counter: 4,
        };
        let expiry = Expiry {
            sequence: 6,
            at_ms: 5,
        };
        let label = encode(b"key", &geometry, version, expiry);
        assert_eq!(label[..4], [1, 10, 2, 0]);
        assert_eq!(label[4..12], 0x0102u64.to_le_bytes());
        assert_eq!(label[12..20], 3u64.to_le_bytes());
        assert_eq!(label[20..28], 4u64.to_le_bytes());
        assert_eq!(label[28..36], 5u64.to_le_bytes());
        assert_eq!(label[36..40], 6u32.to_le_bytes());
        assert_eq!(&label[HEAD..], b"key");
        assert_eq!(label.len(), length(b"key"));
        let read = Label {
            key: Bytes::from_static(b"key"),
            geometry,
            version,
            expiry,
        };
        assert_eq!(decode(label), Some(read));
    }

    #[test]
    fn what_is_no_label_is_not_read_as_one() {
        let geometry = Geometry::new(1, Code::new(1, 2).unwrap());
        let version = Version {
            epoch: 1,
            counter: 1,
        };
        let label = encode(b"", &geometry, version, Expiry::default());
        assert!(decode(label.clone()).is_some());
        assert_eq!(decode(label.slice(..HEAD - 1)), None);
        for (at, byte) in [(0, 2), (1, 0), (11, 0xff)] {
            let mut changed = label.to_vec();
            changed[at] = byte;
            assert_eq!(decode(changed.into()), None, "byte {at}");
        }
    }
}

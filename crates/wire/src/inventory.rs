//! An inventory: what a node tells of its complete chunks, a page at a time.
//!
//! A page is a sequence of entries without anything between or around them:
//!
//! ```text
//!   0       8          16      17      21          25       33       37
//!   +-------+----------+-------+-------+-----------+--------+--------+-----------
//!   | epoch | sequence | index | units | expiry no | expiry | length | label ...
//!   +-------+----------+-------+-------+-----------+--------+--------+-----------
//!     u64     u64        u8      u32     u32         u64      u32      length bytes
//! ```
//!
//! All numbers are little-endian. An empty page ends the inventory.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{
    frame::{FrameError, Kind, MAX_PAYLOAD},
    id::{ChunkId, WriteId},
};

/// Bytes of an entry before its label.
const HEAD: usize = 37;

/// Longest label that an entry can carry.
pub const MAX_LABEL: usize = MAX_PAYLOAD - HEAD;

/// A change of when a chunk expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// Counts the changes of the object; 0 if there has been none, and the label tells.
    pub sequence: u32,
    /// Milliseconds since 1970; 0 is never.
    pub at_ms: u64,
}

/// One complete chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryEntry {
    /// Which chunk.
    pub chunk: ChunkId,
    /// How many units it has.
    pub units: u32,
    /// The last change of its expiry.
    pub expiry: Expiry,
    /// What it was labelled with.
    pub label: Bytes,
}

/// A page under construction.
#[derive(Debug, Default)]
pub struct Page(BytesMut);

impl Page {
    /// Adds an entry; `false` if it does not fit any more.
    pub fn push(&mut self, chunk: ChunkId, units: u32, expiry: Expiry, label: &[u8]) -> bool {
        let length = HEAD + label.len();
        if self.0.len() + length > MAX_PAYLOAD {
            return false;
        }
        self.0.reserve(length);
        self.0.put_u64_le(chunk.write.epoch);
        self.0.put_u64_le(chunk.write.sequence);
        self.0.put_u8(chunk.index);
        self.0.put_u32_le(units);
        self.0.put_u32_le(expiry.sequence);
        self.0.put_u64_le(expiry.at_ms);
        self.0.put_u32_le(label.len() as u32);
        self.0.put_slice(label);
        true
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The page as it travels.
    pub fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }
}

/// Reads a page. The labels share its memory.
///
/// # Errors
///
/// If the bytes are not entries from the first to the last.
pub fn read_page(mut page: Bytes) -> Result<Vec<InventoryEntry>, FrameError> {
    let mut entries = Vec::new();
    while !page.is_empty() {
        if page.len() < HEAD {
            return Err(FrameError::Malformed(Kind::Inventory));
        }
        let write = WriteId {
            epoch: page.get_u64_le(),
            sequence: page.get_u64_le(),
        };
        let chunk = ChunkId {
            write,
            index: page.get_u8(),
        };
        let units = page.get_u32_le();
        let expiry = Expiry {
            sequence: page.get_u32_le(),
            at_ms: page.get_u64_le(),
        };
        let length = page.get_u32_le() as usize;
        if page.len() < length {
            return Err(FrameError::Malformed(Kind::Inventory));
        }
        entries.push(InventoryEntry {
            chunk,
            units,
            expiry,
            label: page.split_to(length),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = InventoryEntry> {
        let chunk = (any::<u64>(), any::<u64>(), any::<u8>());
        let expiry = (any::<u32>(), any::<u64>());
        let label = prop::collection::vec(any::<u8>(), 0..64);
        (chunk, any::<u32>(), expiry, label).prop_map(|(chunk, units, expiry, label)| {
            InventoryEntry {
                chunk: ChunkId {
                    write: WriteId {
                        epoch: chunk.0,
                        sequence: chunk.1,
                    },
                    index: chunk.2,
                },
                units,
                expiry: Expiry {
                    sequence: expiry.0,
                    at_ms: expiry.1,
                },
                label: label.into(),
            }
        })
    }

    fn page(entries: &[InventoryEntry]) -> Bytes {
        let mut page = Page::default();
        let mut push = |it: &InventoryEntry| page.push(it.chunk, it.units, it.expiry, &it.label);
        assert!(entries.iter().all(&mut push));
        page.into_bytes()
    }

    proptest! {
        #[test]
        fn what_is_entered_is_read(entries in prop::collection::vec(entry(), 0..20)) {
            prop_assert_eq!(read_page(page(&entries)).unwrap(), entries);
        }

        #[test]
        fn a_page_that_is_cut_within_an_entry_is_refused(entry in entry()) {
            let whole = page(&[entry]);
            for end in 1..whole.len() {
                prop_assert!(read_page(whole.slice(..end)).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_page(bytes.into());
        }
    }

    #[test]
    fn a_page_takes_no_more_than_a_frame_and_the_longest_label_fits_alone() {
        let chunk = ChunkId {
            write: WriteId {
                epoch: 1,
                sequence: 2,
            },
            index: 3,
        };
        let mut page = Page::default();
        assert!(page.push(chunk, 4, Expiry::default(), &[0; MAX_LABEL]));
        assert!(!page.push(chunk, 4, Expiry::default(), &[]));
        assert_eq!(page.into_bytes().len(), MAX_PAYLOAD);
    }
}

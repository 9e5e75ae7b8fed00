//! The units of one chunk, in whatever order they came.
//!
//! A writer sends units in order, so they are kept densely, by number. Only
//! when one comes out of order - the writer took this node over from a failed
//! one in the middle, and rebuilds the part before - do they move to a tree,
//! whose size follows the units that are held and not the numbers that a peer
//! names. A chunk whose units turn out to be whole is made dense again.

use std::collections::BTreeMap;

use bytes::Bytes;
use infinicache_wire::decode::READ_AHEAD;

/// One unit as its writer sealed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its bytes.
    pub bytes: Bytes,
    /// What its writer sealed it with; not looked at here.
    pub checksum: u64,
}

impl Unit {
    /// A unit that holds on to about as much memory as it has bytes.
    pub(crate) fn new(bytes: Bytes, checksum: u64) -> Self {
        Self {
            bytes: settled(bytes),
            checksum,
        }
    }
}

/// Moves bytes that may be a slice of the decoder's shared read buffer to an allocation of their own.
///
/// A slice keeps the whole buffer alive, so many small ones would hold many
/// times the memory that is accounted for. From [`READ_AHEAD`] on payload
/// cannot lie in that buffer, and is taken as it is.
pub(crate) fn settled(bytes: Bytes) -> Bytes {
    if bytes.len() < READ_AHEAD {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
}

#[derive(Debug)]
pub(crate) enum Units {
    /// Units 0, 1, 2, ... without a gap.
    Dense(Vec<Unit>),
    /// Any others.
    #[expect(
        clippy::box_collection,
        reason = "rare, and must not make every chunk larger"
    )]
    Sparse(Box<BTreeMap<u32, Unit>>),
}

impl Units {
    pub(crate) const fn new() -> Self {
        Self::Dense(Vec::new())
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Unit> {
        match self {
            Self::Dense(units) => units.get(number as usize),
            Self::Sparse(units) => units.get(&number),
        }
    }

    /// Keeps a unit, in place of the one with the same number.
    pub(crate) fn put(&mut self, number: u32, unit: Unit) {
        if let Self::Dense(units) = self {
            let at = number as usize;
            if at < units.len() {
                units[at] = unit;
                return;
            }
            if at == units.len() {
                // Most chunks have one unit; a vector would start with room for four.
                if at == 0 {
                    units.reserve_exact(1);
                }
                units.push(unit);
                return;
            }
            let tree = (0..).zip(units.drain(..)).collect();
            *self = Self::Sparse(Box::new(tree));
        }
        if let Self::Sparse(units) = self {
            units.insert(number, unit);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        let count = match self {
            Self::Dense(units) => units.len(),
            Self::Sparse(units) => units.len(),
        };
        // Their numbers are below `MAX_UNITS`.
        count as u32
    }

    /// Whether these are exactly the units `0..count`.
    pub(crate) fn is_exactly(&self, count: u32) -> bool {
        match self {
            Self::Dense(units) => units.len() == count as usize,
            Self::Sparse(units) => {
                units.len() == count as usize
                    && units.last_key_value().is_none_or(|(&last, _)| last < count)
            }
        }
    }

    /// Packs units that are without a gap; none will be added.
    pub(crate) fn pack(&mut self) {
        match self {
            Self::Dense(units) => units.shrink_to_fit(),
            Self::Sparse(units) => {
                let units = std::mem::take(&mut **units);
                let mut dense = Vec::with_capacity(units.len());
                dense.extend(units.into_values());
                *self = Self::Dense(dense);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(byte: u8) -> Unit {
        Unit::new(vec![byte; 3].into(), byte.into())
    }

    #[test]
    fn units_in_order_stay_dense() {
        let mut units = Units::new();
        for number in 0..5u8 {
            units.put(number.into(), unit(number));
        }
        units.put(2, unit(9));
        assert!(matches!(units, Units::Dense(_)));
        assert!(units.is_exactly(5));
        assert_eq!(units.get(2), Some(&unit(9)));
        assert_eq!(units.get(5), None);
    }

    #[test]
    fn units_out_of_order_are_found_and_packed_once_whole() {
        let mut units = Units::new();
        for number in [0, 3, 2] {
            units.put(number.into(), unit(number));
        }
        assert!(!units.is_exactly(3), "1 is missing and 3 is too many");
        assert!(!units.is_exactly(4));
        units.put(1, unit(1));
        assert!(units.is_exactly(4));

        units.pack();
        assert!(matches!(units, Units::Dense(_)));
        for number in 0..4u8 {
            assert_eq!(units.get(number.into()), Some(&unit(number)));
        }
    }

    #[test]
    fn a_huge_number_takes_no_more_room_than_a_small_one() {
        let mut units = Units::new();
        units.put(u32::MAX, unit(1));
        assert!(matches!(&units, Units::Sparse(units) if units.len() == 1));
        assert!(!units.is_exactly(1));
    }

    #[test]
    fn small_payloads_leave_the_buffer_they_were_read_in() {
        let buffer = Bytes::from(vec![7; READ_AHEAD]);
        let unit = Unit::new(buffer.slice(..READ_AHEAD - 1), 0);
        assert_ne!(unit.bytes.as_ptr(), buffer.as_ptr());
        let unit = Unit::new(buffer.clone(), 0);
        assert_eq!(unit.bytes.as_ptr(), buffer.as_ptr());
    }
}

//! The units of one chunk, in whatever order they came.
//!
//! A writer sends units in order, so they are kept densely, by number. Only
//! when one comes out of order - the writer took this node over from a failed
//! one in the middle, and rebuilds the part before - do they move to a tree,
//! whose size follows the units that are held and not the numbers that a peer
//! names. A chunk whose units turn out to be whole is made dense again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::slab::Place;

/// One unit as its writer sealed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUnit {
    /// Its bytes.
    pub bytes: Bytes,
    /// What its writer sealed it with; not looked at here.
    pub checksum: u64,
}

/// A unit as it is kept.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) payload: Payload<Bytes>,
    pub(super) checksum: u64,
}

/// Bytes that are kept.
#[derive(Debug)]
pub(super) enum Payload<T> {
    /// In an allocation of their own.
    Own(T),
    /// In a slab.
    Packed(Place),
}

impl Held {
    /// Bytes of the unit.
    pub(super) fn length(&self) -> usize {
        match &self.payload {
            Payload::Own(bytes) => bytes.len(),
            Payload::Packed(place) => place.length(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Units {
    /// Unit 0 alone. Most chunks have one unit: they need no vector.
    One(Held),
    /// Units 0, 1, 2, ... without a gap.
    Dense(Vec<Held>),
    /// Any others.
    #[expect(
        clippy::box_collection,
        reason = "rare, and must not make every chunk larger"
    )]
    Sparse(Box<BTreeMap<u32, Held>>),
}

impl Units {
    pub(super) const fn new() -> Self {
        Self::Dense(Vec::new())
    }

    pub(super) fn get(&self, number: u32) -> Option<&Held> {
        match self {
            Self::One(unit) => (number == 0).then_some(unit),
            Self::Dense(units) => units.get(number as usize),
            Self::Sparse(units) => units.get(&number),
        }
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Held> {
        match self {
            Self::One(unit) => (number == 0).then_some(unit),
            Self::Dense(units) => units.get_mut(number as usize),
            Self::Sparse(units) => units.get_mut(&number),
        }
    }

    /// Keeps a unit in place of the one with the same number, which is returned.
    pub(super) fn put(&mut self, number: u32, unit: Held) -> Option<Held> {
        if let Some(held) = self.get_mut(number) {
            return Some(std::mem::replace(held, unit));
        }
        let in_order = number == self.count();
        *self = match std::mem::replace(self, Self::new()) {
            Self::Dense(units) if in_order && units.is_empty() => Self::One(unit),
            Self::One(first) if in_order => Self::Dense(vec![first, unit]),
            Self::Dense(mut units) if in_order => {
                units.push(unit);
                Self::Dense(units)
            }
            Self::One(first) => Self::sparse([(0, first), (number, unit)]),
            Self::Dense(units) => Self::sparse((0..).zip(units).chain([(number, unit)])),
            Self::Sparse(mut units) => {
                units.insert(number, unit);
                Self::Sparse(units)
            }
        };
        None
    }

    /// Takes any unit away, the last one of those in order.
    pub(super) fn pop(&mut self) -> Option<Held> {
        match self {
            Self::Dense(units) => units.pop(),
            Self::Sparse(units) => units.pop_last().map(|(_, unit)| unit),
            Self::One(_) => match std::mem::replace(self, Self::new()) {
                Self::One(unit) => Some(unit),
                _ => None,
            },
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        let count = match self {
            Self::One(_) => 1,
            Self::Dense(units) => units.len(),
            Self::Sparse(units) => units.len(),
        };
        // Their numbers are below `MAX_UNITS`.
        count as u32
    }

    /// Whether these are exactly the units `0..count`.
    pub(super) fn is_exactly(&self, count: u32) -> bool {
        self.count() == count
            && match self {
                Self::One(_) | Self::Dense(_) => true,
                Self::Sparse(units) => units.last_key_value().is_none_or(|(&last, _)| last < count),
            }
    }

    /// Packs units that are without a gap; none will be added.
    pub(super) fn pack(&mut self) {
        match self {
            Self::One(_) => {}
            Self::Dense(units) => units.shrink_to_fit(),
            Self::Sparse(units) => {
                let mut units = std::mem::take(&mut **units);
                *self = match units.len() {
                    1 => units
                        .pop_first()
                        .map_or(Self::new(), |(_, unit)| Self::One(unit)),
                    count => {
                        let mut dense = Vec::with_capacity(count);
                        dense.extend(units.into_values());
                        Self::Dense(dense)
                    }
                };
            }
        }
    }

    fn sparse(units: impl IntoIterator<Item = (u32, Held)>) -> Self {
        Self::Sparse(Box::new(units.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(byte: u8) -> Held {
        Held {
            payload: Payload::Own(vec![byte; 3].into()),
            checksum: byte.into(),
        }
    }

    fn checksum(units: &Units, number: u32) -> Option<u64> {
        units.get(number).map(|unit| unit.checksum)
    }

    #[test]
    fn units_in_order_stay_dense() {
        let mut units = Units::new();
        for number in 0..5u8 {
            assert!(units.put(number.into(), unit(number)).is_none());
        }
        let replaced = units.put(2, unit(9));
        assert_eq!(replaced.map(|unit| unit.checksum), Some(2));
        assert!(matches!(units, Units::Dense(_)));
        assert!(units.is_exactly(5));
        assert_eq!(checksum(&units, 2), Some(9));
        assert_eq!(checksum(&units, 5), None);
    }

    #[test]
    fn a_single_unit_needs_no_vector() {
        let mut units = Units::new();
        for byte in 0..2 {
            units.put(0, unit(byte));
            assert!(matches!(units, Units::One(_)));
            assert!(units.is_exactly(1));
        }
        assert_eq!(checksum(&units, 0), Some(1));
        assert_eq!(checksum(&units, 1), None);
        units.put(2, unit(2));
        units.put(1, unit(1));
        units.pack();
        assert!(matches!(units, Units::Dense(_)));
        assert!(units.is_exactly(3));
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
            assert_eq!(checksum(&units, number.into()), Some(number.into()));
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
    fn all_units_can_be_taken_away() {
        for numbers in [&[0][..], &[0, 1, 2], &[4, 1]] {
            let mut units = Units::new();
            for &number in numbers {
                units.put(number, unit(1));
            }
            let taken = std::iter::from_fn(|| units.pop()).count();
            assert_eq!((taken, units.count()), (numbers.len(), 0));
        }
    }
}

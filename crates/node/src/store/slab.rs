//! Small records, held densely.
//!
//! A slab is memory for records of one size class, and only the last slab of a class has room:
//!
//! ```text
//!   records of up to 1088 bytes      slab 0               slab 1               slab 2
//!                                    ■ ■ ■ ■ ■ ■ ... ■    ■ ■ ■ ■ ■ ■ ... ■    ■ ■ ■ . . .
//! ```
//!
//! The last record of a class moves to where one was removed. An allocator cannot do that: once
//! most of many small allocations have been freed, what is left of them holds nearly every page.
//! Here what is left takes as much memory as if the others had never been.
//!
//! Classes are a sixteenth apart, so that a record takes 3 % more than its bytes on average.

/// Longest record, in bytes.
pub(super) const RECORD_MAX: usize = 16 * 1024;

/// Bytes of a slab, at most.
const SLAB: usize = 64 * 1024;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    index: u32,
    length: u16,
    class: u8,
}

/// Records of up to [`RECORD_MAX`] bytes, each with its owner's name.
#[derive(Debug)]
pub(super) struct Slabs<O> {
    classes: Vec<Class<O>>,
}

#[derive(Debug)]
struct Class<O> {
    /// Bytes of a record.
    size: usize,
    slabs: Vec<Slab<O>>,
}

#[derive(Debug)]
struct Slab<O> {
    bytes: Vec<u8>,
    /// Whose the records are, in the same order.
    owners: Vec<O>,
}

impl<O> Default for Slabs<O> {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
        }
    }
}

impl<O: Copy> Slabs<O> {
    /// Copies a record.
    ///
    /// # Panics
    ///
    /// If it is longer than [`RECORD_MAX`].
    pub(super) fn insert(&mut self, record: &[u8], owner: O) -> Place {
        assert!(record.len() <= RECORD_MAX, "{} bytes", record.len());
        let number = class_of(record.len());
        for class in self.classes.len()..=number {
            self.classes.push(Class {
                size: size_of_class(class),
                slabs: Vec::new(),
            });
        }
        Place {
            index: self.classes[number].push(record, owner),
            length: record.len() as u16,
            class: number as u8,
        }
    }

    /// The bytes of a record.
    pub(super) fn get(&self, place: Place) -> &[u8] {
        let class = &self.classes[usize::from(place.class)];
        &class.room(place.index)[..usize::from(place.length)]
    }

    /// Lets go of a record. The owner that is returned has another one, and that is now at `place`,
    /// with the length it had.
    #[must_use]
    pub(super) fn remove(&mut self, place: Place) -> Option<O> {
        self.classes[usize::from(place.class)].remove(place.index)
    }
}

impl Place {
    /// Bytes of the record.
    pub(super) fn length(self) -> usize {
        self.length.into()
    }

    /// This place with the length of the record that moved to it.
    pub(super) fn in_place_of(self, removed: Self) -> Self {
        Self {
            length: self.length,
            ..removed
        }
    }
}

impl<O: Copy> Class<O> {
    /// How many records a slab has room for.
    fn per_slab(&self) -> usize {
        SLAB / self.size
    }

    fn push(&mut self, record: &[u8], owner: O) -> u32 {
        let per_slab = self.per_slab();
        if self
            .slabs
            .last()
            .is_none_or(|last| last.owners.len() == per_slab)
        {
            self.slabs.push(Slab {
                bytes: Vec::with_capacity(per_slab * self.size),
                owners: Vec::with_capacity(per_slab),
            });
        }
        let before = self.slabs.len() - 1;
        let last = &mut self.slabs[before];
        let index = before * per_slab + last.owners.len();
        last.bytes.extend_from_slice(record);
        last.owners.push(owner);
        last.bytes.resize(last.owners.len() * self.size, 0);
        index as u32
    }

    fn room(&self, index: u32) -> &[u8] {
        let (slab, at) = self.locate(index);
        &self.slabs[slab].bytes[at * self.size..][..self.size]
    }

    fn remove(&mut self, index: u32) -> Option<O> {
        let (slab, at) = self.locate(index);
        let size = self.size;
        let (last, before) = self.slabs.split_last_mut()?;
        let tail = last.owners.len() - 1;
        let from = tail * size;
        let moved = match before.get_mut(slab) {
            Some(slab) => {
                slab.bytes[at * size..][..size].copy_from_slice(&last.bytes[from..]);
                slab.owners[at] = last.owners[tail];
                Some(slab.owners[at])
            }
            None if at < tail => {
                last.bytes.copy_within(from.., at * size);
                last.owners[at] = last.owners[tail];
                Some(last.owners[at])
            }
            None => None,
        };
        last.bytes.truncate(from);
        last.owners.truncate(tail);
        if tail == 0 {
            self.slabs.pop();
        }
        moved
    }

    fn locate(&self, index: u32) -> (usize, usize) {
        let index = index as usize;
        (index / self.per_slab(), index % self.per_slab())
    }
}

/// The class of records of `length` bytes: sixteen up to 256, and sixteen for each doubling beyond.
fn class_of(length: usize) -> usize {
    let last = length.saturating_sub(1);
    match last.checked_ilog2() {
        Some(doubling @ 8..) => {
            let doubling = doubling as usize;
            16 * (doubling - 7) + (last >> (doubling - 4)) % 16
        }
        _ => last / 16,
    }
}

/// Bytes of a record of that class.
fn size_of_class(class: usize) -> usize {
    match class / 16 {
        0 => 16 * (class + 1),
        doubling => (17 + class % 16) << (doubling + 3),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl<O> Slabs<O> {
        /// Bytes of all slabs.
        fn held(&self) -> usize {
            let slabs = self.classes.iter().flat_map(|class| &class.slabs);
            slabs.map(|slab| slab.bytes.capacity()).sum()
        }
    }

    #[test]
    fn a_class_is_the_smallest_that_fits_and_little_larger() {
        for length in 1..=RECORD_MAX {
            let class = class_of(length);
            let size = size_of_class(class);
            assert!(length <= size, "{length} in {size}");
            assert!(
                size <= length + length.div_ceil(16).max(15),
                "{length} in {size}"
            );
            if class > 0 {
                assert!(size_of_class(class - 1) < length, "{length} in {size}");
            }
        }
        assert!(class_of(RECORD_MAX) <= usize::from(u8::MAX));
    }

    #[test]
    fn what_is_left_after_most_was_removed_takes_no_more_than_it_would_alone() {
        let mut slabs = Slabs::default();
        let mut places: HashMap<usize, Place> = (0..20_000)
            .map(|owner| (owner, slabs.insert(&[1; 1000], owner)))
            .collect();
        for owner in (0..20_000).filter(|owner| owner % 20 != 0) {
            remove(&mut slabs, &mut places, owner);
        }
        let mut alone = Slabs::default();
        for owner in 0..1000 {
            alone.insert(&[1; 1000], owner);
        }
        assert_eq!(slabs.held(), alone.held());
    }

    fn remove(slabs: &mut Slabs<usize>, places: &mut HashMap<usize, Place>, owner: usize) {
        let place = places.remove(&owner).unwrap();
        if let Some(moved) = slabs.remove(place) {
            let at = places.get_mut(&moved).unwrap();
            *at = at.in_place_of(place);
        }
    }

    proptest! {
        #[test]
        fn every_record_is_found_wherever_it_has_moved(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0..=RECORD_MAX, any::<bool>()), 1..400),
        ) {
            let mut slabs = Slabs::default();
            let (mut places, mut records) = (HashMap::new(), HashMap::new());
            for (owner, (which, length, insert)) in steps.into_iter().enumerate() {
                // Few lengths, so that there are many of a class.
                let length = length % 5 * 3300;
                if insert || records.is_empty() {
                    let record = vec![owner as u8; length];
                    places.insert(owner, slabs.insert(&record, owner));
                    records.insert(owner, record);
                } else {
                    let mut owners: Vec<usize> = records.keys().copied().collect();
                    owners.sort_unstable();
                    let owner = owners[which.index(owners.len())];
                    records.remove(&owner);
                    remove(&mut slabs, &mut places, owner);
                }
                for (owner, record) in &records {
                    prop_assert_eq!(slabs.get(places[owner]), &record[..]);
                }
            }
            for owner in records.into_keys() {
                remove(&mut slabs, &mut places, owner);
            }
            prop_assert_eq!(slabs.held(), 0);
        }
    }
}

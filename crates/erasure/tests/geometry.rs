//! The layout covers an object exactly, whatever its size.

use infinicache_erasure::{Code, Geometry, MAX_SIZE, UNIT_ALIGN, UNIT_MAX};
use proptest::prelude::*;

fn codes() -> impl Strategy<Value = Code> {
    (1..=14usize, 0..=4usize).prop_map(|(data, parity)| Code::new(data, parity).unwrap())
}

fn any_code() -> impl Strategy<Value = Code> {
    (1..=255usize)
        .prop_flat_map(|data| (Just(data), 0..=255 - data))
        .prop_map(|(data, parity)| Code::new(data, parity).unwrap())
}

/// Sizes of up to several stripes, many of them near where something changes.
fn sizes() -> impl Strategy<Value = u64> {
    let units = (0..60u64, -2..=2i64)
        .prop_map(|(units, off)| (units * UNIT_MAX as u64).saturating_add_signed(off));
    let lines = (0..200u64, -2..=2i64)
        .prop_map(|(lines, off)| (lines * UNIT_ALIGN as u64).saturating_add_signed(off));
    prop_oneof![units, lines, 0..8_000_000u64]
}

fn huge_sizes() -> impl Strategy<Value = u64> {
    let ends = prop::sample::select(vec![0, 1, MAX_SIZE, u64::MAX]);
    prop_oneof![
        any::<u64>(),
        (0..64u32).prop_map(|bits| 1 << bits),
        (ends, 0..3u64).prop_map(|(end, off)| end.wrapping_sub(off)),
    ]
}

proptest! {
    #[test]
    fn data_units_in_order_are_the_object(size in sizes(), code in codes()) {
        let geometry = Geometry::new(size, code);
        let mut at = 0;
        for stripe in 0..geometry.stripes() {
            prop_assert_eq!(geometry.stripe_offset(stripe), at);
            let units = (0..code.data()).map(|chunk| geometry.unit_len(stripe, chunk));
            let len: usize = units.sum();
            prop_assert_eq!(geometry.stripe_len(stripe), len);
            prop_assert!(len > 0, "no stripe is empty");
            at += len as u64;
        }
        prop_assert_eq!(at, size);
        prop_assert_eq!(geometry.stripe_offset(geometry.stripes()), size);
    }

    #[test]
    fn every_stripe_but_the_last_is_full(size in sizes(), code in codes()) {
        let geometry = Geometry::new(size, code);
        for stripe in 0..geometry.stripes().saturating_sub(1) {
            prop_assert_eq!(geometry.stripe_len(stripe), geometry.stripe());
            for chunk in 0..code.width() {
                prop_assert_eq!(geometry.unit_len(stripe, chunk), geometry.unit());
            }
        }
    }

    #[test]
    fn units_of_a_stripe_never_grow_and_parity_is_as_long_as_the_first(
        size in sizes(),
        code in codes(),
    ) {
        let geometry = Geometry::new(size, code);
        let Some(last) = geometry.stripes().checked_sub(1) else { return Ok(()) };
        let lens: Vec<_> = (0..code.width()).map(|chunk| geometry.unit_len(last, chunk)).collect();
        let (data, parity) = lens.split_at(code.data());
        prop_assert!(data.is_sorted_by(|a, b| a >= b), "{:?}", data);
        prop_assert!(parity.iter().all(|&len| len == data[0]));
        prop_assert!(data[0] <= geometry.unit() && geometry.unit() <= UNIT_MAX);
    }

    #[test]
    fn a_chunk_is_the_sum_of_its_units(size in sizes(), code in codes()) {
        let geometry = Geometry::new(size, code);
        for chunk in 0..code.width() {
            let lens: Vec<_> =
                (0..geometry.stripes()).map(|stripe| geometry.unit_len(stripe, chunk)).collect();
            let units = geometry.chunk_units(chunk) as usize;
            prop_assert!(lens[..units].iter().all(|&len| len > 0));
            prop_assert!(lens[units..].iter().all(|&len| len == 0));
            prop_assert_eq!(geometry.chunk_len(chunk), lens.iter().sum::<usize>() as u64);
        }
        let stored: u64 = (0..code.width()).map(|chunk| geometry.chunk_len(chunk)).sum();
        prop_assert_eq!(geometry.stored(), stored);
    }

    #[test]
    fn a_range_is_in_the_stripes_that_hold_its_ends(
        size in sizes(),
        code in codes(),
        start in sizes(),
        end in sizes(),
    ) {
        let geometry = Geometry::new(size, code);
        let stripes = geometry.stripes_of(start..end);
        let end = end.min(size);
        if start >= end {
            prop_assert!(stripes.is_empty());
        } else {
            let bytes = |stripe| geometry.stripe_offset(stripe)..geometry.stripe_offset(stripe + 1);
            prop_assert!(bytes(stripes.start).contains(&start));
            prop_assert!(bytes(stripes.end - 1).contains(&(end - 1)));
        }
    }

    #[test]
    fn what_was_cut_before_the_size_was_known_stays(size in sizes(), code in codes()) {
        let unbounded = Geometry::unbounded(code);
        let known = unbounded.with_size(size);
        prop_assert_eq!(known, Geometry::new(size, code));
        for stripe in 0..(size / unbounded.stripe() as u64) as u32 {
            for chunk in 0..code.width() {
                prop_assert_eq!(known.unit_len(stripe, chunk), unbounded.unit_len(stripe, chunk));
            }
            prop_assert_eq!(known.stripe_offset(stripe), unbounded.stripe_offset(stripe));
        }
    }

    #[test]
    fn no_size_code_or_index_overflows(
        size in huge_sizes(),
        code in any_code(),
        stripe: u32,
        chunk in prop_oneof![0..256usize, Just(usize::MAX)],
        range: std::ops::Range<u64>,
    ) {
        for geometry in [Geometry::new(size, code), Geometry::unbounded(code)] {
            for stripe in [0, stripe, geometry.stripes(), u32::MAX] {
                let len = geometry.stripe_len(stripe);
                prop_assert_eq!(len == 0, stripe >= geometry.stripes());
                prop_assert!(geometry.stripe_offset(stripe) <= geometry.size());
                prop_assert!(geometry.unit_len(stripe, chunk) <= len);
            }
            prop_assert!(geometry.chunk_units(chunk) <= geometry.stripes());
            prop_assert!(geometry.chunk_len(chunk) <= geometry.size());
            let data: u64 = (0..code.data()).map(|chunk| geometry.chunk_len(chunk)).sum();
            prop_assert_eq!(data, geometry.size());
            prop_assert!(geometry.stored() >= geometry.size());
            prop_assert!(geometry.stripes_of(range.clone()).end <= geometry.stripes());
        }
        prop_assert_eq!(Geometry::new(size, code).size(), size.min(MAX_SIZE));
    }
}

#[test]
fn the_empty_object_has_no_stripe() {
    let geometry = Geometry::new(0, Code::new(10, 2).unwrap());
    assert_eq!(
        (geometry.unit(), geometry.stripe(), geometry.stripes()),
        (0, 0, 0)
    );
    assert_eq!((geometry.stored(), geometry.chunk_units(0)), (0, 0));
    assert_eq!(geometry.stripes_of(0..u64::MAX), 0..0);
}

#[test]
fn a_stripe_and_a_byte_is_two_stripes() {
    let code = Code::new(3, 2).unwrap();
    let stripe = 3 * UNIT_MAX as u64;
    let geometry = Geometry::new(stripe + 1, code);
    assert_eq!(geometry.stripes(), 2);
    let last: Vec<_> = (0..5).map(|chunk| geometry.unit_len(1, chunk)).collect();
    assert_eq!(last, [1, 0, 0, 1, 1]);
    assert_eq!(geometry.stored(), stripe / 3 * 5 + 3);
}

#[test]
fn a_small_object_is_cut_into_whole_lines() {
    let geometry = Geometry::new(1000, Code::new(3, 1).unwrap());
    assert_eq!(geometry.unit(), 384);
    let units: Vec<_> = (0..4).map(|chunk| geometry.unit_len(0, chunk)).collect();
    assert_eq!(units, [384, 384, 232, 384]);
}

#[test]
fn a_stripe_is_in_a_range_from_its_first_byte_to_its_last() {
    let code = Code::new(2, 1).unwrap();
    let stripe = 2 * UNIT_MAX as u64;
    let geometry = Geometry::new(3 * stripe - 5, code);
    let table = [
        (0..1, 0..1),
        (0..stripe, 0..1),
        (0..stripe + 1, 0..2),
        (stripe - 1..stripe, 0..1),
        (stripe - 1..stripe + 1, 0..2),
        (stripe..2 * stripe, 1..2),
        (3 * stripe - 6..u64::MAX, 2..3),
        (3 * stripe - 5..u64::MAX, 0..0),
    ];
    for (bytes, stripes) in table {
        assert_eq!(geometry.stripes_of(bytes.clone()), stripes, "{bytes:?}");
    }
}

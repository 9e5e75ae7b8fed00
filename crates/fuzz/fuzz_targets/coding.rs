//! Geometry and coding: an object of any size, cut by any code, survives any loss that its code tolerates.
//!
//! Layouts of all sizes add up without an overflow; every kernel computes the
//! same parity; any `k` chunks of a stripe give any others back.
#![no_main]

use std::{iter, ops::Range};

use infinicache_erasure::{Code, Coder, Geometry, Kernel, UNIT_MAX};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};

/// Largest object whose bytes are coded: a few full units.
const MOST_CODED: u64 = 3 * UNIT_MAX as u64;

/// Widest code that is solved: wider ones take milliseconds.
const MOST_WIDE: usize = 24;

#[derive(Arbitrary, Debug)]
struct Input {
    data: u8,
    parity: u8,
    size: u64,
    usable: u16,
    range: (u64, u64),
    stripe: u32,
    /// How many of the tolerable losses there are, and which.
    lost: u8,
    order: u64,
    noise: u64,
}

fuzz_target!(|input: Input| {
    let Ok(code) = Code::new(input.data.into(), input.parity.into()) else {
        return;
    };
    shrink(code, &input);
    layout(Geometry::new(input.size, code), &input);
    layout(Geometry::unbounded(code), &input);

    let geometry = Geometry::new(input.size % MOST_CODED, code);
    if code.width() <= MOST_WIDE && geometry.stripes() > 0 {
        // The last two: a full one, if there is one, and the one that is cut anew.
        let last = geometry.stripes() - 1;
        (last.saturating_sub(1)..=last).for_each(|stripe| code_stripe(geometry, stripe, &input));
    }
});

/// A code made for an object fits the pool and is no wider than the pool's.
fn shrink(code: Code, input: &Input) {
    let usable = usize::from(input.usable);
    match code.for_object(Some(input.size), usable) {
        None => assert_eq!(usable, 0),
        Some(fit) => {
            assert!(fit.width() <= usable);
            assert!(fit.data() <= code.data());
            assert_eq!(fit.parity(), code.parity().min(usable - 1));
        }
    }
}

/// What the parts add up to.
fn layout(geometry: Geometry, input: &Input) {
    let (code, stripes) = (geometry.code(), geometry.stripes());
    for stripe in [
        0,
        input.stripe,
        stripes.saturating_sub(1),
        stripes,
        u32::MAX,
    ] {
        let units = (0..code.data()).map(|chunk| geometry.unit_len(stripe, chunk));
        assert_eq!(units.sum::<usize>(), geometry.stripe_len(stripe));
        assert_eq!(geometry.unit_len(stripe, code.width()), 0);
        assert!(geometry.unit_len(stripe, 0) <= geometry.unit());
        let end = geometry.stripe_offset(stripe) + geometry.stripe_len(stripe) as u64;
        if let Some(next) = stripe.checked_add(1) {
            assert_eq!(geometry.stripe_offset(next), end);
        }
        assert_eq!(geometry.stripe_len(stripe) > 0, stripe < stripes);
    }
    assert!(geometry.unit() <= UNIT_MAX);
    let chunks = |range: Range<usize>| range.map(|chunk| geometry.chunk_len(chunk)).sum();
    let data: u64 = chunks(0..code.data());
    assert_eq!(data, geometry.size());
    let all: u64 = chunks(0..code.width());
    assert_eq!(all, geometry.stored());

    let (start, end) = input.range;
    let touched = geometry.stripes_of(start..end);
    let wanted = start..end.min(geometry.size());
    assert_eq!(touched.is_empty(), wanted.is_empty());
    if !touched.is_empty() {
        assert!(touched.end <= stripes);
        let covered = geometry.stripe_offset(touched.start)..geometry.stripe_offset(touched.end);
        assert!(covered.start <= wanted.start && wanted.end <= covered.end);
    }
}

/// Codes a stripe, loses as many chunks as may be lost and asks for some of them back.
fn code_stripe(geometry: Geometry, stripe: u32, input: &Input) {
    let code = geometry.code();
    let mut noise = noise(input.noise);
    let mut units: Vec<Vec<u8>> = (0..code.data())
        .map(|chunk| {
            noise
                .by_ref()
                .take(geometry.unit_len(stripe, chunk))
                .collect()
        })
        .collect();
    let parity = parity(Coder::new(code), &units);
    for kernel in Kernel::available() {
        assert!(
            parity == self::parity(Coder::with_kernel(code, kernel), &units),
            "{kernel:?}"
        );
    }
    units.extend(parity);
    for (chunk, unit) in units.iter().enumerate() {
        assert_eq!(unit.len(), geometry.unit_len(stripe, chunk));
    }

    let (have, gone) = split(code, input.order);
    let lost = &gone[..usize::from(input.lost) % (gone.len() + 1)];
    let reconstruction = Coder::new(code)
        .reconstruction(&have, lost)
        .expect("k chunks");
    let given: Vec<&[u8]> = have.iter().map(|&chunk| &units[chunk][..]).collect();
    let mut rebuilt: Vec<_> = lost
        .iter()
        .map(|&chunk| vec![0xee; units[chunk].len()])
        .collect();
    let mut out: Vec<&mut [u8]> = rebuilt.iter_mut().map(Vec::as_mut_slice).collect();
    reconstruction.run(&given, &mut out);
    for (&chunk, unit) in lost.iter().zip(rebuilt) {
        assert!(
            unit == units[chunk],
            "chunk {chunk} of {code} from {have:?}"
        );
    }
}

fn parity(coder: Coder, data: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut parity = vec![vec![0xee; data[0].len()]; coder.code().parity()];
    coder.encode(
        &data,
        &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
    );
    parity
}

/// All chunks, shuffled: `k` that are left and the others.
fn split(code: Code, order: u64) -> (Vec<usize>, Vec<usize>) {
    let mut chunks: Vec<usize> = (0..code.width()).collect();
    for (at, random) in (1..code.width()).zip(noise(order)) {
        chunks.swap(at, usize::from(random) % (at + 1));
    }
    let gone = chunks.split_off(code.data());
    (chunks, gone)
}

fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let next = |x: &u64| Some(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(9));
    iter::successors(Some(seed | 1), next)
        .skip(1)
        .map(|x| (x >> 56) as u8)
}

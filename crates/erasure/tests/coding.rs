//! Every kernel codes as the other library does, and every tolerable loss is undone.

use std::iter;

use infinicache_erasure::{Code, Coder, Geometry, Kernel};
use proptest::{collection::vec, prelude::*};
use reed_solomon_erasure::galois_8::ReedSolomon;

/// Bytes that differ from each other, without a generator's cost.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    iter::successors(Some(seed | 1), |x| {
        Some(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(9))
    })
    .skip(1)
    .map(|x| (x >> 56) as u8)
    .take(len)
    .collect()
}

fn slices(units: &[Vec<u8>]) -> Vec<&[u8]> {
    units.iter().map(Vec::as_slice).collect()
}

fn slices_mut(units: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    units.iter_mut().map(Vec::as_mut_slice).collect()
}

/// The parity of `data`, into buffers that held something else before.
fn parity(coder: &Coder, data: &[&[u8]]) -> Vec<Vec<u8>> {
    let longest = data.iter().map(|unit| unit.len()).max().unwrap();
    let mut parity = vec![vec![0xee; longest]; coder.code().parity()];
    coder.encode(data, &mut slices_mut(&mut parity));
    parity
}

/// What the other library makes of `data`, extended with zeros.
fn expected_parity(code: Code, data: &[&[u8]]) -> Vec<Vec<u8>> {
    let longest = data.iter().map(|unit| unit.len()).max().unwrap();
    let mut parity = vec![vec![0; longest]; code.parity()];
    if code.parity() > 0 && longest > 0 {
        let mut data: Vec<_> = data.iter().map(|unit| unit.to_vec()).collect();
        data.iter_mut().for_each(|unit| unit.resize(longest, 0));
        let reference = ReedSolomon::new(code.data(), code.parity()).unwrap();
        reference.encode_sep(&data, &mut parity).unwrap();
    }
    parity
}

/// All chunks of one stripe of the object that `noise` makes.
fn stripe(coder: &Coder, geometry: Geometry, stripe: u32) -> Vec<Vec<u8>> {
    let mut rest = &noise(geometry.stripe_len(stripe), u64::from(stripe))[..];
    let mut units = Vec::new();
    for chunk in 0..geometry.code().data() {
        let (unit, after) = rest.split_at(geometry.unit_len(stripe, chunk));
        units.push(unit.to_vec());
        rest = after;
    }
    let parity = parity(coder, &slices(&units));
    units.extend(parity);
    units
}

/// Loses the chunks `lost` of `units` and asks for them back.
fn assert_rebuilt(coder: &Coder, units: &[Vec<u8>], have: &[usize], lost: &[usize]) {
    let reconstruction = coder.reconstruction(have, lost).unwrap();
    let given: Vec<_> = reconstruction
        .have()
        .iter()
        .map(|&chunk| &units[chunk][..])
        .collect();
    let mut out: Vec<_> = lost
        .iter()
        .map(|&chunk| vec![0xee; units[chunk].len()])
        .collect();
    reconstruction.run(&given, &mut slices_mut(&mut out));
    let lengths: Vec<_> = lost.iter().map(|&chunk| units[chunk].len()).collect();
    assert!(reconstruction.rebuild(&given, &lengths) == out);
    for (chunk, out) in reconstruction.missing().iter().zip(out) {
        assert!(
            out == units[*chunk],
            "chunk {chunk} of {} from {have:?}",
            coder.code()
        );
    }
}

fn codes() -> impl Strategy<Value = Code> {
    (1..=14usize, 0..=6usize).prop_map(|(data, parity)| Code::new(data, parity).unwrap())
}

/// A code, data units of their own lengths, and how far each is off alignment.
fn ragged() -> impl Strategy<Value = (Code, Vec<Vec<u8>>, usize)> {
    let unit = (0..400usize, any::<u64>()).prop_map(|(len, seed)| noise(len, seed));
    codes().prop_flat_map(move |code| (Just(code), vec(unit.clone(), code.data()), 0..70usize))
}

proptest! {
    #[test]
    fn every_kernel_codes_as_the_other_library_does((code, units, skip) in ragged()) {
        let data: Vec<_> = units.iter().map(|unit| &unit[skip.min(unit.len())..]).collect();
        let expected = expected_parity(code, &data);
        for kernel in Kernel::available() {
            let coder = Coder::with_kernel(code, kernel);
            prop_assert_eq!(&parity(&coder, &data), &expected, "{:?}", kernel);
            prop_assert_eq!(&coder.parity(&data), &expected, "{:?}", kernel);
        }
    }

    #[test]
    fn even_units_at_odd_addresses_code_alike(
        code in codes(),
        len in prop_oneof![0..300usize, 4000..4200usize],
        skip in 0..65usize,
        seed: u64,
    ) {
        let bytes: Vec<_> = (0..code.data()).map(|i| noise(skip + i + len, seed ^ i as u64)).collect();
        let data: Vec<_> = bytes.iter().enumerate().map(|(i, unit)| &unit[skip + i..]).collect();
        let expected = expected_parity(code, &data);
        for kernel in Kernel::available() {
            let mut room = vec![vec![0xee; skip + len + 64]; code.parity()];
            let mut out: Vec<_> = room.iter_mut().map(|room| &mut room[skip..skip + len]).collect();
            Coder::with_kernel(code, kernel).encode(&data, &mut out);
            for (room, expected) in room.iter().zip(&expected) {
                prop_assert_eq!(&room[skip..skip + len], &expected[..], "{:?}", kernel);
                let around = room[..skip].iter().chain(&room[skip + len..]);
                prop_assert!(around.copied().all(|byte| byte == 0xee), "nothing else is written");
            }
        }
    }

    #[test]
    fn any_k_chunks_of_any_object_give_the_others(
        code in codes(),
        size in prop_oneof![1..3000u64, 1..3_000_000u64],
        shuffled in Just((0..20usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let order: Vec<_> = shuffled.into_iter().filter(|&chunk| chunk < code.width()).collect();
        let (have, lost) = order.split_at(code.data());
        let geometry = Geometry::new(size, code);
        for kernel in Kernel::available() {
            let coder = Coder::with_kernel(code, kernel);
            let last = stripe(&coder, geometry, geometry.stripes() - 1);
            assert_rebuilt(&coder, &last, have, lost);
        }
    }
}

#[test]
fn every_loss_that_a_code_tolerates_is_undone() {
    for code in ["10+2", "4+2", "1+2", "3+3"] {
        let code: Code = code.parse().unwrap();
        // A stripe whose data units are three full lines, part of one, and none.
        let geometry = Geometry::new(192 * (code.data() as u64 - 1) + 17, code);
        for kernel in Kernel::available() {
            let coder = Coder::with_kernel(code, kernel);
            let units = stripe(&coder, geometry, 0);
            for losses in 0_u32..1 << code.width() {
                if losses.count_ones() as usize > code.parity() {
                    continue;
                }
                let (lost, have): (Vec<_>, Vec<_>) =
                    (0..code.width()).partition(|chunk| losses >> chunk & 1 == 1);
                assert_rebuilt(&coder, &units, &have, &lost);
            }
        }
    }
}

#[test]
fn the_order_in_which_chunks_arrive_does_not_matter() {
    let coder = Coder::new("4+2".parse().unwrap());
    let units = stripe(&coder, Geometry::new(900, coder.code()), 0);
    assert_rebuilt(&coder, &units, &[5, 0, 4, 2], &[3, 1]);
    assert_rebuilt(&coder, &units, &[5, 0, 4, 2], &[1]);
    assert_rebuilt(&coder, &units, &[5, 4, 3, 2, 1], &[0]);
}

#[test]
fn the_widest_codes_code() {
    for (data, parity) in [(1, 254), (254, 1), (128, 127)] {
        let coder = Coder::new(Code::new(data, parity).unwrap());
        let units = stripe(&coder, Geometry::new(data as u64 * 64, coder.code()), 0);
        assert_eq!(
            units[data..],
            expected_parity(coder.code(), &slices(&units[..data]))
        );
        let lost: Vec<_> = (0..data.min(parity)).collect();
        let have: Vec<_> = (lost.len()..data + parity).collect();
        assert_rebuilt(&coder, &units, &have, &lost);
    }
}

#[test]
fn losing_everything_but_copies_is_a_copy() {
    let coder = Coder::new("1+2".parse().unwrap());
    assert_rebuilt(&coder, &vec![b"value".to_vec(); 3], &[2], &[0, 1]);
}

//! What a kernel must compute before it is used: known answers, on this very CPU.
//!
//! Tests hold kernels to the field wherever they run. But a kernel for a CPU that
//! no test has met must not be the first to code somebody's values.

use std::iter;

use super::{Kernel, Room, room};

/// Lengths around those at which kernels turn from one way of working to the
/// next. The longest is two blocks of the widest kernel, single vectors after
/// them, and a part of one.
const LENGTHS: [usize; 12] = [
    0,
    1,
    15,
    16,
    31,
    33,
    63,
    64,
    65,
    257,
    513,
    2 * 256 + 3 * 64 + 17,
];

/// Whether `kernel` computes what the portable kernel does.
///
/// It is asked for every product of two bytes, and for each of [`LENGTHS`] with
/// more and fewer outputs than are computed together.
pub(super) fn passes(kernel: Kernel) -> bool {
    let all: Vec<u8> = (0..=255).collect();
    agrees(kernel, &all, &[&all[..]])
        && LENGTHS.iter().all(|&length| {
            let inputs = [1, 2, 3].map(|seed| noise(seed, length));
            let inputs = inputs.each_ref().map(Vec::as_slice);
            (1..=5).all(|outputs| agrees(kernel, &noise(4, outputs * inputs.len()), &inputs))
        })
}

fn agrees(kernel: Kernel, coefficients: &[u8], inputs: &[&[u8]]) -> bool {
    let dot = |kernel: Kernel| {
        let mut outputs = vec![vec![0xee; inputs[0].len()]; coefficients.len() / inputs.len()];
        let mut rooms: Vec<&mut Room> = outputs.iter_mut().map(|output| room(output)).collect();
        kernel.run(coefficients, inputs, &mut rooms);
        outputs
    };
    dot(kernel) == dot(Kernel::SCALAR)
}

/// Bytes that differ from each other.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let next = |x: &u64| Some(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(9));
    iter::successors(Some(seed), next)
        .skip(2)
        .map(|x| (x >> 56) as u8)
        .take(length)
        .collect()
}

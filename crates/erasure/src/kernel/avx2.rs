//! The kernel for AVX2: products by two look-ups in registers, 32 bytes at once.
//!
//! A byte is the sum of its halves, so its product with a coefficient is the sum
//! of theirs, and the sixteen products of a half fit one vector, in which the
//! shuffle instruction looks up 32 of them at a time.
//!
//! Four outputs are computed together, as many as there are registers to sum in,
//! a cache line of each at a time. A last block that is not whole is moved back
//! over bytes already done: outputs are never read, so that writes them again as
//! they were.

#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::arch::x86_64::*;

use super::portable::{self, product};

/// Bytes at a time: two vectors of each input and output.
const BLOCK: usize = 64;

/// The products of one coefficient with the low and with the high half of a byte.
#[repr(C, align(32))]
struct Halves {
    low: [u8; 16],
    high: [u8; 16],
}

/// For each coefficient. 8 KiB, of which a code's few lines stay in the cache.
static HALVES: [Halves; 256] = {
    let mut halves = [const {
        Halves {
            low: [0; 16],
            high: [0; 16],
        }
    }; 256];
    let mut coefficient = 0;
    while coefficient < 256 {
        let mut half = 0;
        while half < 16 {
            let halves = &mut halves[coefficient];
            halves.low[half] = product(coefficient as u8, half as u8);
            halves.high[half] = product(coefficient as u8, (half << 4) as u8);
            half += 1;
        }
        coefficient += 1;
    }
    halves
};

/// See [`Kernel::dot`](super::Kernel), which checks the lengths.
#[target_feature(enable = "avx2")]
pub(super) fn dot(coefficients: &[u8], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
    let columns = inputs.len();
    if outputs.iter().any(|output| output.len() < BLOCK) {
        return portable::dot(coefficients, inputs, outputs);
    }
    for (rows, outputs) in coefficients.chunks(4 * columns).zip(outputs.chunks_mut(4)) {
        match outputs {
            [a] => fused(rows, inputs, [a]),
            [a, b] => fused(rows, inputs, [a, b]),
            [a, b, c] => fused(rows, inputs, [a, b, c]),
            [a, b, c, d] => fused(rows, inputs, [a, b, c, d]),
            _ => unreachable!("chunks of at most four"),
        }
    }
}

/// Computes `R` outputs of at least a block in one pass over the inputs.
#[target_feature(enable = "avx2")]
fn fused<const R: usize>(rows: &[u8], inputs: &[&[u8]], mut outputs: [&mut [u8]; R]) {
    let len = outputs[0].len();
    let last = len - BLOCK;
    let mut at = 0;
    loop {
        let sums = sums::<R>(rows, inputs, at);
        for (output, [low, high]) in outputs.iter_mut().zip(sums) {
            let block = output[at..]
                .first_chunk_mut::<BLOCK>()
                .expect("at is at most last");
            let block = block.as_mut_ptr().cast::<__m256i>();
            // SAFETY: the block has room for two vectors; neither needs alignment.
            unsafe {
                _mm256_storeu_si256(block, low);
                _mm256_storeu_si256(block.add(1), high);
            }
        }
        if at == last {
            return;
        }
        at = (at + BLOCK).min(last);
    }
}

/// The `R` weighted sums of the blocks at `at` of all inputs.
#[inline]
#[target_feature(enable = "avx2")]
fn sums<const R: usize>(rows: &[u8], inputs: &[&[u8]], at: usize) -> [[__m256i; 2]; R] {
    let nibble = _mm256_set1_epi8(0x0f);
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for (column, input) in inputs.iter().enumerate() {
        let block = input[at..]
            .first_chunk::<BLOCK>()
            .expect("inputs are as long as outputs");
        let block = block.as_ptr().cast::<__m256i>();
        // SAFETY: the block is two vectors; neither needs alignment.
        let bytes = unsafe { [_mm256_loadu_si256(block), _mm256_loadu_si256(block.add(1))] };
        // Spelt out: a closure given to `map` would not be inlined, for `map` lacks the feature.
        let low = [
            _mm256_and_si256(bytes[0], nibble),
            _mm256_and_si256(bytes[1], nibble),
        ];
        let high = [
            _mm256_and_si256(_mm256_srli_epi64::<4>(bytes[0]), nibble),
            _mm256_and_si256(_mm256_srli_epi64::<4>(bytes[1]), nibble),
        ];

        for (row, sums) in sums.iter_mut().enumerate() {
            let halves = &HALVES[usize::from(rows[row * inputs.len() + column])];
            let (of_low, of_high) = (both_lanes(&halves.low), both_lanes(&halves.high));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_xor_si256(*sum, _mm256_shuffle_epi8(of_low, low[i]));
                *sum = _mm256_xor_si256(*sum, _mm256_shuffle_epi8(of_high, high[i]));
            }
        }
    }
    sums
}

/// A vector with `table` in each of its lanes, in which shuffles look up apart.
#[inline]
#[target_feature(enable = "avx2")]
fn both_lanes(table: &[u8; 16]) -> __m256i {
    // SAFETY: the table is one vector of 16 bytes, which needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

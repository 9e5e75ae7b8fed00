//! The kernel for AVX2: products by two look-ups in registers, 32 bytes at once.
//!
//! A byte is the sum of its halves, so its product with a coefficient is the sum
//! of theirs, and the sixteen products of a half fit one vector, in which the
//! shuffle instruction looks up 32 of them at a time.

#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::{arch::x86_64::*, mem::MaybeUninit};

use super::{
    fused::fused,
    halves::{HALVES, Halves},
};

const WIDTH: usize = 32;

type Vector = __m256i;

/// The products of a coefficient, and the low and high halves of bytes.
type Factor = &'static Halves;
type Parts = [__m256i; 2];

fused! { features: "avx2", blocks: [8, 4, 3, 2] }

#[inline]
#[target_feature(enable = "avx2")]
fn zero() -> Vector {
    _mm256_setzero_si256()
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; WIDTH]) -> Vector {
    // SAFETY: as many bytes as the vector has, which needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(room: &mut [MaybeUninit<u8>; WIDTH], vector: Vector) {
    // SAFETY: as many bytes as the vector has, which needs no alignment.
    unsafe { _mm256_storeu_si256(room.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn parts(bytes: Vector) -> Parts {
    let nibble = _mm256_set1_epi8(0x0f);
    [
        _mm256_and_si256(bytes, nibble),
        _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), nibble),
    ]
}

#[inline]
fn factor(coefficient: u8) -> Factor {
    &HALVES[usize::from(coefficient)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn plus_product(sum: Vector, of: Factor, [low, high]: Parts) -> Vector {
    let low = _mm256_shuffle_epi8(both_lanes(&of.low), low);
    let high = _mm256_shuffle_epi8(both_lanes(&of.high), high);
    _mm256_xor_si256(_mm256_xor_si256(sum, low), high)
}

/// A vector with `table` in each of its lanes, in which shuffles look up apart.
#[inline]
#[target_feature(enable = "avx2")]
fn both_lanes(table: &[u8; 16]) -> __m256i {
    // SAFETY: the table is one vector of 16 bytes, which needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

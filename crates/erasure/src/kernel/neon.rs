//! The kernel for NEON: products by two look-ups in registers, 16 bytes at once.
//!
//! As in `avx2`. A table of sixteen products is one vector.

#![allow(unsafe_code, reason = "vectors are loaded and stored through pointers")]

use std::{arch::aarch64::*, mem::MaybeUninit};

use super::{fused::fused, halves::HALVES};

const WIDTH: usize = 16;

type Vector = uint8x16_t;

/// The products of a coefficient with low and with high halves, and those halves of bytes.
type Factor = [uint8x16_t; 2];
type Parts = [uint8x16_t; 2];

fused! { features: "neon", blocks: [4, 4, 4, 4] }

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Vector {
    vdupq_n_u8(0)
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; WIDTH]) -> Vector {
    // SAFETY: as many bytes as the vector has, which needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(room: &mut [MaybeUninit<u8>; WIDTH], vector: Vector) {
    // SAFETY: as many bytes as the vector has, which needs no alignment.
    unsafe { vst1q_u8(room.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "neon")]
fn parts(bytes: Vector) -> Parts {
    [vandq_u8(bytes, vdupq_n_u8(0x0f)), vshrq_n_u8::<4>(bytes)]
}

#[inline]
#[target_feature(enable = "neon")]
fn factor(coefficient: u8) -> Factor {
    let halves = &HALVES[usize::from(coefficient)];
    [load(&halves.low), load(&halves.high)]
}

#[inline]
#[target_feature(enable = "neon")]
fn plus_product(sum: Vector, [of_low, of_high]: Factor, [low, high]: Parts) -> Vector {
    veorq_u8(
        veorq_u8(sum, vqtbl1q_u8(of_low, low)),
        vqtbl1q_u8(of_high, high),
    )
}

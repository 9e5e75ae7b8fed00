//! The kernels for GFNI: a product is a matrix of bits times a vector of bits.
//!
//! Multiplying by a coefficient is linear over the bits of a byte, so it is a
//! matrix of 8 by 8 bits, and `GF2P8AFFINEQB` applies one to each byte of a
//! vector: 64 products by one instruction. Its sibling `GF2P8MULB` multiplies
//! bytes, but in the field of AES, which is another one.
//!
//! The same instruction is there for vectors of 32 bytes, on CPUs that have AVX2
//! and GFNI but not AVX-512.

#![cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "vectors are loaded and stored through pointers")
)]

use super::portable::product;

/// For each coefficient its matrix, as the instruction wants it: byte `7 - i`
/// has the bits of the input that add up to bit `i` of the output.
static MATRICES: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut coefficient = 0;
    while coefficient < 256 {
        matrices[coefficient] = matrix(coefficient as u8);
        coefficient += 1;
    }
    matrices
};

const fn matrix(coefficient: u8) -> u64 {
    let mut matrix = [0; 8];
    let mut input = 0;
    while input < 8 {
        let product = product(coefficient, 1 << input);
        let mut output = 0;
        while output < 8 {
            matrix[7 - output] |= (product >> output & 1) << input;
            output += 1;
        }
        input += 1;
    }
    u64::from_le_bytes(matrix)
}

/// The kernel of one width of vector.
#[cfg(target_arch = "x86_64")]
macro_rules! gfni {
    (
        $features:literal, $width:literal, $vector:ident, blocks: $blocks:tt,
        $zero:ident, $load:ident, $store:ident, $set1:ident, $affine:ident, $xor:ident
    ) => {
        use std::{arch::x86_64::*, mem::MaybeUninit};

        use crate::kernel::{fused::fused, gfni::MATRICES};

        const WIDTH: usize = $width;

        type Vector = $vector;
        type Factor = $vector;
        type Parts = $vector;

        fused! { features: $features, blocks: $blocks }

        #[inline]
        #[target_feature(enable = $features)]
        fn zero() -> Vector {
            $zero()
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn load(bytes: &[u8; WIDTH]) -> Vector {
            // SAFETY: as many bytes as the vector has, which needs no alignment.
            unsafe { $load(bytes.as_ptr().cast()) }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn store(room: &mut [MaybeUninit<u8>; WIDTH], vector: Vector) {
            // SAFETY: as many bytes as the vector has, which needs no alignment.
            unsafe { $store(room.as_mut_ptr().cast(), vector) }
        }

        #[inline]
        fn parts(bytes: Vector) -> Parts {
            bytes
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn factor(coefficient: u8) -> Factor {
            $set1(MATRICES[usize::from(coefficient)].cast_signed())
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn plus_product(sum: Vector, factor: Factor, bytes: Parts) -> Vector {
            $xor(sum, $affine::<0>(bytes, factor))
        }
    };
}

/// 32 bytes at once, and 16 registers.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    gfni! {
        "avx2,gfni", 32, __m256i, blocks: [8, 4, 2, 2],
        _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi64x,
        _mm256_gf2p8affine_epi64_epi8, _mm256_xor_si256
    }
}

/// 64 bytes at once, and 32 registers.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    gfni! {
        "avx512f,gfni", 64, __m512i, blocks: [4, 4, 4, 4],
        _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi64,
        _mm512_gf2p8affine_epi64_epi8, _mm512_xor_si512
    }
}

#[cfg(test)]
mod tests {
    use reed_solomon_erasure::galois_8::mul;

    use super::*;

    /// What `GF2P8AFFINEQB` does to one byte, as its definition says, the constant being zero.
    fn affine(matrix: u64, byte: u8) -> u8 {
        let matrix = matrix.to_le_bytes();
        (0..8)
            .map(|bit| ((matrix[7 - bit] & byte).count_ones() as u8 & 1) << bit)
            .sum()
    }

    #[test]
    fn the_order_of_bits_is_that_of_the_instruction() {
        // The two matrices that are found in print: of the identity, and of the order of bits
        // turned round.
        for byte in 0..=255 {
            assert_eq!(affine(0x0102_0408_1020_4080, byte), byte);
            assert_eq!(affine(0x8040_2010_0804_0201, byte), byte.reverse_bits());
        }
        assert_eq!(MATRICES[1], 0x0102_0408_1020_4080);
    }

    #[test]
    fn matrices_multiply_in_the_field_of_the_code() {
        for coefficient in 0..=255 {
            for byte in 0..=255 {
                let product = affine(MATRICES[usize::from(coefficient)], byte);
                assert_eq!(product, mul(coefficient, byte), "{coefficient} * {byte}");
            }
        }
    }
}

//! The kernel for any CPU: Horner's rule over the bits of the coefficients.
//!
//! A product is a sum of the input doubled once for each bit of the coefficient,
//! and doubling is linear, so the inputs can be summed first and doubled
//! together:
//!
//! ```text
//! sum of c * x  =  2(... 2(2 B7 + B6) + ...) + B0     Bi = sum of the x whose c has bit i
//! ```
//!
//! That takes eight doublings an output however many inputs there are, and no
//! tables, which the compiler turns into vector code for whatever it builds for.

use std::mem::MaybeUninit;

use super::room::Room;

/// Bytes at a time: enough to keep vector registers busy, few enough to stay in
/// them.
const BLOCK: usize = 64;

/// See [`Kernel::dot`](super::Kernel), which checks the lengths.
pub(super) fn dot(coefficients: &[u8], inputs: &[&[u8]], outputs: &mut [&mut Room]) {
    for (row, output) in coefficients.chunks_exact(inputs.len()).zip(outputs) {
        let (blocks, _) = output.as_chunks_mut::<BLOCK>();
        for (i, block) in blocks.iter_mut().enumerate() {
            *block = sum::<BLOCK>(row, inputs, i * BLOCK).map(MaybeUninit::new);
        }
        let done = blocks.len() * BLOCK;
        for (i, byte) in output.iter_mut().enumerate().skip(done) {
            let [sum] = sum(row, inputs, i);
            byte.write(sum);
        }
    }
}

/// The weighted sum of the `N` bytes at `at` of each input.
fn sum<const N: usize>(row: &[u8], inputs: &[&[u8]], at: usize) -> [u8; N] {
    let mut sum = [0; N];
    for bit in (0..8).rev() {
        sum = sum.map(double);
        for (coefficient, input) in row.iter().zip(inputs) {
            if coefficient >> bit & 1 == 1 {
                let block = &input[at..at + N];
                sum.iter_mut()
                    .zip(block)
                    .for_each(|(sum, byte)| *sum ^= byte);
            }
        }
    }
    sum
}

/// Twice `x` in the field: the bit shifted out comes back as the polynomial.
const fn double(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 == 0 { 0 } else { 0x1d }
}

/// `a` times `b` in the field, for tables made at compile time.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
pub(super) const fn product(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_that_of_the_other_library() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(
                    product(a, b),
                    reed_solomon_erasure::galois_8::mul(a, b),
                    "{a} * {b}"
                );
            }
        }
    }
}

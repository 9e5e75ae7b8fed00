//! The loop that all vector kernels share: a block of every input at a time, for
//! up to four outputs whose sums stay in registers.
//!
//! ```text
//! input   |#### #### #### ####|#### #### #### ####|####|####|##
//!          block               block               vectors
//!                                                         |####|  the last, moved back
//! ```
//!
//! What is left after the last whole block is done by single vectors. A last
//! vector that is not whole is moved back over bytes already done: outputs are
//! never read, so that writes them again as they were.
//!
//! It is a macro because functions that are generic over a trait cannot be
//! compiled for the instructions that only some of its types need. A module that
//! uses it has
//!
//! - `Vector`, of `WIDTH` bytes, with `load`, `store`, `zero`;
//! - `Parts`: what `parts` makes of a vector, for all coefficients;
//! - `Factor`: what `factor` looks up for a coefficient, for all vectors;
//! - `plus_product`: a sum plus the product of the two.

/// Defines `dot` with the instructions `features`. For one, two, three and four
/// outputs a block is as many vectors of each input as `blocks` says.
macro_rules! fused {
    (
        features: $features:literal,
        blocks: [$one:literal, $two:literal, $three:literal, $four:literal]
    ) => {
        /// See [`Kernel::dot`](crate::Kernel), which checks the lengths.
        #[target_feature(enable = $features)]
        pub(in crate::kernel) fn dot(
            coefficients: &[u8],
            inputs: &[&[u8]],
            outputs: &mut [&mut $crate::kernel::room::Room],
        ) {
            if outputs.iter().any(|output| output.len() < WIDTH) {
                return $crate::kernel::portable::dot(coefficients, inputs, outputs);
            }
            let columns = inputs.len();
            for (rows, outputs) in coefficients.chunks(4 * columns).zip(outputs.chunks_mut(4)) {
                match outputs {
                    [a] => fused::<1, $one>(rows, inputs, [a]),
                    [a, b] => fused::<2, $two>(rows, inputs, [a, b]),
                    [a, b, c] => fused::<3, $three>(rows, inputs, [a, b, c]),
                    [a, b, c, d] => fused::<4, $four>(rows, inputs, [a, b, c, d]),
                    _ => unreachable!("chunks of at most four"),
                }
            }
        }

        /// Computes `R` outputs of at least a vector in one pass over the inputs,
        /// `N` vectors at a time.
        #[target_feature(enable = $features)]
        fn fused<const R: usize, const N: usize>(
            rows: &[u8],
            inputs: &[&[u8]],
            mut outputs: [&mut $crate::kernel::room::Room; R],
        ) {
            let len = outputs[0].len();
            let mut at = 0;
            while len - at >= N * WIDTH {
                block::<R, N>(rows, inputs, &mut outputs, at);
                at += N * WIDTH;
            }
            while at < len {
                let whole = at.min(len - WIDTH);
                block::<R, 1>(rows, inputs, &mut outputs, whole);
                at = whole + WIDTH;
            }
        }

        /// Computes the `N` vectors at `at` of `R` outputs.
        #[inline]
        #[target_feature(enable = $features)]
        fn block<const R: usize, const N: usize>(
            rows: &[u8],
            inputs: &[&[u8]],
            outputs: &mut [&mut $crate::kernel::room::Room; R],
            at: usize,
        ) {
            let span = at..at + N * WIDTH;
            let mut sums = [[zero(); N]; R];
            for (column, input) in inputs.iter().enumerate() {
                let (vectors, _) = input[span.clone()].as_chunks::<WIDTH>();
                // Either all factors are in registers or all parts: whichever are fewer.
                // Loops, not closures given to `map`, which lacks the features.
                if R <= N {
                    let mut factors = [factor(0); R];
                    for (row, of_row) in factors.iter_mut().enumerate() {
                        *of_row = factor(rows[row * inputs.len() + column]);
                    }
                    for (i, vector) in vectors.iter().enumerate() {
                        let parts = parts(load(vector));
                        for (sums, factor) in sums.iter_mut().zip(factors) {
                            sums[i] = plus_product(sums[i], factor, parts);
                        }
                    }
                } else {
                    let mut all = [parts(zero()); N];
                    for (of_vector, vector) in all.iter_mut().zip(vectors) {
                        *of_vector = parts(load(vector));
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let factor = factor(rows[row * inputs.len() + column]);
                        for (sum, parts) in sums.iter_mut().zip(all) {
                            *sum = plus_product(*sum, factor, parts);
                        }
                    }
                }
            }
            for (output, sums) in outputs.iter_mut().zip(sums) {
                let (vectors, _) = output[span.clone()].as_chunks_mut::<WIDTH>();
                for (vector, sum) in vectors.iter_mut().zip(sums) {
                    store(vector, sum);
                }
            }
        }
    };
}

pub(super) use fused;

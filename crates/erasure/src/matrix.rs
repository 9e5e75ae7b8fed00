//! A matrix over GF(2^8) times a stripe, whose units need not be of one length.
//!
//! Kernels want slices of one length. The units of a last stripe are longer and
//! shorter, and count as zero-extended: a shorter unit adds nothing beyond its
//! end. So the stripe is cut at every end of a unit into spans, and in each span
//! the product is that of the columns and rows that reach it.
//!
//! ```text
//! unit 0   ########|###|####
//! unit 1   ########|###|
//! unit 2   ########|   |
//!           span 0   1   2      of 3, 2 and 1 columns
//! ```

use std::ops::Range;

use crate::kernel::{
    Kernel,
    room::{Room, fresh, room},
};

/// Coefficients, a row for each unit computed and a column for each unit given.
#[derive(Debug)]
pub(crate) struct Matrix {
    columns: usize,
    coefficients: Vec<u8>,
}

impl Matrix {
    /// The matrix of `rows`, each of `columns` coefficients.
    pub(crate) fn new<'a>(columns: usize, rows: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let coefficients: Vec<u8> = rows.into_iter().flatten().copied().collect();
        debug_assert_eq!(coefficients.len() % columns, 0);
        Self {
            columns,
            coefficients,
        }
    }

    /// The rows of the identity matrix. As units, they make a code show its own
    /// coefficients.
    pub(crate) fn identity(columns: usize) -> Vec<Vec<u8>> {
        (0..columns)
            .map(|column| (0..columns).map(|c| u8::from(c == column)).collect())
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.coefficients.chunks_exact(self.columns)
    }

    /// Overwrites `outputs` with the matrix times `inputs`.
    ///
    /// # Panics
    ///
    /// If there is not one input a column and one output a row.
    pub(crate) fn apply(&self, kernel: Kernel, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        let mut outputs: Vec<&mut Room> = outputs.iter_mut().map(|output| room(output)).collect();
        self.write(kernel, inputs, &mut outputs);
    }

    /// The matrix times `inputs`, as units of these lengths.
    ///
    /// # Panics
    ///
    /// As [`apply`](Self::apply).
    #[allow(unsafe_code, reason = "the units are not initialised before")]
    pub(crate) fn product(
        &self,
        kernel: Kernel,
        inputs: &[&[u8]],
        lengths: &[usize],
    ) -> Vec<Vec<u8>> {
        // SAFETY: `write` initialises all outputs.
        unsafe { fresh(lengths, |outputs| self.write(kernel, inputs, outputs)) }
    }

    /// Writes every byte of `outputs`, whatever they held before: spans meet, and
    /// the last one ends with the longest unit.
    fn write(&self, kernel: Kernel, inputs: &[&[u8]], outputs: &mut [&mut Room]) {
        assert_eq!(inputs.len(), self.columns, "one unit for each column");
        assert_eq!(
            outputs.len() * self.columns,
            self.coefficients.len(),
            "one unit for each row"
        );

        let ends = ends(inputs, outputs);
        if let [_] = ends[..] {
            // The usual stripe: one span of all columns and rows.
            return kernel.dot(&self.coefficients, inputs, outputs);
        }
        let mut start = 0;
        for end in ends {
            self.write_span(kernel, start..end, inputs, outputs);
            start = end;
        }
    }

    /// Does what [`write`](Self::write) does for the bytes of `span`, in which no
    /// unit ends.
    fn write_span(
        &self,
        kernel: Kernel,
        span: Range<usize>,
        inputs: &[&[u8]],
        outputs: &mut [&mut Room],
    ) {
        let reaches = |input: &&[u8]| input.len() >= span.end;
        let mut coefficients = Vec::with_capacity(self.coefficients.len());
        let mut output_spans = Vec::with_capacity(outputs.len());
        for (row, output) in self.coefficients.chunks_exact(self.columns).zip(outputs) {
            if let Some(output) = output.get_mut(span.clone()) {
                let reached = row.iter().zip(inputs).filter(|(_, input)| reaches(input));
                coefficients.extend(reached.map(|(coefficient, _)| coefficient));
                output_spans.push(output);
            }
        }
        let input_spans: Vec<_> = inputs
            .iter()
            .filter_map(|input| input.get(span.clone()))
            .collect();
        kernel.dot(&coefficients, &input_spans, &mut output_spans);
    }
}

/// Where units end, ascending.
fn ends(inputs: &[&[u8]], outputs: &[&mut Room]) -> Vec<usize> {
    let inputs = inputs.iter().map(|input| input.len());
    let outputs = outputs.iter().map(|output| output.len());
    let mut ends: Vec<_> = inputs.chain(outputs).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_zero_beyond_all_that_they_are_computed_from() {
        let matrix = Matrix::new(2, [&[1, 2][..], &[0, 3]]);
        for kernel in Kernel::available() {
            let units = matrix.product(kernel, &[&[1, 1, 1], &[1]], &[5, 2]);
            assert_eq!(units, [vec![3, 1, 1, 0, 0], vec![3, 0]]);
        }
    }
}

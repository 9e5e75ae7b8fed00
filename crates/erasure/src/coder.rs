//! Parity from data.

use std::sync::{Arc, Mutex, PoisonError};

use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::{
    code::Code, error::CodeError, kernel::Kernel, matrix::Matrix, reconstruction::Reconstruction,
};

/// Most coders kept for reuse. A pool has one code, and objects of it as many
/// data chunks as that or fewer, so a process meets a dozen or two.
const KEPT: usize = 64;

/// Computes the parity of one code, and prepares its reconstructions.
///
/// The code is the systematic Vandermonde code of [`reed_solomon_erasure`], over
/// the field of the polynomial 0x11d; its bytes are those of Go's
/// klauspost/reedsolomon. Cheap to clone, and to make again for a code that the
/// process has met.
#[derive(Clone, Debug)]
pub struct Coder(Arc<CoderInner>);

#[derive(Debug)]
struct CoderInner {
    code: Code,
    kernel: Kernel,
    /// From the data units to the parity units.
    parity: Matrix,
    /// Solves for missing chunks; codes without parity have nothing to solve.
    solver: Option<ReedSolomon>,
}

impl Coder {
    /// The coder of `code`, with the fastest kernel of this machine.
    pub fn new(code: Code) -> Self {
        static MADE: Mutex<Vec<Coder>> = Mutex::new(Vec::new());

        let made = || MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(coder) = made().iter().find(|coder| coder.code() == code) {
            return coder.clone();
        }
        // Without the lock: a wide code takes milliseconds.
        let coder = Self::with_kernel(code, Kernel::detect());
        let mut made = made();
        if made.len() == KEPT {
            made.remove(0);
        }
        made.push(coder.clone());
        coder
    }

    /// A new coder of `code` that uses `kernel`.
    pub fn with_kernel(code: Code, kernel: Kernel) -> Self {
        let solver = (code.parity() > 0).then(|| {
            ReedSolomon::new(code.data(), code.parity()).expect("codes are within its limits")
        });
        let rows = solver.as_ref().map_or_else(Vec::new, |solver| {
            // Byte i of these data units together is the unit vector i, so byte i of
            // a parity unit is coefficient i of its row.
            let mut rows = vec![vec![0; code.data()]; code.parity()];
            let units = Matrix::identity(code.data());
            solver
                .encode_sep(&units, &mut rows)
                .expect("as many units as the code has");
            rows
        });
        let parity = Matrix::new(code.data(), rows.iter().map(Vec::as_slice));
        Self(Arc::new(CoderInner {
            code,
            kernel,
            parity,
            solver,
        }))
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Computes all parity units of a stripe.
    ///
    /// Data units may be shorter than the stripe's longest, even empty; parity
    /// units are as long as that. What they held before does not matter.
    ///
    /// # Panics
    ///
    /// If there are not as many units as the code has, or a parity unit is not as
    /// long as the longest data unit.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        let longest = data.iter().map(|unit| unit.len()).max().unwrap_or(0);
        assert!(
            parity.iter().all(|unit| unit.len() == longest),
            "parity units are as long as the longest data unit"
        );
        self.0.parity.apply(self.0.kernel, data, parity);
    }

    /// All parity units of a stripe, in memory that is written only once.
    ///
    /// Does what [`encode`](Self::encode) does, without zeroing units first.
    ///
    /// # Panics
    ///
    /// If there are not as many data units as the code has.
    pub fn parity(&self, data: &[&[u8]]) -> Vec<Vec<u8>> {
        let longest = data.iter().map(|unit| unit.len()).max().unwrap_or(0);
        let lengths = vec![longest; self.code().parity()];
        self.0.parity.product(self.0.kernel, data, &lengths)
    }

    /// Prepares to rebuild the chunks `missing` from the chunks `have`, in any
    /// order, of all stripes of an object.
    ///
    /// Of more chunks than the code has data chunks, only the first are used.
    ///
    /// # Errors
    ///
    /// If `have` are too few, or a chunk is out of range or named twice.
    pub fn reconstruction(
        &self,
        have: &[usize],
        missing: &[usize],
    ) -> Result<Reconstruction, CodeError> {
        let code = self.code();
        let mut named = vec![false; code.width()];
        for &chunk in have.iter().chain(missing) {
            match named.get_mut(chunk) {
                None => {
                    return Err(CodeError::NoSuchChunk {
                        chunk,
                        width: code.width(),
                    });
                }
                Some(true) => return Err(CodeError::Duplicate { chunk }),
                Some(named) => *named = true,
            }
        }
        let Some(have) = have.get(..code.data()) else {
            return Err(CodeError::TooFewChunks {
                have: have.len(),
                needed: code.data(),
            });
        };
        let matrix = self.solve(have, missing);
        Ok(Reconstruction::new(have, missing, matrix, self.0.kernel))
    }

    /// The matrix from the units of `have` to those of `missing`.
    fn solve(&self, have: &[usize], missing: &[usize]) -> Matrix {
        let mut chunks = vec![None; self.code().width()];
        // As for parity: the chunks at hand are unit vectors, so that the missing
        // come out as their rows of the matrix.
        for (&chunk, unit) in have.iter().zip(Matrix::identity(have.len())) {
            chunks[chunk] = Some(unit);
        }
        if let Some(solver) = &self.0.solver {
            solver
                .reconstruct(&mut chunks)
                .expect("any k chunks give the others");
        }
        let rows = missing
            .iter()
            .map(|&chunk| chunks[chunk].as_deref().expect("just solved"));
        Matrix::new(have.len(), rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coder(code: &str) -> Coder {
        Coder::new(code.parse().unwrap())
    }

    #[test]
    fn parity_rows_are_those_that_stored_objects_were_written_with() {
        let rows: Vec<_> = coder("10+2").0.parity.rows().map(<[u8]>::to_vec).collect();
        let golden = [
            [0x81, 0x96, 0xaf, 0xb8, 0xd2, 0xc4, 0xfe, 0xe8, 0x03, 0x02],
            [0x96, 0x81, 0xb8, 0xaf, 0xc4, 0xd2, 0xe8, 0xfe, 0x02, 0x03],
        ];
        assert_eq!(rows, golden);
    }

    #[test]
    fn a_coder_is_made_once_for_a_code() {
        assert!(Arc::ptr_eq(&coder("10+2").0, &coder("10+2").0));
    }

    #[test]
    fn more_codes_than_are_kept_still_code() {
        for data in 1..=2 * KEPT {
            let mut parity = [0; 2];
            let units = vec![&b"xy"[..]; data];
            Coder::new(Code::new(data, 1).unwrap()).encode(&units, &mut [&mut parity]);
        }
    }

    #[test]
    fn one_data_chunk_is_replicated() {
        let mut copies = [[0; 5]; 2];
        coder("1+2").encode(
            &[b"bytes"],
            &mut copies.each_mut().map(|copy| &mut copy[..]),
        );
        assert_eq!(copies, [*b"bytes"; 2]);
    }

    #[test]
    fn a_code_without_parity_has_nothing_to_compute() {
        let coder = coder("3+0");
        coder.encode(&[b"a", b"b", b""], &mut []);
        coder
            .reconstruction(&[2, 0, 1], &[])
            .unwrap()
            .run(&[b"", b"a", b"b"], &mut []);
    }

    #[test]
    fn what_cannot_be_reconstructed_is_refused() {
        let refused = |have: &[usize], missing: &[usize]| {
            coder("3+2").reconstruction(have, missing).unwrap_err()
        };
        assert_eq!(
            refused(&[0, 4], &[1]),
            CodeError::TooFewChunks { have: 2, needed: 3 }
        );
        assert_eq!(refused(&[0, 4, 0], &[1]), CodeError::Duplicate { chunk: 0 });
        assert_eq!(refused(&[0, 1, 2], &[2]), CodeError::Duplicate { chunk: 2 });
        assert_eq!(
            refused(&[0, 1, 5], &[2]),
            CodeError::NoSuchChunk { chunk: 5, width: 5 }
        );
        assert_eq!(
            refused(&[0, 1, 2], &[9]),
            CodeError::NoSuchChunk { chunk: 9, width: 5 }
        );
    }

    #[test]
    #[should_panic(expected = "as long as the longest data unit")]
    fn parity_of_another_length_is_a_programming_error() {
        coder("2+1").encode(&[b"ab", b"c"], &mut [&mut [0; 3]]);
    }
}

//! Missing chunks from any `k`.

use crate::{kernel::Kernel, matrix::Matrix};

/// Rebuilds given chunks from given others, stripe by stripe.
///
/// Made by [`Coder::reconstruction`](crate::Coder::reconstruction), which does
/// once for an object what does not depend on its bytes.
#[derive(Debug)]
pub struct Reconstruction {
    have: Vec<usize>,
    missing: Vec<usize>,
    matrix: Matrix,
    kernel: Kernel,
}

impl Reconstruction {
    /// `matrix` gives the units of `missing` from those of `have`.
    pub(crate) fn new(have: &[usize], missing: &[usize], matrix: Matrix, kernel: Kernel) -> Self {
        Self {
            have: have.to_vec(),
            missing: missing.to_vec(),
            matrix,
            kernel,
        }
    }

    /// The chunks whose units are given, exactly `k`.
    pub fn have(&self) -> &[usize] {
        &self.have
    }

    /// The chunks whose units are rebuilt.
    pub fn missing(&self) -> &[usize] {
        &self.missing
    }

    /// Rebuilds the units `out` of one stripe, in the order of
    /// [`missing`](Self::missing), from `units`, in the order of
    /// [`have`](Self::have).
    ///
    /// Every unit has the length that the object's
    /// [`Geometry`](crate::Geometry) gives it, which differ in the last stripe.
    /// What `out` held before does not matter.
    ///
    /// # Panics
    ///
    /// If there are not as many units as chunks.
    pub fn run(&self, units: &[&[u8]], out: &mut [&mut [u8]]) {
        self.matrix.apply(self.kernel, units, out);
    }

    /// The missing units of one stripe, of `lengths` bytes, in memory that is
    /// written only once.
    ///
    /// Does what [`run`](Self::run) does, without zeroing units first.
    ///
    /// # Panics
    ///
    /// If there are not as many units and lengths as chunks.
    pub fn rebuild(&self, units: &[&[u8]], lengths: &[usize]) -> Vec<Vec<u8>> {
        self.matrix.product(self.kernel, units, lengths)
    }
}

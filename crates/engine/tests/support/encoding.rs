//! What is on the nodes in the end, computed without the code under test: the
//! layout by plain arithmetic, parity by the reference implementation.

use bytes::Bytes;
use reed_solomon_erasure::galois_8::ReedSolomon;

const UNIT: usize = 256 * 1024;

/// The units of each chunk of `value`; trailing units without bytes are left out.
pub fn chunks(value: &[u8], data: usize, parity: usize) -> Vec<Vec<Bytes>> {
    let mut chunks = vec![Vec::new(); data + parity];
    for stripe in value.chunks(data * UNIT) {
        let unit = stripe.len().div_ceil(data).next_multiple_of(64).min(UNIT);
        let mut padded = vec![vec![0; unit]; data + parity];
        for (at, piece) in stripe.chunks(unit).enumerate() {
            padded[at][..piece.len()].copy_from_slice(piece);
            chunks[at].push(Bytes::copy_from_slice(piece));
        }
        if parity > 0 {
            ReedSolomon::new(data, parity)
                .unwrap()
                .encode(&mut padded)
                .unwrap();
        }
        // Beyond the longest data unit, the first, parity is all zeros.
        let longest = unit.min(stripe.len());
        for (chunk, unit) in chunks.iter_mut().zip(padded).skip(data) {
            chunk.push(Bytes::from(unit).slice(..longest));
        }
    }
    chunks
}

//! What a kernel must compute before it is used: known answers, on this very CPU.
//!
//! Tests hold kernels to the field wherever they run. But a kernel for a CPU that
//! no test has met must not be the first to code a client's values.

use std::iter;

use super::{
    portable,
    room::{Room, room},
};

/// Lengths on both sides of those at which kernels go about it in another way. The
/// longest is two blocks of the widest kernel, single vectors after them, and a
/// part of one.
const LENGTHS: [usize; 7] = [1, 17, 33, 63, 65, 273, 2 * 256 + 3 * 64 + 17];

/// Numbers of outputs: computed two, three, and four together, and one after them.
const OUTPUTS: [usize; 3] = [2, 3, 5];

/// What is asked, and what the portable kernel answers.
pub(super) struct Answers(Vec<Answer>);

struct Answer {
    coefficients: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Answers {
    /// Of every product of two bytes, and of all [`LENGTHS`] and [`OUTPUTS`].
    pub(super) fn new() -> Self {
        let all: Vec<u8> = (0..=255).collect();
        let products = Answer::new(all.clone(), vec![all]);
        let inputs = |length| (1..=3).map(|seed| noise(seed, length)).collect();
        let lengths = LENGTHS.iter().flat_map(|&length| {
            OUTPUTS.map(|outputs| Answer::new(noise(4, 3 * outputs), inputs(length)))
        });
        Self(iter::once(products).chain(lengths).collect())
    }

    /// Whether they are those of a kernel, by its `dot`.
    pub(super) fn are_of(&self, dot: impl Fn(&[u8], &[&[u8]], &mut [&mut Room])) -> bool {
        let same = |answer: &Answer| answer.asked_of(&dot) == answer.outputs;
        self.0.iter().all(same)
    }
}

impl Answer {
    fn new(coefficients: Vec<u8>, inputs: Vec<Vec<u8>>) -> Self {
        let mut answer = Self {
            coefficients,
            inputs,
            outputs: Vec::new(),
        };
        answer.outputs = answer.asked_of(portable::dot);
        answer
    }

    fn asked_of(&self, dot: impl Fn(&[u8], &[&[u8]], &mut [&mut Room])) -> Vec<Vec<u8>> {
        let outputs = self.coefficients.len() / self.inputs.len();
        let mut outputs = vec![vec![0xee; self.inputs[0].len()]; outputs];
        let mut rooms: Vec<&mut Room> = outputs.iter_mut().map(|output| room(output)).collect();
        let inputs: Vec<&[u8]> = self.inputs.iter().map(Vec::as_slice).collect();
        dot(&self.coefficients, &inputs, &mut rooms);
        outputs
    }
}

/// Bytes that differ from each other.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let next = |x: &u64| Some(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(9));
    iter::successors(Some(seed), next)
        .skip(2)
        .map(|x| (x >> 56) as u8)
        .take(length)
        .collect()
}

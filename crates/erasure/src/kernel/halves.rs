//! The products of every coefficient with the halves of a byte, for kernels that
//! look them up.

use super::portable::product;

/// The products of one coefficient with each low and with each high half of a byte.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Halves {
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

/// For each coefficient. 8 KiB, of which a code's few lines stay in the cache.
pub(super) static HALVES: [Halves; 256] = {
    let mut halves = [Halves {
        low: [0; 16],
        high: [0; 16],
    }; 256];
    let mut coefficient = 0;
    while coefficient < 256 {
        let mut half = 0;
        while half < 16 {
            let halves = &mut halves[coefficient];
            halves.low[half] = product(coefficient as u8, half as u8);
            halves.high[half] = product(coefficient as u8, (half << 4) as u8);
            half += 1;
        }
        coefficient += 1;
    }
    halves
};

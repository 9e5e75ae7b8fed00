//! Outputs that need not be initialised: kernels write them, and never read them.
//!
//! Zeroing what is overwritten at once would be one more pass over the memory of
//! all parity.

#![allow(unsafe_code, reason = "initialised bytes are told from others here")]

use std::{mem::MaybeUninit, ptr};

/// Room for bytes that a kernel will write.
pub(crate) type Room = [MaybeUninit<u8>];

/// The room that `bytes` are in, to write initialised bytes into and nothing else.
pub(crate) fn room(bytes: &mut [u8]) -> &mut Room {
    // SAFETY: of the same layout; this crate initialises whatever it writes.
    unsafe { &mut *(ptr::from_mut(bytes) as *mut Room) }
}

/// New units of these lengths, which `write` computes.
///
/// # Safety
///
/// `write` initialises every byte of every room.
pub(crate) unsafe fn fresh(
    lengths: &[usize],
    write: impl FnOnce(&mut [&mut Room]),
) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = lengths
        .iter()
        .map(|&length| Vec::with_capacity(length))
        .collect();
    let mut rooms: Vec<&mut Room> = units
        .iter_mut()
        .zip(lengths)
        .map(|(unit, &length)| &mut unit.spare_capacity_mut()[..length])
        .collect();
    write(&mut rooms);
    for (unit, &length) in units.iter_mut().zip(lengths) {
        // SAFETY: there is room for as many, and the caller has them initialised.
        unsafe { unit.set_len(length) };
    }
    units
}

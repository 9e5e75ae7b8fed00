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

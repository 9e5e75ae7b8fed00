//! Which bytes of an object are in which unit of which chunk.
//!
//! Units of one length follow each other round-robin over the data chunks, a
//! full stripe after the other. The last stripe is cut anew, into shorter units:
//!
//! ```text
//!  k = 3, p = 2         data             parity
//!  full stripe      [####][####][####]  [####][####]     unit bytes each
//!  last stripe      [##  ][##  ][#   ]  [##  ][##  ]     tail bytes, the last data unit less
//! ```
//!
//! What a unit lacks to its stripe's longest counts as zeros in the code and is
//! never stored or sent; a data unit of the last stripe may have no bytes at all.
//! The layout follows from the size and the code alone.

use std::ops::Range;

use crate::code::Code;

/// Most bytes of one unit.
///
/// Each costs its frame, its acknowledgement and the waking of a process: with 128 KiB streams
/// are a tenth slower. With 512 KiB values of some MiB are too few stripes to overlap, and slower
/// by a quarter.
pub const UNIT_MAX: usize = 256 * 1024;

/// Units are cut to multiples of this, a cache line and the widest vector.
pub const UNIT_ALIGN: usize = 64;

/// Most bytes of one object: 2^32 - 1 stripes of the narrowest code, 1 PiB.
pub const MAX_SIZE: u64 = u32::MAX as u64 * UNIT_MAX as u64;

/// The layout of one object.
///
/// Units, chunks and stripes beyond those that it has are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    size: u64,
    code: Code,
    unit: u32,
}

impl Geometry {
    /// The layout of `size` bytes, or of [`MAX_SIZE`] where that is less.
    pub fn new(size: u64, code: Code) -> Self {
        let size = size.min(MAX_SIZE);
        Self {
            size,
            code,
            unit: cut(size, code, UNIT_MAX) as u32,
        }
    }

    /// The layout while the size is not known, but at least a full stripe of
    /// [`UNIT_MAX`]: every stripe is full, and [`size`](Self::size) is beyond
    /// what can be written.
    ///
    /// [`with_size`](Self::with_size) ends it; the stripes cut until then keep
    /// their layout.
    pub fn unbounded(code: Code) -> Self {
        Self {
            size: code.data() as u64 * MAX_SIZE,
            code,
            unit: UNIT_MAX as u32,
        }
    }

    /// The layout with the same code, now that the size is known.
    pub fn with_size(self, size: u64) -> Self {
        Self::new(size, self.code)
    }

    /// Bytes of the object.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The object's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Bytes of a full unit; 0 for the empty object only.
    pub fn unit(&self) -> usize {
        self.unit as usize
    }

    /// Data bytes of a full stripe.
    pub fn stripe(&self) -> usize {
        self.code.data() * self.unit()
    }

    /// Number of stripes; 0 for the empty object.
    pub fn stripes(&self) -> u32 {
        self.stripes_to(self.size)
    }

    /// Data bytes of `stripe`.
    pub fn stripe_len(&self, stripe: u32) -> usize {
        let rest = self.size - self.stripe_offset(stripe);
        rest.min(self.stripe() as u64) as usize
    }

    /// First byte of the object in `stripe`; [`size`](Self::size) past the last.
    pub fn stripe_offset(&self, stripe: u32) -> u64 {
        // Below 2^32 stripes of 2^26 bytes: no overflow.
        (u64::from(stripe) * self.stripe() as u64).min(self.size)
    }

    /// Bytes of the unit that `chunk` holds of `stripe`.
    ///
    /// 0 for trailing data chunks of a last stripe with few bytes. Parity units
    /// are as long as data unit 0, the longest.
    pub fn unit_len(&self, stripe: u32, chunk: usize) -> usize {
        if chunk >= self.code.width() {
            return 0;
        }
        let len = self.stripe_len(stripe);
        let longest = cut(len as u64, self.code, self.unit());
        let before = if chunk < self.code.data() {
            chunk * longest
        } else {
            0
        };
        len.saturating_sub(before).min(longest)
    }

    /// Number of units of `chunk` that have bytes. They are its first: only the
    /// last stripe's can be empty.
    pub fn chunk_units(&self, chunk: usize) -> u32 {
        match self.stripes().checked_sub(1) {
            Some(last) if chunk < self.code.width() => {
                last + u32::from(self.unit_len(last, chunk) > 0)
            }
            _ => 0,
        }
    }

    /// Bytes of `chunk`.
    pub fn chunk_len(&self, chunk: usize) -> u64 {
        match self.stripes().checked_sub(1) {
            Some(last) if chunk < self.code.width() => {
                u64::from(last) * u64::from(self.unit) + self.unit_len(last, chunk) as u64
            }
            _ => 0,
        }
    }

    /// Bytes of all chunks together.
    pub fn stored(&self) -> u64 {
        self.size + self.code.parity() as u64 * self.chunk_len(self.code.data())
    }

    /// The stripes that hold the object's bytes `range`; an empty range of
    /// stripes if it holds none.
    pub fn stripes_of(&self, range: Range<u64>) -> Range<u32> {
        let end = range.end.min(self.size);
        if range.start >= end {
            return 0..0;
        }
        (range.start / self.stripe() as u64) as u32..self.stripes_to(end)
    }

    /// How many stripes the first `bytes` of the object take.
    fn stripes_to(&self, bytes: u64) -> u32 {
        match self.stripe() as u64 {
            0 => 0,
            stripe => bytes.div_ceil(stripe) as u32,
        }
    }
}

/// The unit for `bytes` over the data chunks of `code`, at most `unit`.
fn cut(bytes: u64, code: Code, unit: usize) -> usize {
    let even = bytes.div_ceil(code.data() as u64);
    even.next_multiple_of(UNIT_ALIGN as u64).min(unit as u64) as usize
}

//! How an object is cut into chunks, and how lost chunks are computed again.
//!
//! An object is cut into stripes of `k` data units, and each stripe gets `p`
//! parity units. A node holds one chunk of the object: its unit of every
//! stripe. Any `k` of the `k + p` chunks give the object back.
//!
//! ```text
//!              chunk 0   chunk 1   chunk 2  |  chunk 3   chunk 4      k = 3, p = 2
//! stripe 0     unit 0    unit 1    unit 2   |  parity    parity
//! stripe 1     unit 3    unit 4    unit 5   |  parity    parity
//! stripe 2     unit 6    unit 7..           |  parity    parity       the last, shorter
//! ```
//!
//! Many libraries of this field say *shard* where this project says *chunk*;
//! the word is translated where [`reed_solomon_erasure`] is called, and nowhere
//! else.
//!
//! The crate knows bytes and indexes only. It does not know of nodes, networks
//! or clocks, does no I/O, and allocates nothing that grows with the bytes that
//! it codes, except the units that it is asked for.
//!
//! In reading order:
//!
//! - `code`: [`Code`], how many data and parity chunks, and which for what size.
//! - `geometry`: [`Geometry`], which bytes of the object are in which unit.
//! - `coder`: [`Coder`], parity from data.
//! - `reconstruction`: [`Reconstruction`], missing chunks from any `k`.
//! - `matrix`: what both are, a matrix times a stripe of unequal units.
//! - `kernel`: [`Kernel`], the inner loop. All `unsafe` of the workspace is there,
//!   and where `matrix` vouches for what it had written.
//! - `error`: [`CodeError`].
//!
//! ```
//! use infinicache_erasure::{Code, Coder};
//!
//! let coder = Coder::new("2+1".parse::<Code>()?);
//! let mut parity = [0; 4];
//! coder.encode(&[b"ever", b"last"], &mut [&mut parity]);
//!
//! let mut lost = [0; 4];
//! let reconstruction = coder.reconstruction(&[1, 2], &[0])?;
//! reconstruction.run(&[b"last", &parity], &mut [&mut lost]);
//! assert_eq!(&lost, b"ever");
//! # Ok::<(), infinicache_erasure::CodeError>(())
//! ```

#![deny(unsafe_code)]

mod code;
mod coder;
mod error;
mod geometry;
mod kernel;
mod matrix;
mod reconstruction;

pub use code::{Code, SMALL_CHUNK};
pub use coder::Coder;
pub use error::CodeError;
pub use geometry::{Geometry, MAX_SIZE, UNIT_ALIGN, UNIT_MAX};
pub use kernel::Kernel;
pub use reconstruction::Reconstruction;

//! The two numbers of an erasure code, and how they follow from an object's size.

use std::{fmt, num::NonZero, str::FromStr};

use crate::error::{CodeError, WIDTH_MAX};

/// Below this many bytes a chunk, an object gets fewer data chunks.
///
/// A chunk costs a frame, a checksum and a round trip whatever its length. At
/// 32 KiB moving the bytes costs about as much as that; below, ten crumbs are
/// slower than one copy.
pub const SMALL_CHUNK: u64 = 32 * 1024;

/// How many data and parity chunks an object has, written `10+2`.
///
/// Any [`data`](Self::data) of the [`width`](Self::width) chunks give the object
/// back. Data chunks are numbered first, parity chunks after them. With one data
/// chunk the code is plain replication: every chunk is a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    data: NonZero<u8>,
    parity: u8,
}

impl Code {
    /// The code of `data` data chunks and `parity` parity chunks.
    ///
    /// # Errors
    ///
    /// If there is no data chunk, or there are more than 255 chunks together.
    pub fn new(data: usize, parity: usize) -> Result<Self, CodeError> {
        if data.saturating_add(parity) > WIDTH_MAX {
            return Err(CodeError::TooWide { data, parity });
        }
        let data = NonZero::new(data as u8).ok_or(CodeError::NoData)?;
        Ok(Self {
            data,
            parity: parity as u8,
        })
    }

    /// `k`: how many chunks hold the object's bytes, and suffice to read it.
    pub fn data(self) -> usize {
        self.data.get().into()
    }

    /// `p`: how many chunks may be lost without losing the object.
    pub fn parity(self) -> usize {
        self.parity.into()
    }

    /// `k + p`: how many chunks, each on a node of its own.
    pub fn width(self) -> usize {
        self.data() + self.parity()
    }

    /// The code for an object of `size` bytes in a pool whose code is `self` and
    /// of whose nodes `usable` can be written to; `None` when no node is usable.
    ///
    /// A size of `None` is one not yet known, but at least a full stripe. A small
    /// object gets fewer data chunks, of [`SMALL_CHUNK`] bytes or nearly so. A
    /// shrunken pool first costs data chunks, then parity: tolerance is the last
    /// thing to go, and a result with less parity than `self` is an object in
    /// danger.
    pub fn for_object(self, size: Option<u64>, usable: usize) -> Option<Self> {
        let spare = usable.checked_sub(1)?;
        let parity = self.parity().min(spare);
        let most = self.data().min(usable - parity);
        let data = match size {
            None => most,
            Some(size) => size.div_ceil(SMALL_CHUNK).clamp(1, most as u64) as usize,
        };
        Self::new(data, parity).ok()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let malformed = || CodeError::Malformed { text: text.into() };
        let number = |digits: &str| {
            // `parse` alone would take "+2", and so "10++2".
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        let (data, parity) = text.split_once('+').ok_or_else(malformed)?;
        let data = number(data).ok_or_else(malformed)?;
        let parity = number(parity).ok_or_else(malformed)?;
        Self::new(data, parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Code {
        text.parse().unwrap()
    }

    #[test]
    fn a_code_reads_as_it_is_written() {
        for text in ["10+2", "1+0", "1+254", "255+0", "4+2"] {
            assert_eq!(code(text).to_string(), text);
        }
        assert_eq!(
            (
                code("10+2").data(),
                code("10+2").parity(),
                code("10+2").width()
            ),
            (10, 2, 12)
        );
    }

    #[test]
    fn what_is_not_a_code_is_refused() {
        for text in [
            "", "+", "10", "10+", "+2", "10++2", "-1+2", "10+2+1", " 10+2", "ten+two",
        ] {
            let refused = text.parse::<Code>();
            assert_eq!(
                refused,
                Err(CodeError::Malformed { text: text.into() }),
                "{text:?}"
            );
        }
        assert_eq!("0+2".parse::<Code>(), Err(CodeError::NoData));
        assert_eq!(
            "200+56".parse::<Code>(),
            Err(CodeError::TooWide {
                data: 200,
                parity: 56
            })
        );
        assert!(Code::new(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn errors_say_the_violated_relation() {
        let error = Code::new(200, 56).unwrap_err();
        assert_eq!(
            error.to_string(),
            "200 data and 56 parity chunks, at most 255 together"
        );
    }

    #[test]
    fn the_code_follows_the_size_and_the_usable_nodes() {
        const KIB: u64 = 1024;
        let table = [
            // A small object has fewer data chunks, never less parity.
            (Some(0), 12, Some("1+2")),
            (Some(1), 12, Some("1+2")),
            (Some(32 * KIB), 12, Some("1+2")),
            (Some(32 * KIB + 1), 12, Some("2+2")),
            (Some(100 * KIB), 12, Some("4+2")),
            (Some(288 * KIB + 1), 12, Some("10+2")),
            (Some(100 * KIB * KIB), 12, Some("10+2")),
            (Some(u64::MAX), 12, Some("10+2")),
            (None, 12, Some("10+2")),
            // More nodes than the code is wide change nothing.
            (None, 1000, Some("10+2")),
            (None, usize::MAX, Some("10+2")),
            // Fewer cost data chunks first,
            (None, 11, Some("9+2")),
            (Some(100 * KIB), 5, Some("3+2")),
            (None, 3, Some("1+2")),
            // then parity.
            (None, 2, Some("1+1")),
            (None, 1, Some("1+0")),
            (None, 0, None),
            (Some(0), 0, None),
        ];
        for (size, usable, expected) in table {
            let got = code("10+2").for_object(size, usable);
            assert_eq!(got, expected.map(code), "{size:?} bytes on {usable} nodes");
        }
        assert_eq!(code("4+0").for_object(None, 2), Some(code("2+0")));
    }
}

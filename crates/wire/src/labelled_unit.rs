//! A whole chunk in one payload: a label, and the only unit there is.
//!
//! ```text
//!   0                unit                 length
//!   +----------------+--------------------+
//!   | label          | bytes of the unit  |
//!   +----------------+--------------------+
//! ```
//!
//! The header's `unit` tells where the label ends. All chunks of a small value are alike but
//! for their index, so one payload does for all who hold one.

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::{FrameError, Kind, MAX_PAYLOAD};

/// A chunk of one unit, and its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledUnit {
    payload: Bytes,
    /// Where the label ends and the unit begins.
    split: usize,
}

impl LabelledUnit {
    /// Joins a label and a unit of at least a byte; `None` if they are too long for a frame.
    pub fn new(label: &[u8], unit: &[u8]) -> Option<Self> {
        let length = label.len() + unit.len();
        if unit.is_empty() || length > MAX_PAYLOAD {
            return None;
        }
        let mut payload = BytesMut::with_capacity(length);
        payload.put_slice(label);
        payload.put_slice(unit);
        Some(Self {
            payload: payload.freeze(),
            split: label.len(),
        })
    }

    /// Reads one off a frame's payload, of which the first `split` bytes are the label.
    ///
    /// # Errors
    ///
    /// If nothing is left for the unit.
    pub(crate) fn from_payload(payload: Bytes, split: u32) -> Result<Self, FrameError> {
        let split = split as usize;
        match split < payload.len() {
            true => Ok(Self { payload, split }),
            false => Err(FrameError::Malformed(Kind::Store)),
        }
    }

    /// What the node keeps with the chunk.
    pub fn label(&self) -> Bytes {
        self.payload.slice(..self.split)
    }

    /// The unit.
    pub fn unit(&self) -> Bytes {
        self.payload.slice(self.split..)
    }

    /// Both, one behind the other.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Where the label ends.
    pub(crate) fn split(&self) -> u32 {
        self.split as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_and_a_unit_travel_together() {
        let whole = LabelledUnit::new(b"label", b"unit").unwrap();
        assert_eq!(whole.payload()[..], b"labelunit"[..]);
        let read = LabelledUnit::from_payload(whole.payload().clone(), whole.split());
        assert_eq!(read, Ok(whole.clone()));
        assert_eq!(
            (&whole.label()[..], &whole.unit()[..]),
            (&b"label"[..], &b"unit"[..])
        );
    }

    #[test]
    fn what_leaves_nothing_for_the_unit_is_refused() {
        let malformed = Err(FrameError::Malformed(Kind::Store));
        for split in [3, 4, u32::MAX] {
            assert_eq!(
                LabelledUnit::from_payload(Bytes::from_static(b"abc"), split),
                malformed
            );
        }
        assert_eq!(LabelledUnit::new(b"label", b""), None);
        assert!(LabelledUnit::new(b"", &vec![0; MAX_PAYLOAD]).is_some());
        assert_eq!(LabelledUnit::new(b"l", &vec![0; MAX_PAYLOAD]), None);
    }
}

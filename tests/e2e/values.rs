//! Values that tell who wrote them, at every byte.
//!
//! ```text
//! 0        4        8       16
//! | writer | number | size  | words that follow from these and their place ...
//! ```
//!
//! So a part of one value in place of a part of another is found wherever it
//! is, also if both are by the same writer or the part is merely displaced.

use crate::random::mix;

const WORD: usize = 8;

/// The least size of a value that can be told from its bytes.
pub(crate) const HEAD: u64 = 16;

/// Which value it is; all bytes follow from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    pub(crate) writer: u32,
    pub(crate) number: u32,
    pub(crate) size: u64,
}

impl Value {
    /// The first value of a writer.
    pub(crate) fn new(writer: u32, size: u64) -> Self {
        Self {
            writer,
            number: 0,
            size,
        }
    }

    /// The next one of its writer.
    pub(crate) fn next(self, size: u64) -> Self {
        Self {
            number: self.number + 1,
            size,
            ..self
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.part(0, self.size)
    }

    /// The bytes from `start` to before `end`, as far as it has them.
    pub(crate) fn part(&self, start: u64, end: u64) -> Vec<u8> {
        let end = end.min(self.size);
        let start = start.min(end);
        let mut bytes = Vec::with_capacity((end - start) as usize + WORD);
        let words = start / WORD as u64..end.div_ceil(WORD as u64);
        words.for_each(|place| bytes.extend_from_slice(&self.word(place).to_le_bytes()));
        bytes.drain(..(start as usize % WORD).min(bytes.len()));
        bytes.truncate((end - start) as usize);
        bytes
    }

    fn word(&self, place: u64) -> u64 {
        let who = u64::from(self.number) << 32 | u64::from(self.writer);
        match place {
            0 => who,
            1 => self.size,
            _ => mix(mix(who ^ mix(self.size)).wrapping_add(place)),
        }
    }

    /// Whether `bytes` are those of the value, from `start` on.
    ///
    /// # Panics
    ///
    /// With the place of the first that is not.
    pub(crate) fn assert_part(&self, start: u64, bytes: &[u8]) {
        let expected = self.part(start, start + bytes.len() as u64);
        assert_eq!(expected.len(), bytes.len(), "{self:?} is too long");
        if let Some(at) = (0..bytes.len()).find(|&at| bytes[at] != expected[at]) {
            panic!("byte {} is not of {self:?}", start + at as u64);
        }
    }

    /// Whether `bytes` are all of the value.
    pub(crate) fn assert_is(&self, bytes: &[u8]) {
        assert_eq!(bytes.len() as u64, self.size, "length of {self:?}");
        self.assert_part(0, bytes);
    }

    /// Which value `bytes` are, or what is wrong with them.
    pub(crate) fn tell(bytes: &[u8]) -> Result<Self, String> {
        let Some((head, _)) = bytes.split_first_chunk::<{ HEAD as usize }>() else {
            return Err(format!("{} bytes, too short to tell", bytes.len()));
        };
        let value = Self::of_head(head);
        if value.size != bytes.len() as u64 {
            return Err(format!("{} bytes of {value:?}", bytes.len()));
        }
        let expected = value.bytes();
        match (0..bytes.len()).find(|&at| bytes[at] != expected[at]) {
            None => Ok(value),
            Some(at) => Err(format!("byte {at} is not of {value:?}")),
        }
    }

    fn of_head(head: &[u8; HEAD as usize]) -> Self {
        let (who, size) = head.split_at(WORD);
        let (writer, number) = who.split_at(WORD / 2);
        Self {
            writer: u32::from_le_bytes(writer.try_into().expect("four bytes")),
            number: u32::from_le_bytes(number.try_into().expect("four bytes")),
            size: u64::from_le_bytes(size.try_into().expect("eight bytes")),
        }
    }

    /// Which value `bytes` are.
    ///
    /// # Panics
    ///
    /// If they are not all of one.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut check = Check::default();
        check.feed(bytes);
        check.finish()
    }
}

/// Finds out which value comes in, piece by piece, and that nothing else does.
#[derive(Debug, Default)]
pub(crate) struct Check {
    head: Vec<u8>,
    value: Option<Value>,
    at: u64,
}

impl Check {
    /// Takes the next piece.
    ///
    /// # Panics
    ///
    /// If it is not of the value that began.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) {
        if self.value.is_none() {
            let more = (HEAD as usize - self.head.len()).min(piece.len());
            self.head.extend_from_slice(&piece[..more]);
            piece = &piece[more..];
            if self.head.len() < HEAD as usize {
                return;
            }
            let head = self.head[..].try_into().expect("its length was looked at");
            self.value = Some(Value::of_head(head));
            self.at = HEAD;
        }
        let value = self.value.expect("its head has come");
        value.assert_part(self.at, piece);
        self.at += piece.len() as u64;
    }

    /// Which value it was.
    ///
    /// # Panics
    ///
    /// If there should be more of it.
    pub(crate) fn finish(self) -> Value {
        let value = self.value.expect("too short to tell");
        assert_eq!(self.at, value.size, "length of {value:?}");
        value
    }
}

#[test]
fn a_value_is_told_from_its_bytes_and_from_no_others() {
    let value = Value::new(7, 1000).next(1001);
    let bytes = value.bytes();
    assert_eq!(Value::of(&bytes), value);
    assert_eq!(value.part(13, 500), bytes[13..500]);
    let mut check = Check::default();
    bytes.chunks(7).for_each(|piece| check.feed(piece));
    assert_eq!(check.finish(), value);
    assert_eq!(Value::tell(&bytes), Ok(value));
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        assert!(
            std::panic::catch_unwind(|| Value::of(&wrong)).is_err(),
            "{at}"
        );
        assert!(Value::tell(&wrong).is_err(), "{at}");
    }
    assert!(std::panic::catch_unwind(|| Value::of(&bytes[..1000])).is_err());
}

//! Bytes to replies, as a client receives them.
//!
//! ```text
//! +OK\r\n              -ERR reason\r\n      :42\r\n        $-1\r\n or _\r\n      whole
//! $5\r\n | hello\r\n                                                             a head, and what follows
//! ```
//!
//! [`Head::read`] stops where the bytes of a value begin, which may be many: whoever reads the
//! reply takes them from where they are. [`take`] gives a reply whole. Arrays are no replies here:
//! nothing is asked that is answered with one, and arrays in arrays would have to be followed.

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::types::BytesFrame;

use super::{integer::integer, parser::MAX_LINE};

/// A reply that is one line, or the line before the bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// A simple string.
    Simple(&'a [u8]),
    /// An error.
    Error(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A bulk string: so many bytes follow, and a line end.
    Bulk(u64),
    /// None, in either version.
    Null,
}

/// Bytes are no reply, or one that is larger than wanted. The stream cannot be resynchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// They are no line of a reply, and no bytes after them will make them one.
    #[error("not a reply")]
    Malformed,
    /// A line does not end.
    #[error("a line of more than {MAX_LINE} bytes")]
    LineTooLong,
    /// A value is longer than may be.
    #[error("a value of {length} bytes, {most} at most")]
    ValueTooLong {
        /// What was announced.
        length: u64,
        /// What may be.
        most: usize,
    },
}

impl<'a> Head<'a> {
    /// The head at the beginning of `input`, and how long its line is; `None` if not all of it is
    /// there.
    ///
    /// # Errors
    ///
    /// If more bytes will not make it a reply.
    pub fn read(input: &'a [u8]) -> Result<Option<(Self, usize)>, ReplyError> {
        let within = &input[..input.len().min(MAX_LINE)];
        let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
            return if input.len() < MAX_LINE {
                Ok(None)
            } else {
                Err(ReplyError::LineTooLong)
            };
        };
        Ok(Some((Self::of_line(&within[..=end])?, end + 1)))
    }

    /// What a whole line says.
    pub(super) fn of_line(line: &'a [u8]) -> Result<Self, ReplyError> {
        let line = line.strip_suffix(b"\r\n").ok_or(ReplyError::Malformed)?;
        let (mark, rest) = line.split_first().ok_or(ReplyError::Malformed)?;
        let number = || integer(rest).ok_or(ReplyError::Malformed);
        Ok(match mark {
            b'+' => Self::Simple(rest),
            b'-' => Self::Error(rest),
            b':' => Self::Integer(number()?),
            b'$' => match number()? {
                -1 => Self::Null,
                length => Self::Bulk(u64::try_from(length).map_err(|_| ReplyError::Malformed)?),
            },
            b'_' if rest.is_empty() => Self::Null,
            _ => return Err(ReplyError::Malformed),
        })
    }
}

/// Takes a reply off `input`, or `None` if more bytes are needed. A value has `most` bytes at most.
///
/// # Errors
///
/// If there is no reply, or too large a one: it is refused by what it announces.
pub fn take(input: &mut BytesMut, most: usize) -> Result<Option<BytesFrame>, ReplyError> {
    let Some((head, line)) = Head::read(input)? else {
        return Ok(None);
    };
    let reply = match head {
        Head::Simple(text) => BytesFrame::SimpleString(Bytes::copy_from_slice(text)),
        Head::Error(text) => BytesFrame::Error(String::from_utf8_lossy(text).into_owned().into()),
        Head::Integer(number) => BytesFrame::Integer(number),
        Head::Null => BytesFrame::Null,
        Head::Bulk(length) => {
            let fits = usize::try_from(length).ok().filter(|&it| it <= most);
            let length = fits.ok_or(ReplyError::ValueTooLong { length, most })?;
            let Some(end) = input.get(line + length..line + length + 2) else {
                return Ok(None);
            };
            if end != b"\r\n" {
                return Err(ReplyError::Malformed);
            }
            input.advance(line);
            let value = input.split_to(length).freeze();
            input.advance(2);
            return Ok(Some(BytesFrame::BulkString(value)));
        }
    };
    input.advance(line);
    Ok(Some(reply))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2::encode::extend_encode;

    use super::*;

    fn replies() -> impl Strategy<Value = BytesFrame> {
        prop_oneof![
            // The other implementation miscounts the digits of larger ones.
            (-1_000_000_000..1_000_000_000i64).prop_map(BytesFrame::Integer),
            "[ -~]{0,200}".prop_map(|text| BytesFrame::SimpleString(text.into())),
            "[ -~]{0,200}".prop_map(|text| BytesFrame::Error(text.into())),
            Just(BytesFrame::Null),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|value| BytesFrame::BulkString(value.into())),
        ]
    }

    fn written(reply: &BytesFrame) -> BytesMut {
        let mut bytes = BytesMut::new();
        extend_encode(&mut bytes, reply, false).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn replies_are_read_as_another_implementation_writes_them(reply in replies()) {
            let mut bytes = written(&reply);
            bytes.extend_from_slice(b"rest");
            prop_assert_eq!(take(&mut bytes, 300), Ok(Some(reply)));
            prop_assert_eq!(&bytes[..], b"rest");
        }

        #[test]
        fn every_proper_prefix_is_incomplete_and_left_in_place(reply in replies()) {
            let whole = written(&reply);
            for end in 0..whole.len() {
                let mut prefix = BytesMut::from(&whole[..end]);
                prop_assert_eq!(take(&mut prefix, 300), Ok(None));
                prop_assert_eq!(&prefix, &whole[..end]);
            }
        }

        #[test]
        fn every_integer_reads_as_itself(number: i64) {
            let line = format!(":{number}\r\n");
            prop_assert_eq!(Head::read(line.as_bytes()), Ok(Some((Head::Integer(number), line.len()))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = take(&mut BytesMut::from(&bytes[..]), 50);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"OK\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"$99999999999999999999\r\n",
            b"+OK\n",
            b"*1\r\n",
            b":\r\n",
            b":+1\r\n",
            b"\xff\r\n",
            b"$1\r\n12\r\n",
        ] {
            let refused = take(&mut BytesMut::from(bytes), 10);
            assert_eq!(refused, Err(ReplyError::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        assert_eq!(Head::read(&[b'+'; MAX_LINE - 1]), Ok(None));
        assert_eq!(Head::read(&[b'+'; MAX_LINE]), Err(ReplyError::LineTooLong));
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_before_it_comes() {
        let mut input = BytesMut::from("$11\r\n");
        let (length, most) = (11, 10);
        let refused = Err(ReplyError::ValueTooLong { length, most });
        assert_eq!(take(&mut input, most), refused);
        assert_eq!(take(&mut input, 11), Ok(None));
    }
}

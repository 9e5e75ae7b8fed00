//! Replies, up to where the bytes of a value begin.
//!
//! Only those that are sent in reply to what is asked here; whatever else comes
//! is a violation of the protocol.

/// The longest line of a reply.
const LINE: usize = 4 << 10;

/// A reply, or the head of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+OK`.
    Simple(&'a [u8]),
    /// `-ERR ...`.
    Error(&'a [u8]),
    /// `:1`.
    Integer(i64),
    /// `$10`: so many bytes follow, and a line end.
    Value(u64),
    /// `$-1`, or `_`.
    Nil,
}

/// The bytes are no reply that could be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads the reply at the beginning of `buffer`, and tells how long its line is;
/// `None` if not all of it is there.
///
/// # Errors
///
/// If more bytes will not make it a reply.
pub fn read(buffer: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Malformed> {
    let within = &buffer[..buffer.len().min(LINE)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if buffer.len() < LINE {
            Ok(None)
        } else {
            Err(Malformed)
        };
    };
    let line = buffer[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let (mark, rest) = line.split_first().ok_or(Malformed)?;
    let reply = match mark {
        b'+' => Reply::Simple(rest),
        b'-' => Reply::Error(rest),
        b':' => Reply::Integer(number(rest)?),
        b'$' => match number(rest)? {
            -1 => Reply::Nil,
            length => Reply::Value(u64::try_from(length).map_err(|_| Malformed)?),
        },
        b'_' if rest.is_empty() => Reply::Nil,
        _ => return Err(Malformed),
    };
    Ok(Some((reply, end + 1)))
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2::{encode::encode, types::OwnedFrame};

    use super::*;

    proptest! {
        #[test]
        fn replies_are_read_as_another_implementation_writes_them(
            text in "[ -~]{0,200}", number: i64, value in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            for (frame, expected) in [
                (OwnedFrame::SimpleString(text.clone().into()), Reply::Simple(text.as_bytes())),
                (OwnedFrame::Error(text.clone()), Reply::Error(text.as_bytes())),
                (OwnedFrame::Integer(number), Reply::Integer(number)),
                (OwnedFrame::BulkString(value.clone()), Reply::Value(value.len() as u64)),
                (OwnedFrame::Null, Reply::Nil),
            ] {
                let mut bytes = vec![0; 4096];
                let length = encode(&mut bytes, &frame, false).unwrap();
                let (reply, line) = read(&bytes[..length]).unwrap().unwrap();
                prop_assert_eq!(reply, expected);
                let follow = if let Reply::Value(size) = reply { size as usize + 2 } else { 0 };
                prop_assert_eq!(line + follow, length);
                for part in 0..line {
                    prop_assert_eq!(read(&bytes[..part]), Ok(None));
                }
            }
        }

        #[test]
        fn whatever_comes_is_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
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
            b"\xff\r\n",
        ] {
            assert_eq!(read(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(read(&[b'+'; LINE]), Err(Malformed));
        assert_eq!(read(&[b'+'; LINE - 1]), Ok(None));
    }
}

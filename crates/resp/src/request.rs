//! Requests to bytes, as a client sends them: arrays of bulk strings.
//!
//! ```text
//! *3\r\n | $3\r\nSET\r\n | $3\r\nkey\r\n | $5\r\n          value\r\n
//! begin    argument        argument        begin_argument
//! ```

use bytes::BufMut;

use super::line::head;

/// Appends a request.
pub fn encode(out: &mut impl BufMut, args: &[impl AsRef<[u8]>]) {
    begin(out, args.len());
    args.iter().for_each(|arg| argument(out, arg.as_ref()));
}

/// Appends the head of a request, of which so many arguments follow.
pub fn begin(out: &mut impl BufMut, args: usize) {
    head(out, b'*', args as u64);
}

/// Appends an argument.
pub fn argument(out: &mut impl BufMut, arg: &[u8]) {
    begin_argument(out, arg.len() as u64);
    out.put_slice(arg);
    out.put_slice(b"\r\n");
}

/// Appends the head of an argument, of which `length` bytes follow, and then a line end.
pub fn begin_argument(out: &mut impl BufMut, length: u64) {
    head(out, b'$', length);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::{collection::vec, prelude::*};
    use redis_protocol::resp2::{decode::decode_bytes_mut, types::BytesFrame};

    use super::*;
    use crate::parser::Parser;

    proptest! {
        #[test]
        fn a_request_is_read_as_another_implementation_reads_it(
            args in vec(vec(any::<u8>(), 0..120), 1..120),
        ) {
            let mut encoded = BytesMut::new();
            encode(&mut encoded, &args);
            let read = decode_bytes_mut(&mut encoded.clone()).unwrap();
            let frames = args.iter().map(|arg| BytesFrame::BulkString(arg.clone().into()));
            prop_assert_eq!(read.map(|(frame, ..)| frame), Some(BytesFrame::Array(frames.collect())));

            let command = Parser::default().parse(&mut encoded).unwrap().unwrap();
            prop_assert_eq!(command.args, args);
            prop_assert!(encoded.is_empty());
        }
    }

    #[test]
    fn a_value_may_follow_its_head_from_elsewhere() {
        let mut out = Vec::new();
        begin(&mut out, 3);
        argument(&mut out, b"SET");
        argument(&mut out, b"");
        begin_argument(&mut out, u64::MAX);
        assert_eq!(
            out,
            b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$18446744073709551615\r\n"
        );
    }
}

//! The lines of a mark and a number that begin what is sent, either way.

use bytes::BufMut;

/// Appends the head of what has so many bytes or elements.
pub(super) fn head(out: &mut impl BufMut, mark: u8, number: u64) {
    out.put_u8(mark);
    decimal(out, number);
    out.put_slice(b"\r\n");
}

/// Appends an integer.
pub(super) fn integer(out: &mut impl BufMut, number: i64) {
    out.put_u8(b':');
    if number < 0 {
        out.put_u8(b'-');
    }
    decimal(out, number.unsigned_abs());
    out.put_slice(b"\r\n");
}

/// A load generator writes more of these than of anything else.
fn decimal(out: &mut impl BufMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

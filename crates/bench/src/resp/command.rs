//! Commands: arrays of bulk strings.

/// Appends a command up to its last argument, of which the length is told.
///
/// ```text
/// *3 $3 SET $7 bench:1 $10485760 ...
/// ```
fn head(out: &mut Vec<u8>, arguments: usize) {
    put(out, b'*', arguments as u64);
}

/// Appends a line with a mark and a number.
fn put(out: &mut Vec<u8>, mark: u8, number: u64) {
    out.push(mark);
    decimal(out, number);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
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
    out.extend_from_slice(&digits[at..]);
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole command.
pub fn whole(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    head(out, arguments.len());
    arguments.iter().for_each(|argument| bulk(out, argument));
}

/// Appends a SET up to its value, which `\r\n` follows.
pub fn set(out: &mut Vec<u8>, key: &[u8], size: u64) {
    head(out, 3);
    bulk(out, b"SET");
    bulk(out, key);
    put(out, b'$', size);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        whole(&mut out, &[b"GET", b"key"]);
        set(&mut out, b"", 0);
        set(&mut out, b"x", u64::MAX);
        assert_eq!(
            out,
            b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n\
              *3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\
              *3\r\n$3\r\nSET\r\n$1\r\nx\r\n$18446744073709551615\r\n"
        );
    }
}

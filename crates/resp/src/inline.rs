//! Inline requests: one line, split at spaces, with quotes as in a shell.
//!
//! ```text
//! SET key "two\nlines \x41"      escapes \n \r \t \b \a \xHH, and \ before any other byte
//! SET key 'it\'s'                only \' is an escape
//! ```

use bytes::Bytes;

use super::error::ProtocolError;

/// Splits a line, without its end, into arguments.
pub(super) fn split(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    // For Redis a line is a C string.
    let mut rest = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut args = Vec::new();
    loop {
        rest = trim_start(rest);
        if rest.is_empty() {
            return Ok(args);
        }
        let (arg, after) = argument(rest)?;
        args.push(arg.into());
        rest = after;
    }
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| !is_space(byte));
    &text[start.unwrap_or(text.len())..]
}

/// As C's `isspace`, which unlike Rust's includes the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The argument at the start of `text`, and what follows it.
fn argument(text: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut arg = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok((arg, rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                rest = quoted(*quote, after, &mut arg)?;
                if rest.first().is_some_and(|&byte| !is_space(byte)) {
                    return Err(ProtocolError::UnbalancedQuotes);
                }
                return Ok((arg, rest));
            }
            [byte, after @ ..] => {
                arg.push(*byte);
                rest = after;
            }
        }
    }
}

/// Appends what stands before the closing quote to `arg`; returns what stands after it.
fn quoted<'a>(quote: u8, text: &'a [u8], arg: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = text;
    loop {
        let (byte, after) = match (quote, rest) {
            (_, []) => return Err(ProtocolError::UnbalancedQuotes),
            (_, [byte, after @ ..]) if *byte == quote => return Ok(after),
            (b'\'', [b'\\', b'\'', after @ ..]) => (b'\'', after),
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            (b'"', [b'\\', byte, after @ ..]) => (unescape(*byte), after),
            (_, [byte, after @ ..]) => (*byte, after),
        };
        arg.push(byte);
        rest = after;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_split_as_redis_does() {
        let cases: [(&str, &[&[u8]]); 9] = [
            ("", &[]),
            (" \t ", &[]),
            ("PING", &[b"PING"]),
            ("  GET  key\t", &[b"GET", b"key"]),
            (r#"SET k "\x41\n\"\q""#, &[b"SET", b"k", b"A\n\"q"]),
            (r"SET k 'it\'s \n'", &[b"SET", b"k", b"it's \\n"]),
            (r#"SET k """#, &[b"SET", b"k", b""]),
            (r#"ab"cd" e"#, &[b"abcd", b"e"]),
            ("PING\0nothing", &[b"PING"]),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line.as_bytes()).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn quotes_must_be_closed_and_followed_by_a_space() {
        for line in [
            r#"SET "a"#,
            r#"SET "a"b"#,
            "SET 'a",
            "SET 'a'b",
            r#"SET "a\"#,
        ] {
            assert_eq!(
                split(line.as_bytes()),
                Err(ProtocolError::UnbalancedQuotes),
                "{line:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&line);
        }

        #[test]
        fn any_bytes_can_be_written_in_quotes(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let line: String = args
                .iter()
                .map(|arg| format!("\"{}\" ", arg.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()))
                .collect();
            prop_assert_eq!(split(line.as_bytes()).unwrap(), args);
        }
    }
}

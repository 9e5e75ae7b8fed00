//! Integers as Redis reads them.

/// The value of `text`, if Redis would take it for an integer: no spaces, no
/// plus sign, no leading zeros, no minus zero, within 64 bits.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        b"0" => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_integer_reads_as_itself(number: i64) {
            prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
        }

        #[test]
        fn what_reads_as_an_integer_is_written_like_it(text in "[-+ 0-9]{0,21}") {
            if let Some(number) = integer(text.as_bytes()) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "-",
            "-0",
            "+1",
            " 1",
            "1 ",
            "01",
            "0x1",
            "1.0",
            "9223372036854775808",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}

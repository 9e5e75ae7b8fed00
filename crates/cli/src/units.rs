//! Sizes and durations as people write them: `256MiB`, `1.5GiB`, `60s`, `250ms`.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes, written with a unit of powers of two (`KiB`) or ten (`KB`), or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is no size or no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// What stands before the unit is no number.
    #[error("{0:?} does not start with a number")]
    Number(String),
    /// The unit is unknown.
    #[error("unknown unit {found:?}, one of {known} expected")]
    Unit {
        /// What stands behind the number.
        found: String,
        /// What could stand there.
        known: &'static str,
    },
    /// Nobody has that much.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

const SIZES: [(&str, f64); 10] = [
    ("", 1.0),
    ("b", 1.0),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
];

const DURATIONS: [(&str, f64); 5] = [
    ("", 1.0),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Above this an `f64` no longer holds every integer: 8 PiB, or 285 million years.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = scaled(text, &SIZES, "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB")?;
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for Size {
    /// In the largest unit that needs no fraction, so that what is printed reads back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let (mut value, mut unit) = (self.0, 0);
        while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < units.len() {
            (value, unit) = (value / 1024, unit + 1);
        }
        write!(f, "{value}{}", units[unit])
    }
}

/// Reads a duration; a bare number counts seconds.
///
/// # Errors
///
/// If the text is no number followed by a known unit.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    Ok(Duration::from_secs_f64(scaled(
        text,
        &DURATIONS,
        "ms, s, m, h",
    )?))
}

fn scaled(text: &str, units: &[(&str, f64)], known: &'static str) -> Result<f64, UnitError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    let number: f64 = number
        .parse()
        .map_err(|_| UnitError::Number(text.to_owned()))?;
    let Some((_, scale)) = units
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))
    else {
        return Err(UnitError::Unit {
            found: unit.to_owned(),
            known,
        });
    };
    let value = number * scale;
    if value > EXACT {
        return Err(UnitError::TooLarge(text.to_owned()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("1KiB", 1024),
            ("256MiB", 256 << 20),
            ("256 mib", 256 << 20),
            ("1.5GiB", 3 << 29),
            ("2TiB", 2 << 40),
            ("3kB", 3000),
            ("1GB", 1_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        for (text, millis) in [
            ("60", 60_000),
            ("60s", 60_000),
            ("0.5s", 500),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let error = |text: &str| text.parse::<Size>().unwrap_err();
        assert!(matches!(error(""), UnitError::Number(_)));
        assert!(matches!(error("MiB"), UnitError::Number(_)));
        assert!(matches!(error("-1"), UnitError::Number(_)));
        assert!(matches!(error("1.2.3KiB"), UnitError::Number(_)));
        assert!(matches!(error("1 parsec"), UnitError::Unit { .. }));
        assert!(matches!(error("99999999999TiB"), UnitError::TooLarge(_)));
        assert!(matches!(duration("1week"), Err(UnitError::Unit { .. })));
    }

    #[test]
    fn a_printed_size_reads_back_as_the_same() {
        for bytes in [0, 1, 1023, 1024, 1025, 256 << 20, 1536 << 20, 1 << 45] {
            let text = Size(bytes).to_string();
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        assert_eq!(Size(256 << 20).to_string(), "256MiB");
    }
}

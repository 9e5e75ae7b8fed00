//! Sizes and durations as people write them.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes, written `1048576`, `1024KiB`, `1Mi` or `1MiB`; powers of ten as `1MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text is no size or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// It does not begin with a whole number.
    #[error("a whole number is expected first")]
    Number,
    /// The number is followed by something unknown.
    #[error("unknown unit {0:?}")]
    Unit(String),
    /// It is too large to be counted.
    #[error("too large")]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = split(text)?;
        // `Mi` is how Kubernetes writes it.
        let scale: u64 = match unit {
            "" | "B" => 1,
            "KiB" | "Ki" => 1 << 10,
            "MiB" | "Mi" => 1 << 20,
            "GiB" | "Gi" => 1 << 30,
            "TiB" | "Ti" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(ParseUnitError::Unit(unit.to_owned())),
        };
        let bytes = number.checked_mul(scale).ok_or(ParseUnitError::TooLarge)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Reads a duration such as `500ms`, `20s`, `5m` or `1h`; a number alone is seconds.
///
/// # Errors
///
/// If the text is none.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => return bounded(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(ParseUnitError::Unit(unit.to_owned())),
    };
    let seconds = number
        .checked_mul(seconds)
        .ok_or(ParseUnitError::TooLarge)?;
    bounded(Duration::from_secs(seconds))
}

/// Deadlines are computed by adding to a clock, which must not overflow: a century is for ever.
fn bounded(duration: Duration) -> Result<Duration, ParseUnitError> {
    const CENTURY: Duration = Duration::from_hours(100 * 366 * 24);
    if duration > CENTURY {
        return Err(ParseUnitError::TooLarge);
    }
    Ok(duration)
}

fn split(text: &str) -> Result<(u64, &str), ParseUnitError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(ParseUnitError::Number);
    }
    let number = number.parse().map_err(|_| ParseUnitError::TooLarge)?;
    Ok((number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("256MiB", 256 << 20),
            ("256Mi", 256 << 20),
            ("1 GiB", 1 << 30),
            ("3MB", 3_000_000),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text:?}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_read() {
        for text in ["0", "1000", "1KiB", "1536MiB", "2GiB", "1TiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("20", 20_000),
            ("20s", 20_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            let expected = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "MiB", "-1", "1.5GiB", "1mib", "99999999999999999999"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
        assert_eq!(
            "17179869184GiB".parse::<ByteSize>(),
            Err(ParseUnitError::TooLarge)
        );
        for text in ["", "s", "1d", "99999999999999h", "18446744073709551615"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}

//! Numbers as people like to read them.

use std::time::{Duration, SystemTime};

use indicatif::BinaryBytes;

/// A number of bytes: `1.50 GiB`.
pub fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A part of a whole: `37%`. Never 0% of something, nor 100% of less than all.
pub fn percent(part: u64, whole: u64) -> String {
    let exact = 100.0 * part as f64 / whole.max(1) as f64;
    let rounded = exact.round();
    match () {
        () if part > 0 && rounded < 1.0 => "<1%".into(),
        () if part < whole && rounded > 99.0 => ">99%".into(),
        () => format!("{rounded}%"),
    }
}

/// A time in its two largest units: `9m 58s`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// When something expires, seen from `now`: `in 9m 58s`.
pub fn expiry(at: Option<SystemTime>, now: SystemTime) -> String {
    match at.map(|at| at.duration_since(now)) {
        None => "never".into(),
        Some(Ok(rest)) => format!("in {}", time(rest)),
        Some(Err(_)) => "now".into(),
    }
}

/// Whether something late is late: the word for it, or none.
pub fn slow(is_slow: bool) -> &'static str {
    if is_slow { ", slow" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        for (millis, text) in [
            (0, "0ms"),
            (250, "250ms"),
            (59_999, "59s"),
            (598_000, "9m 58s"),
            (3_600_000, "1h 0m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn percentages_are_not_rounded_to_nothing_or_all() {
        for (part, whole, text) in [
            (0, 0, "0%"),
            (0, 9, "0%"),
            (1, 1000, "<1%"),
            (1, 3, "33%"),
            (999, 1000, ">99%"),
            (9, 9, "100%"),
        ] {
            assert_eq!(percent(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn what_does_not_expire_never_does() {
        let now = SystemTime::now();
        assert_eq!(expiry(None, now), "never");
        assert_eq!(
            expiry(Some(now + Duration::from_secs(90)), now),
            "in 1m 30s"
        );
        assert_eq!(expiry(Some(now - Duration::from_secs(90)), now), "now");
    }
}

//! Under which terms a write becomes the value of its key: the options of `SET`.
//!
//! ```text
//! [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]
//! ```
//!
//! They are read by the rules of Redis: in any order and case, the same option may come twice and
//! the last one counts, and a number is looked at only if the syntax is right.

use bytes::Bytes;

/// Under which terms a write may become the value of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What must hold of the key.
    pub condition: Option<Condition>,
    /// When the value expires.
    pub expiry: Expiry,
    /// Whether the value before is given back, and can still be read.
    pub previous: bool,
}

/// What must hold of a key for a write to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has no value (NX).
    Absent,
    /// It has a value (XX).
    Present,
}

/// When a value expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// When the value that it replaces would have (KEEPTTL).
    Keep,
    /// At a time, in milliseconds since 1970 by the clock of the pool.
    At(u64),
    /// So many milliseconds after the commit.
    After(u64),
}

/// Words are not the options of a `SET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// An option is unknown, lacks its number, or contradicts another.
    #[error("syntax error")]
    Syntax,
    /// A number is none.
    #[error("value is not an integer or out of range")]
    NotAnInteger,
    /// A time is not positive, or has no milliseconds that fit a signed number.
    #[error("invalid expire time")]
    ExpireTime,
}

/// What a time is given in, and from when it counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Ex,
    Px,
    ExAt,
    PxAt,
}

impl Terms {
    /// Whether they ask nothing of the value that the key has.
    pub fn are_blind(&self) -> bool {
        self.condition.is_none() && self.expiry != Expiry::Keep && !self.previous
    }

    /// Whether their condition holds of a key that has a value, or has none.
    pub fn hold(&self, has_value: bool) -> bool {
        match self.condition {
            None => true,
            Some(Condition::Absent) => !has_value,
            Some(Condition::Present) => has_value,
        }
    }

    /// What `options` say.
    ///
    /// # Errors
    ///
    /// [`TermsError`] if Redis would not take them.
    pub fn parse(options: &[Bytes]) -> Result<Self, TermsError> {
        let mut terms = Self::default();
        let mut time: Option<(Time, &Bytes)> = None;
        let mut keep = false;
        let mut rest = options;
        while let [option, following @ ..] = rest {
            rest = following;
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            if is("NX") && terms.condition != Some(Condition::Present) {
                terms.condition = Some(Condition::Absent);
            } else if is("XX") && terms.condition != Some(Condition::Absent) {
                terms.condition = Some(Condition::Present);
            } else if is("GET") {
                terms.previous = true;
            } else if is("KEEPTTL") && time.is_none() {
                keep = true;
            } else {
                let unit = Time::named(option).ok_or(TermsError::Syntax)?;
                let [number, following @ ..] = rest else {
                    return Err(TermsError::Syntax);
                };
                if keep || time.is_some_and(|(before, _)| before != unit) {
                    return Err(TermsError::Syntax);
                }
                rest = following;
                time = Some((unit, number));
            }
        }
        terms.expiry = match time {
            Some((unit, number)) => {
                unit.expiry(integer(number).ok_or(TermsError::NotAnInteger)?)?
            }
            None if keep => Expiry::Keep,
            None => Expiry::Never,
        };
        Ok(terms)
    }

    /// The options that say this.
    pub fn options(&self) -> Vec<Bytes> {
        let word = |word: &'static str| Bytes::from_static(word.as_bytes());
        // Redis takes a signed number.
        let number = |number: u64| number.min(i64::MAX as u64).to_string().into();
        let mut options = Vec::new();
        options.extend(self.condition.map(|condition| match condition {
            Condition::Absent => word("NX"),
            Condition::Present => word("XX"),
        }));
        options.extend(self.previous.then(|| word("GET")));
        match self.expiry {
            Expiry::Never => {}
            Expiry::Keep => options.push(word("KEEPTTL")),
            Expiry::At(at) => options.extend([word("PXAT"), number(at)]),
            Expiry::After(ttl) => options.extend([word("PX"), number(ttl)]),
        }
        options
    }
}

impl Time {
    fn named(option: &[u8]) -> Option<Self> {
        let words = [
            ("EX", Self::Ex),
            ("PX", Self::Px),
            ("EXAT", Self::ExAt),
            ("PXAT", Self::PxAt),
        ];
        let is = |(word, _): &(&str, Self)| option.eq_ignore_ascii_case(word.as_bytes());
        words.into_iter().find(is).map(|(_, time)| time)
    }

    fn expiry(self, number: i64) -> Result<Expiry, TermsError> {
        let factor = match self {
            Self::Ex | Self::ExAt => 1000,
            Self::Px | Self::PxAt => 1,
        };
        let milliseconds = number
            .checked_mul(factor)
            .filter(|&milliseconds| milliseconds > 0)
            .ok_or(TermsError::ExpireTime)?
            .unsigned_abs();
        Ok(match self {
            Self::Ex | Self::Px => Expiry::After(milliseconds),
            Self::ExAt | Self::PxAt => Expiry::At(milliseconds),
        })
    }
}

/// A number that is written as Redis writes it.
fn integer(arg: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(arg).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == arg).then_some(number)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Result<Terms, TermsError> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let options: Vec<Bytes> = words.map(|word| word.to_owned().into()).collect();
        Terms::parse(&options)
    }

    pub(crate) fn terms() -> impl Strategy<Value = Terms> {
        let condition = prop_oneof![
            Just(None),
            Just(Some(Condition::Absent)),
            Just(Some(Condition::Present)),
        ];
        let time = 1..=i64::MAX as u64;
        let expiry = prop_oneof![
            Just(Expiry::Never),
            Just(Expiry::Keep),
            time.clone().prop_map(Expiry::At),
            time.prop_map(Expiry::After),
        ];
        (condition, expiry, any::<bool>()).prop_map(|(condition, expiry, previous)| Terms {
            condition,
            expiry,
            previous,
        })
    }

    proptest! {
        #[test]
        fn what_terms_say_reads_as_the_same_terms(terms in terms()) {
            prop_assert_eq!(Terms::parse(&terms.options()), Ok(terms));
        }
    }

    #[test]
    fn times_count_from_the_commit_or_from_1970() {
        for (line, expiry) in [
            ("EX 10", Expiry::After(10_000)),
            ("px 10", Expiry::After(10)),
            ("EXAT 10", Expiry::At(10_000)),
            ("PXAT 10", Expiry::At(10)),
            ("EX 1 ex 2", Expiry::After(2_000)),
        ] {
            assert_eq!(parsed(line).unwrap().expiry, expiry, "{line}");
        }
    }

    #[test]
    fn options_come_in_any_order() {
        let terms = Terms {
            condition: Some(Condition::Present),
            expiry: Expiry::Keep,
            previous: true,
        };
        assert_eq!(parsed("KEEPTTL get xx"), Ok(terms));
        assert_eq!(parsed("XX KEEPTTL GET"), Ok(terms));
    }

    #[test]
    fn what_contradicts_itself_is_refused_before_its_numbers_are_read() {
        for line in [
            "NX XX",
            "EX",
            "EX x PX 1",
            "KEEPTTL EX x",
            "EX x KEEPTTL",
            "EX x Y",
        ] {
            assert_eq!(parsed(line), Err(TermsError::Syntax), "{line}");
        }
        for line in ["EX x", "EX +1", "EX 01", "EX -0", "PX 9223372036854775808"] {
            assert_eq!(parsed(line), Err(TermsError::NotAnInteger), "{line}");
        }
        for line in ["EX 0", "PXAT -1", "EX 9223372036854775807"] {
            assert_eq!(parsed(line), Err(TermsError::ExpireTime), "{line}");
        }
    }
}
